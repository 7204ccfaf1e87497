// Loops over contiguous f32, with the SIMD width chosen at run time.
#pragma once

#include <cstddef>

namespace reel::simd {

float sum(const float* a, size_t n);
float dot(const float* a, const float* b, size_t n);
float max(const float* a, size_t n);                // -inf for n = 0; NaN where one is
void add_to(float* out, const float* a, size_t n);  // out += a
inline void add_to(double* out, const double* a, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] += a[i];
}
// out[j] += sum over i of a[i * step + j], one row after another.
void add_rows(float* out, const float* a, ptrdiff_t step, size_t rows, size_t n);
// out[j] += sum over i of a[i * step] b[i, j], b's rows `row` apart: a row times a matrix.
void row_times_matrix(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, ptrdiff_t row,
                      size_t n);
// out[j, i] = in[i, j] for in[rows, columns]; rows of both lie so far apart.
void transpose(float* out, ptrdiff_t out_row, const float* in, ptrdiff_t in_row, size_t rows, size_t columns);
// out[j] += sum over i of a[i] b[j, i]: a row times a transposed matrix.
void row_times_transposed(float* out, const float* a, size_t k, const float* b, ptrdiff_t row, size_t n);
// out = exp(a - shift), and its sum
float exp_shifted(const float* a, float shift, float* out, size_t n);
float sum_of_exp(const float* a, float shift, size_t n);  // of exp(a - shift)
void exp_times(const float* a, float shift, float factor, float* out,
               size_t n);  // out = exp(a - shift) factor

float sum_of_squares(const float* a, float shift, size_t n);                   // of a - shift
void affine(const float* a, float shift, float factor, float* out, size_t n);  // out = (a - shift) factor

const char* target();  // what was chosen, "AVX3" and so on

}  // namespace reel::simd
