// Running sums along an axis.
#pragma once

#include "core/op.h"

namespace reel {

// y[k] = x[0] + .. + x[k] along the axis. f32, f64 or i64; sums of f32 are held in double.
Tensor cumsum(Arg x, int64_t axis);

}  // namespace reel
