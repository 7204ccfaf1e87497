#include "core/tape.h"

#include <new>

#include "core/environment.h"
#include "core/kernels/pointwise.h"
#include "core/plan/plan.h"

namespace reel {

namespace {
constexpr size_t kSlab = 256;  // nodes allocated at a time

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

Tape& Tape::current() {
  static thread_local TapeOwner owner;
  return *owner.tape;
}

Tape::Tape() { eager = switched_on("REEL_EAGER"); }
Tape::~Tape() = default;

Node* Tape::allocate() {
  if (free_.empty()) {
    slabs_.push_back(std::make_unique<std::byte[]>(sizeof(Node) * kSlab));
    auto* first = reinterpret_cast<Node*>(slabs_.back().get());
    free_.reserve(slabs_.size() * kSlab);
    for (size_t i = kSlab; i-- > 0;) free_.push_back(first + i);
  }
  Node* node = free_.back();
  free_.pop_back();
  new (node) Node;
  node->tape = this;
  ++live;
  return node;
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
  signature.shape = call.shape;
  // A body's outputs have a type of their own.
  signature.dtype = in.empty() || op.body || op.recurrence ? call.dtype : in[0]->dtype;
  if (op.shape) op.shape(signature);
  try {
    checked_numel(signature.shape);
  } catch (const Error& e) {
    signature.fail("{}", e.what());
  }

  Node* node = allocate();
  node->op = &op;
  node->dtype = signature.dtype;
  node->shape = signature.shape;
  node->attrs = signature.attrs;
  node->where = where;
  if (!call.list.empty()) node->list = std::make_unique<std::vector<int64_t>>(std::move(call.list));
  node->inputs = static_cast<uint32_t>(in.size());
  node->in = in.size() <= 3 ? node->few : new Node*[in.size()];
  for (size_t k = 0; k < in.size(); ++k) {
    node->in[k] = in[k];
    add_reader(in[k]);
    node->requires_grad = node->requires_grad || in[k]->requires_grad;
  }
  node->requires_grad = node->requires_grad && grad_enabled && op.vjp && is_float(node->dtype);
  if (node->requires_grad) {
    node->before = newest_;
    if (newest_) newest_->after = node;
    newest_ = node;
    node->in_history = true;
  }
  ++recorded;
  add_pending(node);
  return node;
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
  for (Node* reader : pending_) {
    if (reader) rewire(reader);
  }
  for (Node* reader = newest_; reader; reader = reader->before) rewire(reader);
}

void Tape::unlink_history(Node* node) {
  if (!node->in_history) return;
  if (node->before) node->before->after = node->after;
  (node->after ? node->after->before : newest_) = node->before;
  node->before = node->after = nullptr;
  node->in_history = false;
}

void Tape::drop_inputs(Node* node) {
  unlink_history(node);
  for (uint32_t k = 0; k < node->inputs; ++k) {
    Node* input = node->in[k];
    if (--input->readers == 0 && input->handles == 0) free_dead(input);
  }
  if (node->in != node->few) delete[] node->in;
  node->in = nullptr;
  node->inputs = 0;
}

void Tape::forget(Node* node) {
  no_longer_pending(node);
  if (node->variable && node->variable->version) {
    Node* version = node->variable->version;
    version->owner = nullptr;
    version->requires_grad = false;
    remove_reader(version);
  }
  drop_inputs(node);
  node->~Node();
  free_.push_back(node);
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
  if (pending_dead_ > 1024 && pending_dead_ > pending_.size() / 2) compact_pending();
  if (orphaned_ && live == 0) delete this;
}

void Tape::compact_pending() {
  size_t kept = 0;
  for (Node* n : pending_) {
    if (!n) continue;
    n->pending_at = static_cast<int64_t>(kept);
    pending_[kept++] = n;
  }
  pending_.resize(kept);
  pending_dead_ = 0;
}

void Tape::add_pending(Node* node) {
  node->pending_at = static_cast<int64_t>(pending_.size());
  pending_.push_back(node);
}

void Tape::no_longer_pending(Node* node) {
  if (node->pending_at < 0) return;
  pending_[static_cast<size_t>(node->pending_at)] = nullptr;
  node->pending_at = -1;
  ++pending_dead_;
}

Node* Tape::placeholder(DType dtype, const Shape& shape) {
  Node* node = allocate();
  node->state = State::ready;
  node->dtype = dtype;
  node->shape = shape;
  return node;
}

Tape::Aside::Aside(Tape& tape) : tape_(tape) {
  pending_.swap(tape.pending_);
  ++tape.aside;
}

Tape::Aside::~Aside() {
  // What the function recorded dies with its handles, some of which may live on as somebody's mistake.
  pending_.swap(tape_.pending_);
  for (Node* n : pending_) {
    if (n) n->pending_at = -1;
  }
  tape_.pending_dead_ = 0;
  for (Node* n : tape_.pending_) tape_.pending_dead_ += n == nullptr;
  --tape_.aside;
}

void Tape::begin_computation() {
  if (aside > 0) {
    throw LooksAtValue(
        "[once] the function looks at a value, or calls backward(), while it is recorded: want one that only "
        "records");
  }
  ++generation;
  std::vector<std::function<void()>> calls;
  calls.swap(at_next_);
  for (const auto& call : calls) call();
}

std::vector<Node*> Tape::take_pending() {
  begin_computation();
  compact_pending();
  std::vector<Node*> nodes;
  nodes.swap(pending_);
  for (Node* n : nodes) n->pending_at = -1;
  return nodes;
}

void Tape::restore_pending(const std::vector<Node*>& nodes) {
  compact_pending();
  const std::vector<Node*> newer = take_pending();
  for (Node* n : nodes) add_pending(n);
  for (Node* n : newer) add_pending(n);
}

void Tape::flush() {
  begin_computation();
  compact_pending();
  if (pending_.empty()) return;
  running_.clear();
  running_.swap(pending_);
  for (Node* n : running_) n->pending_at = -1;
  plan::run_pending(*this, running_);
}

Node* checked(const Tensor& tensor, std::string_view op, Where where) {
  Node* node = tensor.node();
  if (!node) fail("[{}] got an undefined tensor, one that never received a value{}", op, at(where));
  if (node->tape != &Tape::current()) {
    fail("[{}] the tensor belongs to another thread's tape: hand its values over (to_vector, from) instead{}",
         op, at(where));
  }
  if (node->state == State::failed) {
    fail("[{}] the tensor has no value: the computation that should have made it ([{}]{}) failed{}", op,
         node->op ? node->op->name : "leaf", at(node->where), at(where));
  }
  return node->variable ? node->variable->version : node;
}

Array evaluated(const Tensor& tensor) {
  Node* node = checked(tensor, "eval", {});
  if (node->state == State::pending) node->tape->flush();
  return node->array();
}

Array writable(const Tensor& variable) {
  checked(variable, "in-place update", {});
  Node* node = variable.node();
  if (!node->variable) fail("in-place update: want a variable (a parameter, or after requires_grad_())");
  Tape& tape = *node->tape;
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
  return version->array();
}

}  // namespace reel
