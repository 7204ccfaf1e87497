// Products with many rows whose right side is packed on the way: a panel of its columns at a time, which
// stays in the cache while all rows are multiplied with it.
#pragma once

#include "core/kernels/gemm.h"

namespace reel {

// C[m, n] = A[m, k] B[k, n] + beta C, with beta 0 or 1, C's columns next to each other; on as many threads as
// that is worth. Each element is summed up in the same order, whatever the number of threads.
void panel_gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                Matrix<float> c, float beta);

// How many rows of B are summed up at once at most: more are less exact.
inline constexpr int64_t kDeep = 768;

// A panel: rows of `wide` columns of B, zeros where there is none.
void pack_panel(int64_t k, int64_t columns, Matrix<const float> b, float* to, int64_t wide);

}  // namespace reel
