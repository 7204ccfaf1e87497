// What an op is: its name and formula, shape rule, gradient, kernels and samples. The order of the members of
// `Op` is the order in which an op's source reads; CONTRIBUTING.md walks through adding one.
#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "core/lanes.h"
#include "core/tensor.h"

namespace reel {

namespace plan {
struct Body;
struct Recurrence;
}  // namespace plan

// What a planner may know of an op. It never asks for the name.
enum class Kind : uint8_t {
  pointwise,  // one program over every element, inputs broadcast
  matmul,     // C = A B over the last two axes; i[0], i[1]: whether A, B are read transposed; i[2]: in bf16
  view,       // the same memory read through other strides
  reduction,  // folds axes away
  concat,     // the inputs one after another along axis i[0]
  gather,     // moves elements, by position or by ids
  source,     // needs no input: constants and random numbers
  other,
};

// The constants of one call. Integers are structure: a call with others is another plan (except those of
// sources, which hold the random generator's position). Floats are read when a kernel runs, so that a new
// learning rate or temperature plans nothing anew.
struct Attrs {
  std::array<int64_t, 3> i{};
  std::array<double, 2> f{};
};

// A call as the shape rule sees it: inputs known by shape and dtype. `shape` and `dtype` are the answer; an
// op whose output shape is an argument (reshape, zeros) finds it there.
class Signature {
 public:
  Signature(const Op& op, std::span<Node* const> in, const Attrs& attrs, Where where)
      : attrs(attrs), op_(op), in_(in), where_(where) {}

  const Shape& in(size_t k) const;
  DType in_dtype(size_t k) const;
  size_t inputs() const { return in_.size(); }
  void want_float(size_t k) const;  // throws unless input k is f32 or f64

  // Throws "[op] sentence (file:line of the caller)".
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_at(fmt::format(format, std::forward<Args>(args)...));
  }

  const Attrs& attrs;
  Shape shape;
  DType dtype = DType::f32;

 private:
  [[noreturn]] void fail_at(const std::string& sentence) const;
  const Op& op_;
  std::span<Node* const> in_;
  Where where_;
};

// Where in its input a piece of cotangent belongs.
struct Place {
  enum class At : int64_t { whole, slice, rows } at = At::whole;
  int64_t axis = 0;   // slice, rows: the axis
  int64_t begin = 0;  // slice: first index along it
};

struct Contribution {
  Tensor value;
  Place place;
  Tensor ids;  // Place::rows: value[.., j, ..] belongs to index ids[j] of the axis
};

// A call as its gradient rule sees it. The rule writes g[k], the contribution to input k, with ops; shapes
// that were broadcast are summed back by the tape, several contributions are added up by the tape.
class Vjp {
 public:
  Vjp(const Node& node, Tensor cotangent, std::span<Contribution> out)
      : dy(std::move(cotangent)), node_(node), out_(out) {}

  Tensor x(size_t k) const;  // input k
  Tensor y() const;          // the output
  const Attrs& attrs() const;
  const Op& op() const;
  size_t inputs() const { return out_.size(); }
  bool needs(size_t k) const;  // whether anybody wants g[k]; others may be left empty
  Tensor& operator[](size_t k) { return out_[k].value; }
  // The contribution covers only a part of input k.
  void slice(size_t k, Tensor value, int64_t axis, int64_t begin) {
    out_[k] = {std::move(value), {Place::At::slice, axis, begin}, {}};
  }
  void rows(size_t k, Tensor value, int64_t axis, Tensor ids) {
    out_[k] = {std::move(value), {Place::At::rows, axis, 0}, std::move(ids)};
  }
  std::span<const int64_t> list() const;

  const Tensor dy;  // the output's cotangent

 private:
  const Node& node_;
  std::span<Contribution> out_;
};

// A call as its kernel sees it: memory in place. Unless the op says `strided`, inputs are contiguous; outputs
// always are.
struct Exec {
  const Op& op;
  const Attrs& attrs;
  std::span<const int64_t> list;  // the constants that do not fit into Attrs
  std::span<const Array> in;
  Array out;
  bool add = false;  // out += instead of out =, for ops that say `accumulates`
  // Throws "[op] sentence": for what only the values can tell, such as an id out of range.
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(fmt::format("[{}] {}", name(), fmt::format(format, std::forward<Args>(args)...)));
  }
  std::string_view name() const;
};
using Kernel = void (*)(const Exec&);

// Inputs on which everything is checked that must hold for each op. A sample calls the op's public function
// on inputs of these shapes; values are drawn in [low, high].
struct Sample {
  std::vector<Shape> shapes;
  std::function<Tensor(std::span<const Tensor>)> call;
  double low = -2, high = 2;
  // Integer inputs that follow the float ones: drawn below `ids_below`.
  std::vector<Shape> id_shapes = {};
  int64_t ids_below = 1;
};

// Inputs that must be refused, with a piece of the sentence that does it.
struct BadSample {
  std::function<Tensor()> call;
  std::string want;
};

struct Op {
  std::string_view name;
  std::string_view doc;  // formula, shapes
  Kind kind = Kind::other;

  void (*shape)(Signature&) = nullptr;
  void (*vjp)(Vjp&) = nullptr;  // none: the op has no gradient

  // Pointwise ops state one program of `inputs` inputs; it is the f32 kernel and the f64 reference.
  uint16_t inputs = 1;
  lanes::Lane (*lanes)(const lanes::Inputs& x) = nullptr;
  // Views say how the input's strides become the output's; false where a copy is needed first.
  bool (*view)(const Array& in, const Attrs& attrs, Array& out) = nullptr;
  Kernel f32 = nullptr;    // the kernel for work
  Kernel f64 = nullptr;    // the reference: plain loops in double
  Kernel bytes = nullptr;  // instead of both, for ops that only move elements of any type
  bool strided = false;    // kernels read any strides

  // Whether each index of the first axis is computed from that index of the inputs alone; none: what the kind
  // says.
  bool (*row_by_row)(const Attrs& attrs, const Shape& in) = nullptr;
  bool accumulates = false;        // kernels can add onto their output (Exec::add)
  bool in_place = false;           // kernels may write over in[0], which has the output's shape
  bool shape_is_argument = false;  // the caller chooses the output's shape
  mutable std::vector<Sample> (*samples)() = nullptr;
  mutable std::vector<BadSample> (*bad)() = nullptr;

  mutable lanes::Program program = {};           // of `lanes`, traced when the op is registered
  const plan::Body* body = nullptr;              // of a template: what a call does (once.h)
  const plan::Recurrence* recurrence = nullptr;  // of all calls of a template that feed each other
};

// Puts an op on the list that the gradient check, the tests and the benchmarks go through.
struct Register {
  explicit Register(const Op& op);
};
// Gives an op of core its samples where they are written with other ops' functions.
struct MoreSamples {
  MoreSamples(const Op& op, std::vector<Sample> (*samples)(), std::vector<BadSample> (*bad)()) {
    op.samples = samples;
    op.bad = bad;
  }
};
const std::vector<const Op*>& registry();  // in the order of their names

// Records a call. `shape` is for ops whose output shape is an argument; `list` for constants beyond Attrs.
struct Call {
  Attrs attrs = {};
  Shape shape = {};
  DType dtype = DType::f32;  // likewise for ops without inputs, and casts
  std::vector<int64_t> list = {};
};
Tensor record(const Op& op, std::initializer_list<Arg> in, Attrs attrs = {});
Tensor record(const Op& op, std::span<const Arg> in, Call call);

// What a public function may ask of its arguments before it records: [] for plain numbers; throws on
// undefined tensors.
const Shape& shape_of(const Arg& x, std::string_view op);
// The axis counted from the front; throws with the caller's place where there is no such axis.
int64_t axis_of(const Arg& x, int64_t axis, std::string_view op);

}  // namespace reel
