#include "core/once.h"

#include <list>

#include "core/grad.h"
#include "core/hash.h"
#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel {

namespace {

constexpr size_t kMostBodies = 4096;

// ---- The gradient of a call, on the recorded way: that of the body, written out ----

void body_vjp(Vjp& g) {
  const plan::Body& body = *g.op().body;
  Tape& tape = Tape::current();
  Tensors in, cotangents;
  Tensors out;
  {
    const bool before = std::exchange(tape.grad_enabled, true);
    for (size_t k = 0; k < g.inputs(); ++k) in.push_back(g.needs(k) ? record(alias_op, {g.x(k)}) : g.x(k));
    const Tensors values = plan::written_out(body, in);
    for (plan::Id id : body.outputs) out.push_back(values[static_cast<size_t>(id)]);
    tape.grad_enabled = before;
  }
  int64_t column = 0;
  for (const Tensor& y : out) {
    cotangents.push_back(slice(g.dy, 1, column, column + y.size(1)));
    column += y.size(1);
  }
  Tensors sums = gradients_within(out, cotangents, in);
  for (size_t k = 0; k < g.inputs(); ++k) {
    if (g.needs(k) && sums[k].defined()) g[k] = std::move(sums[k]);
  }
}

// ---- Bodies: equal ones are one op ----

struct Template {
  plan::Body body;
  Op op;
};

Template* intern(plan::Body body) {
  // Ops outlive everything that was recorded with them.
  static thread_local auto* interned = new Interned<Template>(kMostBodies);
  const uint64_t hash = hash_of(body.words);
  if (Template* known = interned->find(hash, [&](const Template& t) { return t.body.words == body.words; }))
    return known;
  Template* t = interned->add(hash);
  if (!t) return nullptr;
  t->body = std::move(body);
  t->op = Op{.name = "once", .doc = "a call of a recorded body; columns are its outputs, one after another"};
  t->op.vjp = body_vjp;
  t->op.shape_is_argument = true;
  t->op.body = &t->body;
  return t;
}

}  // namespace

// ---- Tracing ----

struct Once::State : std::enable_shared_from_this<Once::State> {
  struct Trace {
    std::vector<std::pair<Shape, DType>> in;
    bool grad_enabled, autocast;
    Template* made = nullptr;  // null: call the function every time
    Tensors captured;
    Shape shape;
    DType dtype = DType::f32;
    std::vector<int64_t> widths;  // of the outputs
  };
  Function f;
  uint64_t generation = ~uint64_t{0};
  std::list<Trace> traces;

  const Trace& trace(Tape& tape, const Tensors& in);
  void record_body(Tape& tape, const Tensors& in, Trace& trace) const;
};

Once::Once(Function f) : state_(std::make_shared<State>()) { state_->f = std::move(f); }

const Once::State::Trace& Once::State::trace(Tape& tape, const Tensors& in) {
  if (generation != tape.generation) {
    traces.clear();
    generation = tape.generation;
  }
  for (const Trace& t : traces) {
    bool same =
        t.in.size() == in.size() && t.grad_enabled == tape.grad_enabled && t.autocast == tape.autocast;
    for (size_t k = 0; same && k < in.size(); ++k) {
      const Node* n = in[k].node();
      same = n->shape == t.in[k].first && n->dtype == t.in[k].second;
    }
    if (same) return t;
  }
  if (traces.empty()) {  // what they captured would keep parameters from being updated in place
    tape.at_next_computation([state = weak_from_this()] {
      if (const auto alive = state.lock()) alive->traces.clear();
    });
  }
  traces.emplace_back();
  Trace& t = traces.back();
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

void Once::State::record_body(Tape& tape, const Tensors& in, Trace& trace) const {
  Tensors arguments;
  for (const Tensor& x : in) {
    Node* n = tape.placeholder(x.dtype(), x.shape());
    n->requires_grad = tape.grad_enabled && is_float(x.dtype());  // as one of the calls may ask
    arguments.emplace_back(n);
  }
  const Tape::Aside aside(tape);  // what is recorded now is no part of the step
  const Tensors out = f(arguments);
  std::vector<Node*> nodes;
  for (Node* n : tape.pending()) {
    if (n) nodes.push_back(n);
  }
  plan::Body body;
  std::vector<Node*> captured;
  if (!plan::read_body(nodes, arguments, out, body, captured)) return;
  trace.shape = out[0].shape();
  trace.shape[1] = 0;
  trace.dtype = out[0].dtype();
  for (const Tensor& y : out) {
    trace.widths.push_back(y.size(1));
    trace.shape[1] += y.size(1);
  }
  for (Node* n : captured) trace.captured.emplace_back(n);
  trace.made = intern(std::move(body));
}

Tensors Once::operator()(const Tensors& in, Where where) const {
  for (const Tensor& x : in) checked(x, "once", where);
  Tape& tape = Tape::current();
  if (tape.eager || tape.aside > 0) return state_->f(in);
  const State::Trace& trace = state_->trace(tape, in);
  if (!trace.made) return state_->f(in);
  std::vector<Node*> nodes;
  nodes.reserve(in.size() + trace.captured.size());
  for (const Tensor& x : in) nodes.push_back(checked(x, "once", where));
  for (const Tensor& x : trace.captured) nodes.push_back(x.node());
  const Tensor call(tape.call(trace.made->op, nodes,
                              {.attrs = {}, .shape = trace.shape, .dtype = trace.dtype, .list = {}}, where));
  Tensors out;
  out.reserve(trace.widths.size());
  int64_t column = 0;
  for (int64_t width : trace.widths) {
    out.push_back(slice(Arg(call, where), 1, column, column + width));
    column += width;
  }
  return out;
}

}  // namespace reel
