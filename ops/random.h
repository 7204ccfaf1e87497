// Random values, drawn from this thread's generator (core/random.h). Seed and position are fixed when a call
// is recorded: its values stay the same however often and wherever they are computed, and f32 is f64 rounded.
#pragma once

#include "core/op.h"
#include "core/random.h"

namespace reel {

Tensor uniform(const Shape& shape, double low = 0, double high = 1,
               DType dtype = default_dtype());  // in [low, high)
Tensor normal(const Shape& shape, double mean = 0, double std = 1, DType dtype = default_dtype());
Tensor bernoulli(const Shape& shape, double p,
                 DType dtype = default_dtype());  // 1 with probability p, else 0

// x with each entry zeroed with probability p in [0, 1), the others divided by 1 - p (Srivastava et al.
// 2014); x itself when not training or p is 0.
Tensor dropout(Arg x, double p, bool training = true);

}  // namespace reel
