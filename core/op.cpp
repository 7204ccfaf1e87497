// Recording a call, and what shape rules and gradient rules see of it.
#include "core/op.h"

#include <algorithm>
#include <cmath>

#include "core/plan/run.h"
#include "core/structural.h"
#include "core/tape.h"

namespace reel {

namespace {

std::vector<const Op*>& all_ops() {
  static std::vector<const Op*> ops;
  return ops;
}

// A plain number takes the dtype of the tensors beside it: 2 * x is x's dtype. A fraction beside integers is
// a float.
DType dtype_for_numbers(std::span<const Arg> in) {
  DType found = default_dtype();
  bool integers = false;
  for (const Arg& a : in) {
    if (!a.tensor() || !a.tensor()->defined()) continue;
    const DType t = a.tensor()->dtype();
    if (is_float(t)) return t;
    integers = integers || t == DType::i64;
  }
  for (const Arg& a : in) integers = integers && (a.tensor() || a.number() == std::floor(a.number()));
  if (integers) found = DType::i64;
  return found;
}

}  // namespace

Register::Register(const Op& op) {
  if (op.lanes) op.program = lanes::trace(op.inputs, op.lanes);
  std::vector<const Op*>& ops = all_ops();
  const auto later = std::find_if(ops.begin(), ops.end(), [&](const Op* o) { return o->name >= op.name; });
  if (later != ops.end() && (*later)->name == op.name) fail("two ops are named {}", op.name);
  ops.insert(later, &op);
}

const std::vector<const Op*>& registry() { return all_ops(); }

const Shape& Signature::in(size_t k) const { return in_[k]->shape; }
DType Signature::in_dtype(size_t k) const { return in_[k]->dtype; }

void Signature::want_float(size_t k) const {
  if (!is_float(in_dtype(k))) fail("argument {} is {}: want f32 or f64", k + 1, name_of(in_dtype(k)));
}

void Signature::fail_at(const std::string& sentence) const {
  throw Error(fmt::format("[{}] {}{}", op_.name, sentence, at(where_)));
}

std::string_view Exec::name() const { return op.name; }

Tensor Vjp::x(size_t k) const {
  const size_t output = output_read(node_, k);
  return output > 0 ? Tensor({node_.in[k], output - 1}) : Tensor(node_.in[k]);
}
Tensor Vjp::y() const { return Tensor(const_cast<Node*>(&node_)); }  // handles count themselves in
const Attrs& Vjp::attrs() const { return node_.attrs; }
const Op& Vjp::op() const { return *node_.op; }
bool Vjp::needs(size_t k) const { return node_.in[k]->requires_grad; }
std::span<const int64_t> Vjp::list() const {
  return node_.list ? std::span<const int64_t>(*node_.list) : std::span<const int64_t>();
}

Tensor record(const Op& op, std::span<const Arg> in, Call call) {
  constexpr size_t kFew = 8;
  Node* few[kFew];
  std::vector<Node*> many;
  Node** nodes = few;
  if (in.size() > kFew) {
    many.resize(in.size());
    nodes = many.data();
  }
  Tensors numbers;  // plain numbers become constants on the tape
  const Where where = in.empty() ? Where() : in[0].where();
  for (size_t k = 0; k < in.size(); ++k) {
    if (in[k].tensor()) {
      nodes[k] = checked(*in[k].tensor(), op.name, in[k].where());
    } else {
      numbers.push_back(full({}, in[k].number(), dtype_for_numbers(in)));
      nodes[k] = numbers.back().node();
    }
  }
  Tape& tape = Tape::current();
  Node* node = tape.call(op, {nodes, in.size()}, std::move(call), where);
  Tensor result(node);
  if (tape.eager) plan::run_alone(node);
  return result;
}

const Shape& shape_of(const Arg& x, std::string_view op) {
  static const Shape of_numbers;
  return x.tensor() ? checked(*x.tensor(), op, x.where())->shape : of_numbers;
}

int64_t axis_of(const Arg& x, int64_t axis, std::string_view op) {
  const Shape& shape = shape_of(x, op);
  const int64_t normal = axis < 0 ? axis + shape.rank() : axis;
  if (normal < 0 || normal >= shape.rank()) {
    fail("[{}] axis {} of a value of shape {}: want {} to {}{}", op, axis, shape, -shape.rank(),
         shape.rank() - 1, at(x.where()));
  }
  return normal;
}

Tensor record(const Op& op, std::initializer_list<Arg> in, Attrs attrs) {
  return record(op, std::span<const Arg>(in.begin(), in.size()), Call{.attrs = attrs});
}

}  // namespace reel
