// A row times a matrix that many rows are multiplied with, one after another: a recurrence at batch 1. The
// matrix lies in whole vectors, by rows, its last one to four columns apart, so that it takes no more of the
// first-level cache than it has elements: 100 x 100 padded to 112 columns fell out of it.
#pragma once

#include "core/kernels/gemm.h"

namespace reel {

size_t one_row_floats(int64_t k, int64_t n);  // of B[k, n] packed
void pack_for_one_row(int64_t k, int64_t n, Matrix<const float> b, float* to);

// out = a B, or out += a B, elements of a `step` apart, B[k, n] packed at a multiple of 64 bytes.
void row_times_packed(float* out, const float* a, int64_t step, int64_t k, const float* b, int64_t n,
                      bool add);

}  // namespace reel
