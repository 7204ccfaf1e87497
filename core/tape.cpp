#include "core/tape.h"

#include "core/environment.h"
#include "core/kernels/pointwise.h"
#include "core/motif.h"
#include "core/plan/plan.h"
#include "core/structural.h"

namespace reel {

namespace {

std::string_view file_of(Where where) {
  std::string_view file = where.file_name();
  const size_t slash = file.rfind('/');
  return slash == std::string_view::npos ? file : file.substr(slash + 1);
}
}  // namespace

std::string at(Where where) {
  if (where.line() == 0) return {};  // recorded by the library itself
  return fmt::format(" ({}:{})", file_of(where), where.line());
}

Array Node::array() const {
  return {value->buffer.data() + value->offset * static_cast<int64_t>(size_of(dtype)), dtype, shape,
          value->strides};
}

// The thread's tape lives as long as the thread, or as the last handle into it.
struct TapeOwner {
  Tape* tape = new Tape;
  ~TapeOwner() {
    tape->orphaned_ = true;
    if (tape->live == 0) delete tape;
  }
};

constinit thread_local Tape* Tape::current_ = nullptr;

Tape& Tape::first() {
  static thread_local TapeOwner owner;
  current_ = owner.tape;
  return *current_;
}

Tape::Tape() { eager = switched_on("REEL_EAGER"); }
Tape::~Tape() = default;

Node* Tape::allocate() {
  ++live;
  return memory_.take();
}

Node* Tape::leaf(DType dtype, const Shape& shape) {
  const auto bytes = static_cast<size_t>(checked_numel(shape)) * size_of(dtype);
  return constant(dtype, shape, {Buffer(bytes), 0, row_major(shape)});
}

Node* Tape::constant(DType dtype, const Shape& shape, Value value) {
  auto held = std::make_unique<Value>(std::move(value));
  Node* node = allocate();
  node->state = State::ready;
  node->dtype = dtype;
  node->shape = shape;
  node->value = std::move(held);
  return node;
}

Node* Tape::call(const Op& op, std::span<Node* const> in, Call&& call, Where where) {
  Signature signature(op, in, call.attrs, where);
  if (op.shape_is_argument || !op.shape) signature.shape = call.shape;
  // A body's outputs have a type of their own.
  signature.dtype = in.empty() || op.body || op.recurrence ? call.dtype : in[0]->dtype;
  if (op.shape) op.shape(signature);
  try {
    checked_numel(signature.shape);
  } catch (const Error& e) {
    signature.fail("{}", e.what());
  }
  Node* node = call_as(op, in, call.attrs, signature.shape, signature.dtype, where);
  if (!call.list.empty()) node->list = std::make_unique<std::vector<int64_t>>(std::move(call.list));
  return node;
}

Node* Tape::call_as(const Op& op, std::span<Node* const> in, const Attrs& attrs, const Shape& shape,
                    DType dtype, Where where) {
  if (pending_.size() >= fold_at_) fold();
  Node* node = allocate();
  node->dtype = dtype;
  node->shape = shape;
  node->where = where;
  connect(node, op, attrs, in);
  return node;
}

// The node becomes one of the tape's calls.
void Tape::connect(Node* node, const Op& op, const Attrs& attrs, std::span<Node* const> in) {
  become(node, op, attrs, in);
  bool gradient = false;
  for (Node* n : in) {
    add_reader(n);
    gradient = gradient || n->requires_grad;
  }
  node->requires_grad = gradient && grad_enabled && op.vjp && is_float(node->dtype);
  if (node->requires_grad) {
    history_.tidy();
    history_.add(node);
  }
  if (!aside()) pending_.tidy();
  pending_.add(node);
  ++recorded;
}

// A call of this op from now on. Its inputs are told elsewhere.
void Tape::become(Node* node, const Op& op, const Attrs& attrs, std::span<Node* const> in) {
  node->op = &op;
  node->attrs = attrs;
  if (op.body && op.body->outputs.size() > 1 && op.body->outputs.size() <= Node::kMostOutputs)
    node->outputs = static_cast<uint8_t>(op.body->outputs.size());
  node->inputs = static_cast<uint32_t>(in.size());
  node->in = in.size() <= std::size(node->few) ? node->few : memory_.room(in.size());
  std::copy(in.begin(), in.end(), node->in);
}

void Tape::make_variable(Node* node) {
  if (node->variable) return;
  node->variable = std::make_unique<Variable>();
  Node* version = allocate();
  version->state = State::ready;
  version->dtype = node->dtype;
  version->shape = node->shape;
  version->value = std::make_unique<Value>(*node->value);
  version->owner = node;
  node->variable->version = version;
  add_reader(version);
  if (node->readers > 0) keep_constant(node);
  if (node->readers == 0) node->value.reset();
}

// Whoever read the node before it became a variable goes on reading a constant.
void Tape::keep_constant(Node* node) {
  Node* constant = allocate();
  constant->state = State::ready;
  constant->dtype = node->dtype;
  constant->shape = node->shape;
  constant->value = std::make_unique<Value>(*node->value);
  const auto rewire = [&](Node* reader) {
    for (uint32_t k = 0; k < reader->inputs; ++k) {
      if (reader->in[k] != node) continue;
      reader->in[k] = constant;
      add_reader(constant);
      --node->readers;
    }
  };
  for (const NodeList* list : {&pending_, &history_}) {
    for (Node* reader : list->from(0)) {
      if (reader) rewire(reader);
    }
  }
}

void Tape::give_back_inputs(Node* node) {
  if (node->in != node->few && node->in) memory_.give_back(node->in, node->inputs);
  node->in = nullptr;
  node->inputs = 0;
}

void Tape::drop_inputs(Node* node) {
  history_.remove(node);
  no_longer_column(node);
  for (uint32_t k = 0; k < node->inputs; ++k) {
    Node* input = node->in[k];
    if (--input->readers == 0 && input->handles == 0) free_dead(input);
  }
  give_back_inputs(node);
}

void Tape::forget(Node* node) {
  pending_.remove(node);
  if (node->variable && node->variable->version) {
    Node* version = node->variable->version;
    version->owner = nullptr;
    version->requires_grad = false;
    remove_reader(version);
  }
  drop_inputs(node);
  memory_.give_back(node);
  --live;
}

void Tape::let_go_of_inputs(Node* node) {
  history_.remove(node);
  no_longer_column(node);
  for (uint32_t k = 0; k < node->inputs; ++k) {
    Node* input = node->in[k];
    if (input->state == State::pending) {
      --input->readers;
    } else {
      remove_reader(input);
    }
  }
  give_back_inputs(node);
}

void Tape::discard(Node* node) {
  if (node->readers > 0 || node->held()) return;
  let_go_of_inputs(node);
  if (node->handles > 0) {  // its outputs have nodes
    node->state = State::ready;
    return;
  }
  memory_.give_back(node);
  --live;
}

// Frees a node and whatever only it kept alive. A worklist instead of recursion: chains may be millions long.
void Tape::free_dead(Node* node) {
  dead_.push_back(node);
  if (freeing_) return;
  freeing_ = true;
  while (!dead_.empty()) {
    Node* next = dead_.back();
    dead_.pop_back();
    forget(next);
  }
  freeing_ = false;
  if (orphaned_ && live == 0) delete this;
}

Node* Tape::placeholder(DType dtype, const Shape& shape) {
  Node* node = allocate();
  node->state = State::ready;
  node->dtype = dtype;
  node->shape = shape;
  return node;
}

Tape::Aside::Aside(Tape& tape) : tape_(tape) { tape.asides_.push_back(tape.pending_.size()); }

Tape::Aside::~Aside() {
  // What the function recorded dies with its handles, some of which may live on as somebody's mistake.
  tape_.pending_.take(tape_.asides_.back());
  tape_.asides_.pop_back();
}

void Tape::begin_computation() {
  if (aside()) {
    throw LooksAtValue(
        "[once] the function looks at a value, or calls backward(), while it is recorded: want one that only "
        "records");
  }
  ++generation;
  std::vector<std::function<void()>> calls;
  calls.swap(at_next_);
  for (const auto& call : calls) call();
  fold(true);
  name_outputs();
}

std::vector<Node*> Tape::take_pending() {
  begin_computation();
  folded_ = 0;
  if (!motifs_.empty()) fold_at_ = 0;
  return pending_.take(0);
}

void Tape::restore_pending(const std::vector<Node*>& nodes) {
  const std::vector<Node*> newer = take_pending();
  for (Node* n : nodes) add_pending(n);
  for (Node* n : newer) add_pending(n);
}

void Tape::flush() {
  std::vector<Node*> nodes = take_pending();
  if (!nodes.empty()) plan::run_pending(*this, std::move(nodes));
}

namespace {

[[noreturn]] void refuse(const Node* node, std::string_view op, Where where) {
  if (!node) fail("[{}] got an undefined tensor, one that never received a value{}", op, at(where));
  if (&node->tape() != &Tape::current()) {
    fail("[{}] the tensor belongs to another thread's tape: hand its values over (to_vector, from) instead{}",
         op, at(where));
  }
  fail("[{}] the tensor has no value: the computation that should have made it ([{}]{}) failed{}", op,
       node->op ? node->op->name : "leaf", at(node->where), at(where));
}

}  // namespace

Node* checked(const Tensor& tensor, std::string_view op, Where where) {
  Node* node = tensor.node();
  if (!node || &node->tape() != &Tape::current() || node->state == State::failed) refuse(node, op, where);
  return node->variable ? node->variable->version : node;
}

Array evaluated(const Tensor& tensor) {
  Node* node = checked(tensor, "eval", {});
  if (node->state == State::pending) node->tape().flush();
  return node->array();
}

Array writable(const Tensor& variable) {
  checked(variable, "in-place update", {});
  Node* node = variable.node();
  if (!node->variable) fail("in-place update: want a variable (a parameter, or after requires_grad_())");
  Tape& tape = node->tape();
  Node* version = node->variable->version;
  if (version->readers > 1) tape.flush();  // pending readers read the old value first
  const bool held = version->readers > 1 || version->handles > 0 || version->value->buffer.shared();
  if (held || !version->array().contiguous()) {
    // A graph still waiting for its backward pass, or a view, holds the old value: it keeps it.
    Node* next = tape.leaf(version->dtype, version->shape);
    next->requires_grad = version->requires_grad;
    copy(version->array(), next->array());
    next->owner = node;
    tape.add_reader(next);
    version->in = version->few;  // it keeps the variable alive, to which its gradient still belongs
    version->in[0] = node;
    version->inputs = 1;
    tape.add_reader(node);
    node->variable->version = next;
    tape.remove_reader(version);
    version = next;
  }
  version->value->buffer.written();
  return version->array();
}

}  // namespace reel
