// A row of cross-entropy with its gradient: the logits are read once.
#pragma once

#include <cstddef>

namespace reel::simd {

// For z = logits + bias (none: null) writes the gradient dz = (softmax z - onehot(target)) dy, adds it to
// `sums` (none: null), and returns log sum e^z - z[target]. `dz` may be `logits`; `sums` has room for n
// rounded up to a multiple of kSumsMultiple.
inline constexpr size_t kSumsMultiple = 64;  // the longest vector of any machine
float cross_entropy_row(const float* logits, const float* bias, size_t n, size_t target, float dy, float* dz,
                        float* sums);

}  // namespace reel::simd
