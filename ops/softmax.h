// Softmax and its logarithms over one axis. The row's maximum is subtracted first, so that no exponential
// overflows; entries of -inf get probability 0. A row of nothing but -inf has no softmax: NaN, as in PyTorch.
#pragma once

#include "core/op.h"

namespace reel {

Tensor softmax(Arg x, int64_t axis);      // e^x / sum e^x
Tensor log_softmax(Arg x, int64_t axis);  // x - log sum e^x
Tensor logsumexp(Arg x, int64_t axis,
                 bool keepdim = false);  // log sum e^x; -inf for a row of -inf and for an empty one

}  // namespace reel
