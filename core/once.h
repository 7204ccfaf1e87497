// once: a function of tensors that is recorded once a step, for the shapes it is called with; its other calls
// in the step are one node each. A tree's cell, called for every node, then costs a hundredth to record.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace reel {

// A function whose calls do the same: cell = once(f); outputs = cell({x, h, c}).
//
// The result is what f itself would give, and so is its gradient, of any order. What f reads beside its
// inputs is what it reads at its first call after the last computation: parameters may be updated, replaced
// or frozen from step to step, but a number that differs from call to call must be an input. A function that
// draws random numbers, looks at values (item() and its like), or whose outputs are not matrices of as many
// rows each, is called every time.
class Once {
 public:
  using Function = std::function<Tensors(const Tensors&)>;
  explicit Once(Function f);
  Tensors operator()(const Tensors& in, Where where = Where::current()) const;
  // The same into memory that is there, for as many outputs as the function has.
  void call(std::span<const Tensor> in, std::span<Tensor> out, Where where = Where::current()) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class Vjp;
void template_vjp(Vjp& g);  // the gradient rule of its calls

// A call of a template that is being recorded.
class TemplateCall {
 public:
  void clear();
  void add(const Tensor& input, Where where);
  void add(Node* node) { in_.push_back(node); }  // that was looked at before
  // The call over the inputs so far. Its shape: as many columns as all outputs have.
  Tensor record(const Op& op, const Shape& shape, DType dtype, Where where) const;

 private:
  std::vector<Node*> in_;
  std::array<int64_t, 3> reads_{};
};
Tensor output_of_call(const Tensor& call, size_t output);

inline Once once(Once::Function f) { return Once(std::move(f)); }

}  // namespace reel
