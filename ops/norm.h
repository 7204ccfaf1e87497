// Layer normalisation (Ba, Kiros, Hinton 2016).
#pragma once

#include "core/op.h"

namespace reel {

// (x - mean) / sqrt(variance + eps), the mean and the population's variance taken over the last `axes` axes
// together. (Not PyTorch's functional.normalize, which divides by a norm.)
Tensor normalize(Arg x, int64_t axes = 1, double eps = 1e-5);

// normalize(x) * weight + bias over as many last axes as weight has; x [.., *weight.shape], bias like weight,
// or 0.0.
Tensor layer_norm(Arg x, const Tensor& weight, Arg bias, double eps = 1e-5, Where where = Where::current());

}  // namespace reel
