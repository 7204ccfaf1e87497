// What differentiation offers to the planner.
#pragma once

#include <utility>
#include <vector>

#include "core/tape.h"

namespace reel {

// The gradients of a loss of one element, recorded on the tape: one for each variable that it depends on.
struct Gradients {
  std::vector<std::pair<Node*, Tensor>> of;  // variable, sum
  std::vector<Node*> visited;                // the nodes whose gradient rules were asked
};
Gradients differentiate(const Tensor& loss, Where where);

// d(sum of outputs * cotangents)/d(inputs) through what lies between: an input's own history is not walked.
Tensors gradients_within(const Tensors& outputs, const Tensors& cotangents, const Tensors& inputs);

}  // namespace reel
