// Products so small that a library call, which cuts, copies and allocates first, costs as much as the
// product: the operands are read where they lie, by one thread.
#pragma once

#include "core/kernels/gemm.h"

namespace reel {

// C[m, n] = A[m, k] B[k, n] + beta C, with beta 0 or 1, C's columns next to each other. A transposed B is
// turned round first.
void small_gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                Matrix<float> c, float beta);

// The same with a B whose rows go on, with any numbers, to a multiple of small_gemm_columns(): as
// many as lie next to each other in registers.
void small_gemm_padded(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                       Matrix<float> c, float beta);
int64_t small_gemm_columns();

}  // namespace reel
