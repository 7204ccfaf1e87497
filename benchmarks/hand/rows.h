// Row by row, in SIMD: what several hand-written workloads need besides matrix products.
#pragma once

#include <cstdint>

namespace reel::bench::expert {

// Sum of -log softmax(logits)[target] over rows; each row becomes (softmax - one_hot(target)) * scale. The
// bias is added on the way, and its gradient, the sum of the rows, is added to `dbias`. One exponential a
// logit.
double cross_entropy(float* logits, const float* bias, const int64_t* targets, int64_t rows, int64_t classes,
                     float scale, float* dbias);

struct Moments {
  float mean, inverse;  // inverse = 1 / sqrt(variance + 1e-5)
};
Moments moments(const float* x, int64_t n);

// y = (x - mean) inverse gain + shift for each row; the moments are kept for the way back.
void layer_norm(const float* x, const float* gain, const float* shift, float* y, Moments* kept, int64_t rows,
                int64_t n);
// dx (+)= the gradient through it; dgain and dshift (or null) are added to.
void layer_norm_back(const float* x, const float* dy, const float* gain, const Moments* kept, float* dx,
                     bool add_to_dx, float* dgain, float* dshift, int64_t rows, int64_t n);

void add(float* to, const float* from, int64_t n);
// to[n] += sum of rows, `stride` apart
void add_rows(float* to, const float* rows, int64_t count, int64_t stride, int64_t n);
void add_bias(float* rows, const float* bias, int64_t count, int64_t n);

}  // namespace reel::bench::expert
