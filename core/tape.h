// The tape: nodes in the order of their recording, and what happens to them.
//
// A node is a call of an op, or a leaf with a value. Handles and the calls that read a node keep it alive. A
// pending node has not been computed; a flush computes all pending nodes at once (plan/plan.h), and those
// that nobody holds any more are freed, without recursion.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "core/op.h"

namespace reel {

class Tape;
struct Motif;
class Occurrence;

// A computed value: which memory, and how it is read.
struct Value {
  Buffer buffer;
  int64_t offset = 0;  // in elements
  Strides strides{};

  // As with nodes: a step's many small constants lie as they lay before.
  static void* operator new(size_t bytes);
  static void operator delete(void* value);
};

// What only variables have. The handle's node is the identity; calls read its present version, a node of its
// own, so that an update in place can leave the old version to those that were recorded before.
struct Variable {
  Node* version = nullptr;  // counted
  Tensor grad;
};

enum class State : uint8_t {
  pending,  // recorded, not computed
  ready,    // has its value (leaves always)
  failed,   // its computation threw
};

struct Node {
  // What planning reads of each node comes first.
  const Op* op = nullptr;  // null for leaves
  Node** in = nullptr;
  Node* few[2] = {};  // storage of `in` where two are enough
  uint32_t inputs = 0;
  uint32_t handles = 0;  // Tensors that hold it, or an output of it
  uint32_t readers = 0;  // nodes that have it as input
  State state = State::pending;
  DType dtype = DType::f32;
  bool requires_grad = false;
  bool released = false;  // its history was consumed by backward()
  int32_t index = -1;     // scratch of planning
  int32_t mark = -1;      // scratch of differentiation
  std::unique_ptr<Value> value;
  // Of a template's call whose outputs have no nodes of their own until somebody asks: how many they are, how
  // many handles name each, and the nodes of those that were asked for.
  static constexpr size_t kMostOutputs = 7;
  static constexpr uint8_t kMostNames = 255;
  uint8_t outputs = 0;
  std::array<uint8_t, kMostOutputs> named{};
  std::unique_ptr<std::array<Node*, kMostOutputs>> columns;
  // Then what else is read for a structure, or when it dies.
  std::unique_ptr<std::vector<int64_t>> list;
  std::unique_ptr<Variable> variable;
  int32_t pending_at = -1;  // position in the tape's list of pending nodes
  int32_t history_at = -1;  // position in its history
  Attrs attrs;

  Shape shape;
  Node* owner = nullptr;  // a version's variable; null when that is gone
  Where where;

  bool leaf() const { return op == nullptr; }
  Array array() const;  // of a ready node
  const Shape& output_shape(size_t k) const;
  int64_t output_begin(size_t k) const;  // the first of its columns
  // Whether its own value is held by a handle.
  bool held() const { return handles > 0 && outputs == 0; }
  Tape& tape() const;
  // Asks for the memory that is looked at when the node dies, or for a structure.
  void prefetch() const {
    __builtin_prefetch(this, 1);
    __builtin_prefetch(&list, 1);
    __builtin_prefetch(&shape, 1);
  }
  void prefetch_value() const {
    prefetch();
    if (value) __builtin_prefetch(value.get(), 1);
  }
};

// Nodes in tape order. One that leaves makes a gap (null).
class NodeList {
 public:
  explicit NodeList(int32_t Node::*at) : at_(at) {}  // where a node keeps its position
  void add(Node* node);
  void remove(Node* node);
  void tidy() {  // closes the gaps where most is gaps
    constexpr size_t kMany = 1024;
    if (gaps_ >= kMany && gaps_ >= nodes_.size() / 2) close_gaps();
  }
  bool has(const Node* node) const { return node->*at_ >= 0; }
  size_t size() const { return nodes_.size(); }  // with gaps
  std::span<Node* const> from(size_t position) const { return std::span(nodes_).subspan(position); }
  // The node comes at this position, before it, and the others keep their order.
  void move_up(Node* node, size_t position);
  size_t position(const Node* node) const { return static_cast<size_t>(node->*at_); }
  // Those from this position on, which leave.
  std::vector<Node*> take(size_t position);
  void close_gaps(size_t from = 0);

 private:
  std::vector<Node*> nodes_;
  size_t gaps_ = 0;
  int32_t Node::*at_;
};

// Memory for nodes. Places that are free are given away in the order of their addresses, so that a step's
// nodes lie one behind another again.
class NodeMemory {
 public:
  explicit NodeMemory(Tape* tape) : tape_(tape) {}
  Node* take();
  void give_back(Node* node);
  // Room for the inputs of a call that has more than a node has room for.
  Node** room(size_t inputs);
  void give_back(Node** room, size_t inputs);

  struct Slab;

 private:
  struct Free {
    void operator()(Slab* slab) const;
  };
  Tape* tape_;
  std::vector<std::unique_ptr<Slab, Free>> slabs_;
  std::vector<Slab*> open_;  // those that have room
  std::vector<std::unique_ptr<Node*[]>> rooms_;
};

class Tape {
 public:
  static Tape& current() { return current_ ? *current_ : first(); }  // the calling thread's

  Node* leaf(DType dtype, const Shape& shape);
  Node* constant(DType dtype, const Shape& shape, Value value);
  Node* placeholder(DType dtype, const Shape& shape);  // a leaf without a value
  Node* call(const Op& op, std::span<Node* const> in, Call&& call, Where where);
  // The same where the op has no rule for the shape, or was asked before.
  Node* call_as(const Op& op, std::span<Node* const> in, const Attrs& attrs, const Shape& shape, DType dtype,
                Where where);
  void make_variable(Node* node);

  // ---- Outputs of templates' calls (outputs.cpp) ----
  Node* column(Node* call, size_t k);  // as a new node
  Node* output(Node* call, size_t k);  // as its node; handles name it
  void name_outputs();                 // all that are pending and that handles name get nodes
  // Whoever reads the output that this node is reads the node from now on.
  void read_by_name(Node* column);

  // ---- Motifs (fold.cpp) ----
  void add_motif(Motif motif);
  void forget_motifs();
  // Calls of motifs become one each; `all`: those at the end too, which others might follow.
  void fold(bool all = false);
  // While one lives, what is pending stays as it was recorded: somebody walks along it.
  class AsRecorded {
   public:
    explicit AsRecorded(Tape& tape) : tape_(tape) { ++tape.as_recorded_; }
    ~AsRecorded() { --tape_.as_recorded_; }
    AsRecorded(const AsRecorded&) = delete;
    AsRecorded& operator=(const AsRecorded&) = delete;

   private:
    Tape& tape_;
  };

  // Computes all pending nodes. Those marked `released` lose their history afterwards.
  void flush();
  std::span<Node* const> pending() const {  // with gaps (null)
    return pending_.from(aside() ? asides_.back() : 0);
  }
  // All that is pending, in tape order, and no longer in the tape's list; restore_pending takes it back.
  std::vector<Node*> take_pending();
  void restore_pending(const std::vector<Node*>& nodes);
  void add_pending(Node* node) { pending_.add(node); }
  void no_longer_pending(Node* node) { pending_.remove(node); }
  void drop_inputs(Node* node);
  // The same where pending inputs are not to die before their turn; and the turn of such a node, which does
  // die unless somebody needs it after all.
  void let_go_of_inputs(Node* node);
  void discard(Node* node);
  // Nodes that require a gradient and still know their inputs, in tape order, with gaps (null).
  const NodeList& history() const { return history_; }

  static void retain(Node* node) { ++node->handles; }
  static void release(Node* node) {
    if (--node->handles == 0 && node->readers == 0) node->tape().free_dead(node);
  }
  static void retain_output(Node* call, size_t k);  // a handle names output k
  static void release_output(Node* call, size_t k);
  void add_reader(Node* node) { ++node->readers; }
  void remove_reader(Node* node) {
    if (--node->readers == 0 && node->handles == 0) free_dead(node);
  }

  // While one lives, what is recorded goes to a list of its own and cannot be computed: a function is traced.
  class Aside {
   public:
    explicit Aside(Tape& tape);
    ~Aside();
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;

   private:
    Tape& tape_;
  };
  bool aside() const { return !asides_.empty(); }

  // Called, once, when pending nodes are next taken to be computed.
  void at_next_computation(std::function<void()> call) { at_next_.push_back(std::move(call)); }

  uint64_t generation = 0;  // how often pending nodes were taken to be computed
  bool grad_enabled = true;
  bool eager = false;
  bool autocast = false;  // products are recorded as bf16 ones
  uint64_t recorded = 0;
  uint64_t live = 0;

  ~Tape();
  Tape();

 private:
  friend struct TapeOwner;
  static Tape& first();
  static constinit thread_local Tape* current_;
  Node* allocate();
  void connect(Node* node, const Op& op, const Attrs& attrs, std::span<Node* const> in);
  void become(Node* node, const Op& op, const Attrs& attrs, std::span<Node* const> in);
  void give_back_inputs(Node* node);
  void replace(const Occurrence& found);
  void no_longer_column(Node* node);
  void free_dead(Node* node);
  void forget(Node* node);
  void keep_constant(Node* node);
  void begin_computation();

  NodeMemory memory_{this};
  NodeList pending_{&Node::pending_at}, history_{&Node::history_at};
  std::vector<size_t> asides_;  // of pending: from where on it was recorded aside
  size_t named_outputs_ = 0;    // of templates' calls
  std::vector<std::function<void()>> at_next_;
  std::vector<std::unique_ptr<Motif>> motifs_;
  size_t folded_ = 0;            // so many pending nodes were looked at
  size_t fold_at_ = ~size_t{0};  // so many are to be there when they are looked at again
  int as_recorded_ = 0;
  std::vector<Node*> dead_;  // worklist of free_dead
  bool freeing_ = false;
  bool orphaned_ = false;  // its thread has ended; the last node frees it
};

// Which output of its input p a template's call reads, as its integers say: from 1; 0 is what the input is
// itself.
inline constexpr size_t kMostReads = 63;  // inputs that can read an output
inline size_t output_read(const std::array<int64_t, 3>& i, size_t p) {
  return p < kMostReads ? static_cast<size_t>(i[p % 3] >> p / 3 * 3 & 7) : 0;
}
inline size_t output_read(const Node& n, size_t p) { return n.op->body ? output_read(n.attrs.i, p) : 0; }
inline void set_output_read(std::array<int64_t, 3>& i, size_t p, size_t output) {
  int64_t& word = i[p % 3];
  word = (word & ~(int64_t{7} << p / 3 * 3)) | static_cast<int64_t>(output) << p / 3 * 3;
}

// Which output of its call a node is; kMostOutputs where it is none.
size_t output_of(const Node* node);

// Whatever is recorded and thrown meanwhile: what may be differentiated afterwards is what it was before.
class KeepGradMode {
 public:
  explicit KeepGradMode(Tape& tape) : tape_(tape), before_(tape.grad_enabled) {}
  ~KeepGradMode() { tape_.grad_enabled = before_; }
  KeepGradMode(const KeepGradMode&) = delete;
  KeepGradMode& operator=(const KeepGradMode&) = delete;
  bool before() const { return before_; }

 private:
  Tape& tape_;
  const bool before_;
};

// What a function that is being traced throws when it asks for a value: there is none yet.
class LooksAtValue : public Error {
 public:
  using Error::Error;
};

// The array of a node's value, computing what is pending if need be.
Array evaluated(const Tensor& tensor);
// The memory of a variable, for an update in place: whatever was recorded before keeps the old value.
Array writable(const Tensor& variable);

// Throws unless the tensor holds something that this thread may use.
Node* checked(const Tensor& tensor, std::string_view op, Where where);
std::string at(Where where);  // " (file:line)"

}  // namespace reel
