// What kernels of several ops do with a row of f32 that lies in one piece.
#pragma once

#include <cstdint>

#include "core/kernels/simd.h"

namespace reel {

// log(sum exp x) = max + log(sum), one exponential an entry, nothing overflows. An empty row: -inf and 0. A
// row whose maximum is infinite has a sum of NaN.
struct MaxAndSum {
  float max, sum;  // sum of exp(x - max)
};
inline MaxAndSum max_and_sum_of_exp(const float* x, int64_t n) {
  const auto size = static_cast<size_t>(n);
  const float max = simd::max(x, size);
  return {max, simd::sum_of_exp(x, max, size)};
}

inline void scale(float* x, float factor, int64_t n) {
  simd::affine(x, 0, factor, x, static_cast<size_t>(n));
}

}  // namespace reel
