// The handle that users hold: a value on the calling thread's tape, computed when somebody looks at it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace reel {

struct Node;
struct Op;
struct Array;

// A place in the caller's source. (std::source_location, which clang before 16 lacks.)
class Where {
 public:
  constexpr Where() = default;
  static constexpr Where current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    Where where;
    where.file_ = file;
    where.line_ = line;
    return where;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
};

class Tensor {
 public:
  Tensor() = default;  // undefined: holds nothing
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept : names_(std::exchange(other.names_, 0)) {}
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept {
    Tensor moved(std::move(other));  // what was held here dies now, not with `other`
    std::swap(names_, moved.names_);
    return *this;
  }
  ~Tensor() {
    if (defined()) let_go();
  }

  // A constant with these values, row by row. Throws where their number is not the shape's.
  static Tensor from(std::span<const float> values, Shape shape);
  static Tensor from(std::span<const double> values, Shape shape);
  static Tensor from(std::span<const int64_t> values, Shape shape);
  static Tensor from(const std::vector<bool>& values, Shape shape);
  // Raw bytes of any dtype, copied.
  static Tensor from_bytes(std::span<const std::byte> bytes, DType dtype, Shape shape);

  bool defined() const { return names_ != 0; }
  const Shape& shape() const;
  int64_t size(int64_t axis) const;  // a negative axis counts from the end
  int64_t dim() const { return shape().rank(); }
  int64_t numel() const { return shape().numel(); }
  DType dtype() const;

  // These compute what is pending.
  double item(Where where = Where::current()) const;  // the one element, as a number
  template <class T>
  std::vector<T> to_vector() const;  // all elements, row by row, converted to T (float, double, int64_t)
  std::vector<std::byte> to_bytes() const;

  // A variable can be changed in place, and with requires_grad collects gradients. Turns a constant into a
  // variable; on a variable it freezes or thaws. Returns the tensor itself.
  Tensor& requires_grad_(bool on = true);
  bool requires_grad() const;
  bool is_variable() const;

  // Adds d(this)/d(leaf) to .grad() of every variable that this depends on and that requires a gradient, then
  // releases the graph behind it. `this` has one element, or `cotangent` has its shape.
  struct BackwardOptions {
    bool retain_graph = false;
    bool create_graph = false;
  };
  void backward(Where where = Where::current()) const;
  void backward(const Tensor& cotangent, BackwardOptions options, Where where = Where::current()) const;
  Tensor grad() const;  // undefined before the first backward() and after zero_grad()
  void set_grad(Tensor grad);
  void zero_grad() { set_grad({}); }

  // Replaces a variable's value. What was recorded before still reads the old one.
  void assign(const Tensor& value, Where where = Where::current());

  // For core: the node, in whose ownership the handle takes part.
  Node* node() const { return names_output() ? node_of_output() : plain(); }
  explicit Tensor(Node* node);

  // An output of a template's call (once.h) has no node of its own until node() asks for one. `call` is null
  // where the handle names a node.
  struct Output {
    Node* call;
    size_t number;
  };
  explicit Tensor(Output output);
  Output output() const {
    return names_output() ? Output{reinterpret_cast<Node*>(names_ & ~kNumber), (names_ & kNumber) - 1}
                          : Output{nullptr, 0};
  }

 private:
  static constexpr uintptr_t kNumber = 7;
  bool names_output() const { return (names_ & kNumber) != 0; }
  Node* plain() const { return reinterpret_cast<Node*>(names_); }
  Node* node_of_output() const;
  void let_go();

  mutable uintptr_t names_ = 0;  // a node; or a call, and in the lowest bits the number of its output, from 1
};

using Tensors = std::vector<Tensor>;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// An argument of an op: a tensor or a plain number, and the place in the caller's source where it was
// written.
class Arg {
 public:
  // NOLINTBEGIN(google-explicit-constructor): so that ops and operators take both.
  Arg(const Tensor& tensor, Where where = Where::current()) : tensor_(&tensor), where_(where) {}
  Arg(double number, Where where = Where::current()) : number_(number), where_(where) {}
  // NOLINTEND(google-explicit-constructor)
  const Tensor* tensor() const { return tensor_; }
  double number() const { return number_; }
  Where where() const { return where_; }

 private:
  const Tensor* tensor_ = nullptr;
  double number_ = 0;
  Where where_;
};

// Computes these values, and everything else that is pending and reachable from a live handle.
void eval(std::span<const Tensor> values);
void eval(std::initializer_list<Tensor> values);

// d(sum of outputs * cotangents)/d(wrt), as tensors that can be differentiated again. Touches no .grad,
// releases nothing. A wrt that the outputs do not depend on gets zeros. Cotangents default to ones (each
// output then has one element).
struct GradOptions {
  std::vector<Tensor> cotangents = {};
  bool create_graph = true;  // false: the result is a constant, cheaper in memory
};
Tensors grad(const Tensors& outputs, const Tensors& wrt, const GradOptions& options = {},
             Where where = Where::current());
Tensor grad(const Tensor& output, const Tensor& wrt, const GradOptions& options = {},
            Where where = Where::current());

// While one lives, nothing recorded on this thread requires a gradient.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// While one lives, every op runs at once, one kernel a node: the debugger's mode and the planner's oracle.
// The environment variable REEL_EAGER=1 does it for a whole program.
class Eager {
 public:
  explicit Eager(bool on = true);
  ~Eager();
  Eager(const Eager&) = delete;
  Eager& operator=(const Eager&) = delete;

 private:
  bool before_;
};

// While one lives, matrix products of f32 recorded on this thread compute in bf16: operands are rounded to
// it, sums and results are f32. Their gradients do so too, whenever those are recorded. Everything else,
// values and weights among it, stays f32; f64 knows no bf16. Autocast(false) makes an exception inside
// another.
class Autocast {
 public:
  explicit Autocast(bool on = true);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool before_;
};

// How many threads a kernel may use; each takes fewer where the work is small. 0: all cores.
void set_num_threads(int threads);
int num_threads();

// Counters of this thread's tape.
struct TapeStats {
  uint64_t live_nodes = 0;    // recorded and not yet freed, variables included
  uint64_t recorded = 0;      // calls ever recorded
  uint64_t plans_built = 0;   // structures planned
  uint64_t plans_found = 0;   // structures seen before
  uint64_t plans_cached = 0;  // plans held now
  uint64_t arena_bytes = 0;   // scratch memory held for running plans
};
TapeStats tape_stats();

// Switches passes of the planner off and on, for this thread: "-fuse,-batch", "none", "" for all. The
// environment variable REEL_PLAN does it for a whole program. docs/design.md says what each does.
void set_plan_passes(std::string_view passes);

// The text of the plan that would run if everything pending were computed now.
std::string plan_text();
// The same as a drawing, for Graphviz: steps as boxes, values with their shapes as edges.
std::string plan_dot();

}  // namespace reel
