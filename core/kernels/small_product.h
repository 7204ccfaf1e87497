// Products of matrices that a core's nearest cache holds: results stay in registers, nothing is packed but
// the right side.
#pragma once

#include "core/kernels/gemm.h"

namespace reel::simd {

// C[m, n] = A[m, k] B, or C += A B: b[k, n] by rows that begin at multiples of 64 bytes and are padded to
// them. An element of C is the same whatever the other rows of A are.
void rows_times_padded(int64_t m, int64_t n, int64_t k, Matrix<const float> a, const float* b,
                       Matrix<float> c, bool add);

}  // namespace reel::simd
