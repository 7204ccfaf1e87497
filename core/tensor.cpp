#include "core/tensor.h"

#include <cstring>

#include "core/kernels/pointwise.h"
#include "core/plan/plan.h"
#include "core/structural.h"
#include "core/tape.h"

namespace reel {

Tensor::Tensor(Node* node) : names_(reinterpret_cast<uintptr_t>(node)) {
  if (node) Tape::retain(node);
}
Tensor::Tensor(Output output) {
  const auto [call, number] = output;
  if (call->named[number] == Node::kMostNames) {
    *this = Tensor(call->tape().output(call, number));
  } else {
    names_ = reinterpret_cast<uintptr_t>(call) | (number + 1);
    Tape::retain_output(call, number);
  }
}
Tensor::Tensor(const Tensor& other) {
  if (other.names_output()) {
    *this = Tensor(other.output());
  } else if (names_ = other.names_; names_) {
    Tape::retain(plain());
  }
}

Tensor& Tensor::operator=(const Tensor& other) {
  Tensor copy(other);
  std::swap(names_, copy.names_);
  return *this;
}

void Tensor::let_go() {
  if (const auto [call, number] = output(); call) {
    Tape::release_output(call, number);
  } else {
    Tape::release(plain());
  }
}

// From now on the handle names the output's node; another thread's tape is left alone.
Node* Tensor::node_of_output() const {
  const auto [call, number] = output();
  if (&call->tape() != &Tape::current()) return call;
  Node* node = call->tape().output(call, number);
  Tape::retain(node);
  names_ = reinterpret_cast<uintptr_t>(node);
  Tape::release_output(call, number);
  return node;
}

Tensor Tensor::from_bytes(std::span<const std::byte> bytes, DType dtype, Shape shape) {
  const auto want = static_cast<size_t>(checked_numel(shape)) * size_of(dtype);
  if (bytes.size() != want) {
    fail("[from] {} values of {}: want {} for the shape {}", bytes.size() / size_of(dtype), name_of(dtype),
         shape.numel(), shape);
  }
  Node* node = Tape::current().leaf(dtype, shape);
  if (want > 0) std::memcpy(node->array().data, bytes.data(), want);
  return Tensor(node);
}

Tensor Tensor::from(std::span<const float> values, Shape shape) {
  return from_bytes(std::as_bytes(values), DType::f32, shape);
}
Tensor Tensor::from(std::span<const double> values, Shape shape) {
  return from_bytes(std::as_bytes(values), DType::f64, shape);
}
Tensor Tensor::from(std::span<const int64_t> values, Shape shape) {
  return from_bytes(std::as_bytes(values), DType::i64, shape);
}
Tensor Tensor::from(const std::vector<bool>& values, Shape shape) {
  const std::vector<uint8_t> bytes(values.begin(), values.end());
  return from_bytes(std::as_bytes(std::span(bytes)), DType::boolean, shape);
}

namespace {
const Node& defined_node(const Node* node, const char* what) {
  if (!node) fail("[{}] the tensor is undefined: it never received a value", what);
  return *node;
}
}  // namespace

const Shape& Tensor::shape() const {
  const auto [call, number] = output();
  return call ? call->output_shape(number) : defined_node(plain(), "shape").shape;
}
DType Tensor::dtype() const {
  const Node* call = output().call;
  return (call ? *call : defined_node(plain(), "dtype")).dtype;
}
int64_t Tensor::size(int64_t axis) const { return shape()[normal_axis(axis, shape().rank(), "size")]; }

double Tensor::item(Where where) const {
  checked(*this, "item", where);
  if (numel() != 1) fail("[item] a tensor of shape {}: want one element{}", shape(), at(where));
  return to_vector<double>()[0];
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Array in = evaluated(*this);
  std::vector<T> out(static_cast<size_t>(in.shape.numel()));
  copy(in, {reinterpret_cast<std::byte*>(out.data()), dtype_of<T>, in.shape, row_major(in.shape)});
  return out;
}
template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<int64_t> Tensor::to_vector<int64_t>() const;

std::vector<std::byte> Tensor::to_bytes() const {
  const Array in = evaluated(*this);
  std::vector<std::byte> out(static_cast<size_t>(in.shape.numel()) * size_of(in.dtype));
  copy(in, {out.data(), in.dtype, in.shape, row_major(in.shape)});
  return out;
}

Tensor& Tensor::requires_grad_(bool on) {
  Node* node = checked(*this, "requires_grad_", {});
  if (on && !is_float(node->dtype)) {
    fail("[requires_grad_] a tensor of {}: want f32 or f64, others have no gradient", name_of(node->dtype));
  }
  if (!this->node()->variable) {
    if (node->requires_grad)
      fail("[requires_grad_] the tensor is computed from variables: want detach() of it");
    evaluated(*this);
    node->tape().drop_inputs(node);
    node->op = nullptr;
    node->tape().make_variable(node);
  }
  this->node()->requires_grad = this->node()->variable->version->requires_grad = on;
  return *this;
}

bool Tensor::requires_grad() const {
  const Node* call = output().call;
  return (call ? *call : defined_node(plain(), "requires_grad")).requires_grad;
}
bool Tensor::is_variable() const { return names_ && !names_output() && plain()->variable; }

Tensor Tensor::grad() const {
  if (!is_variable())
    fail("[grad] only variables (parameters, or after requires_grad_()) collect a gradient");
  return plain()->variable->grad;
}

void Tensor::set_grad(Tensor grad) {
  if (!is_variable())
    fail("[set_grad] only variables (parameters, or after requires_grad_()) collect a gradient");
  checked(*this, "set_grad", {});
  if (grad.defined()) checked(grad, "set_grad", {});
  if (grad.defined() && !(grad.shape() == shape())) {
    fail("[set_grad] a gradient of shape {}: want {}", grad.shape(), shape());
  }
  if (grad.defined() && grad.dtype() != dtype()) {
    fail("[set_grad] a gradient of {}: want {}", name_of(grad.dtype()), name_of(dtype()));
  }
  plain()->variable->grad = std::move(grad);
}

void Tensor::assign(const Tensor& value, Where where) {
  checked(value, "assign", where);
  checked(*this, "assign", where);
  if (!is_variable()) fail("[assign] want a variable (a parameter, or after requires_grad_()){}", at(where));
  if (!(value.shape() == shape()))
    fail("[assign] a value of shape {}: want {}{}", value.shape(), shape(), at(where));
  const Array from = evaluated(value);
  const Buffer keep =
      value.node()->value ? value.node()->value->buffer : Buffer();  // the value may be this one's own
  copy(from, writable(*this));
}

void eval(std::span<const Tensor> values) {
  for (const Tensor& t : values) evaluated(t);
}
void eval(std::initializer_list<Tensor> values) {
  eval(std::span<const Tensor>(values.begin(), values.size()));
}

NoGrad::NoGrad() : before_(std::exchange(Tape::current().grad_enabled, false)) {}
NoGrad::~NoGrad() { Tape::current().grad_enabled = before_; }

Autocast::Autocast(bool on) : before_(std::exchange(Tape::current().autocast, on)) {}
Autocast::~Autocast() { Tape::current().autocast = before_; }

Eager::Eager(bool on) : before_(Tape::current().eager) {
  Tape::current().flush();
  Tape::current().eager = on;
}
Eager::~Eager() { Tape::current().eager = before_; }

TapeStats tape_stats() {
  const Tape& tape = Tape::current();
  TapeStats stats = plan::cache_stats();
  stats.live_nodes = tape.live;
  stats.recorded = tape.recorded;
  return stats;
}

std::string plan_text() { return plan::text(*plan::pending_plan(Tape::current())); }
std::string plan_dot() { return plan::dot(*plan::pending_plan(Tape::current())); }

}  // namespace reel
