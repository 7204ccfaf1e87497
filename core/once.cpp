#include "core/once.h"

#include <algorithm>
#include <list>

#include "core/grad.h"
#include "core/hash.h"
#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel {

namespace {

constexpr size_t kMostBodies = 4096;

// ---- Bodies: equal ones are one op ----

struct Template {
  plan::Body body;
  Op op;
};

Template* intern(plan::Body& body, bool make) {
  // Ops outlive everything that was recorded with them.
  static thread_local auto* interned = new Interned<Template>(kMostBodies);
  const uint64_t hash = hash_of(body.words);
  if (Template* known = interned->find(hash, [&](const Template& t) { return t.body.words == body.words; }))
    return known;
  Template* t = make ? interned->add(hash) : nullptr;
  if (!t) return nullptr;
  t->body = std::move(body);
  t->op = Op{.name = "once", .doc = "a call of a recorded body; columns are its outputs, one after another"};
  t->op.vjp = template_vjp;
  t->op.shape_is_argument = true;
  t->op.body = &t->body;
  body = {};
  return t;
}

}  // namespace

namespace plan {
const Op* template_op(Body& body, bool make) {
  const Template* known = intern(body, make);
  return known ? &known->op : nullptr;
}
}  // namespace plan

// ---- Tracing ----

struct Once::State : std::enable_shared_from_this<Once::State> {
  struct Trace {
    std::vector<std::pair<Shape, DType>> in;
    bool grad_enabled, autocast;
    const Op* made = nullptr;  // null: call the function every time
    Tensors captured;
    Shape shape;
    DType dtype = DType::f32;
    bool fits(const Tape& tape, std::span<const Tensor> arguments) const;
    Tensor output(size_t k, const Tensor& call, std::span<const Tensor> before) const;
    struct Output {
      size_t number;  // of the call's outputs
      size_t first;   // of the function's outputs that are this value
    };
    std::vector<Output> outputs;
  };
  Function f;
  uint64_t generation = ~uint64_t{0};
  std::list<Trace> traces;
  TemplateCall next;

  const Trace& trace(Tape& tape, std::span<const Tensor> in);
  void record_body(Tape& tape, std::span<const Tensor> in, Trace& trace) const;
  const Trace* record_call(std::span<const Tensor> in, Where where, Tensor& call);
};

Once::Once(Function f) : state_(std::make_shared<State>()) { state_->f = std::move(f); }

const Once::State::Trace& Once::State::trace(Tape& tape, std::span<const Tensor> in) {
  if (generation != tape.generation) {
    traces.clear();
    generation = tape.generation;
  }
  for (const Trace& t : traces) {
    if (t.fits(tape, in)) return t;
  }
  if (traces.empty()) {  // what they captured would keep parameters from being updated in place
    tape.at_next_computation([state = weak_from_this()] {
      if (const auto alive = state.lock()) alive->traces.clear();
    });
  }
  traces.emplace_back();
  Trace& t = traces.back();
  t.in.reserve(in.size());
  for (const Tensor& x : in) {
    t.in.emplace_back(x.shape(), x.dtype());
  }
  t.grad_enabled = tape.grad_enabled;
  t.autocast = tape.autocast;
  try {
    record_body(tape, in, t);
  } catch (const LooksAtValue&) {
    t.made = nullptr;
  } catch (...) {
    traces.pop_back();
    throw;
  }
  return t;
}

bool Once::State::Trace::fits(const Tape& tape, std::span<const Tensor> arguments) const {
  if (in.size() != arguments.size() || grad_enabled != tape.grad_enabled || autocast != tape.autocast)
    return false;
  for (size_t k = 0; k < in.size(); ++k) {
    if (!(arguments[k].shape() == in[k].first) || arguments[k].dtype() != in[k].second) return false;
  }
  // A constant that became a variable since then is read by another node.
  return std::ranges::none_of(captured, [](const Tensor& x) { return x.node()->variable != nullptr; });
}

void Once::State::record_body(Tape& tape, std::span<const Tensor> in, Trace& trace) const {
  Tensors arguments;
  arguments.reserve(in.size());
  for (const Tensor& x : in) {
    Node* n = tape.placeholder(x.dtype(), x.shape());
    n->requires_grad = tape.grad_enabled && is_float(x.dtype());  // as one of the calls may ask
    arguments.emplace_back(n);
  }
  const Tape::Aside aside(tape);  // what is recorded now is no part of the step
  const Tensors out = f(arguments);
  // What is read into lies in memory that is kept.
  static thread_local std::vector<Node*> nodes, leaves;
  static thread_local plan::Body body;
  nodes.clear();
  for (Node* n : tape.pending()) {
    if (n) nodes.push_back(n);
  }
  std::vector<size_t> first;  // a cell often shows what it also carries on
  Tensors different;
  first.reserve(out.size());
  different.reserve(out.size());
  for (const Tensor& y : out) {
    const auto same = [&](const Tensor& other) { return other.node() == y.node(); };
    first.push_back(static_cast<size_t>(std::find_if(out.begin(), out.end(), same) - out.begin()));
    if (first.back() + 1 == first.size()) different.push_back(y);
  }
  if (!plan::read_body(nodes, arguments, different, body, leaves)) return;
  trace.shape = out[0].shape();
  trace.dtype = out[0].dtype();
  trace.shape[1] = 0;
  trace.outputs.reserve(out.size());
  for (size_t k = 0, next = 0; k < out.size(); ++k) {
    if (first[k] < k) {
      trace.outputs.push_back(trace.outputs[first[k]]);
      continue;
    }
    trace.outputs.push_back({next++, k});
    trace.shape[1] += out[k].size(1);
  }
  trace.captured.reserve(leaves.size() - in.size());
  for (size_t k = in.size(); k < leaves.size(); ++k) trace.captured.emplace_back(leaves[k]);
  trace.made = plan::template_op(body);
}

// Records a call of the function as one node, and says where the outputs are in it; null where that cannot
// be.
const Once::State::Trace* Once::State::record_call(std::span<const Tensor> in, Where where, Tensor& call) {
  for (const Tensor& x : in) {
    if (!x.output().call) checked(x, "once", where);
  }
  Tape& tape = Tape::current();
  if (tape.eager || tape.aside()) return nullptr;
  const Trace& known = trace(tape, in);
  if (!known.made) return nullptr;
  next.clear();
  for (const Tensor& x : in) next.add(x, where);
  for (const Tensor& x : known.captured) next.add(x.node());
  call = next.record(*known.made, known.shape, known.dtype, where);
  return &known;
}

Tensor Once::State::Trace::output(size_t k, const Tensor& call, std::span<const Tensor> before) const {
  const auto [number, first] = outputs[k];
  return first < k ? before[first] : output_of_call(call, number);
}

void TemplateCall::clear() {
  in_.clear();
  reads_ = {};
}

void TemplateCall::add(const Tensor& input, Where where) {
  const auto [call, output] = input.output();
  if (call && call->state == State::pending && &call->tape() == &Tape::current() && in_.size() < kMostReads) {
    set_output_read(reads_, in_.size(), output + 1);
    in_.push_back(call);
  } else {
    in_.push_back(checked(input, "once", where));
  }
}

Tensor TemplateCall::record(const Op& op, const Shape& shape, DType dtype, Where where) const {
  return Tensor(Tape::current().call_as(op, in_, {.i = reads_, .f = {}}, shape, dtype, where));
}

Tensor output_of_call(const Tensor& call, size_t output) {
  Node* node = call.node();
  return node->op->body->outputs.size() == 1 ? call
         : node->outputs > 0                 ? Tensor({node, output})
                                             : Tensor(Tape::current().column(node, output));
}

Tensors Once::operator()(const Tensors& in, Where where) const {
  Tensor call;
  const State::Trace* trace = state_->record_call(in, where, call);
  if (!trace) return state_->f(in);
  Tensors out;
  out.reserve(trace->outputs.size());
  for (size_t k = 0; k < trace->outputs.size(); ++k) out.push_back(trace->output(k, call, out));
  return out;
}

void Once::call(std::span<const Tensor> in, std::span<Tensor> out, Where where) const {
  Tensor call;
  const State::Trace* trace = state_->record_call(in, where, call);
  const auto refuse = [&](size_t outputs) {
    fail("[once] room for {} outputs: want room for {}, as many as the function has{}", out.size(), outputs,
         at(where));
  };
  if (!trace) {
    Tensors made = state_->f(Tensors(in.begin(), in.end()));
    if (made.size() != out.size()) refuse(made.size());
    std::move(made.begin(), made.end(), out.begin());
    return;
  }
  if (trace->outputs.size() != out.size()) refuse(trace->outputs.size());
  for (size_t k = 0; k < out.size(); ++k) out[k] = trace->output(k, call, out);
}

}  // namespace reel
