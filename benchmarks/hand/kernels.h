// The pointwise passes of hand-written recurrent cells, each fused into one loop. Rows are contiguous; SIMD
// width chosen at run time.
#pragma once

#include <cstdint>

namespace reel::bench::hand {

// One row of an LSTM step over n units: z = x + r + b [4n] in the order i, f, g, o;
// act = (sigmoid, sigmoid, tanh, sigmoid)(z), c = f c0 + i g, h = o tanh(c). At the first step r and c0 are
// null. act may be x.
void lstm_row(const float* x, const float* r, const float* b, const float* c0, float* act, float* c, float* h,
              int64_t n);

// The same backwards: from dh and dc, d loss/dz takes the place of act and is added to `sum` [4n] (the bias's
// gradient, or that of the input's row); dc becomes d loss/dc0.
void lstm_row_back(float* act, const float* c, const float* c0, const float* dh, float* dc, float* sum,
                   int64_t n);

// One row of a GRU step over n units: x and r [3n] in the order z, r, n, b [4n], the last for U_n h alone. At
// the first step r and h0 are null. gates [3n] = z, r, u = r[2n..] + b[3n..];
// candidate = tanh(x + b + r u); h = candidate + z (h0 - candidate).
void gru_row(const float* x, const float* r, const float* b, const float* h0, float* gates, float* candidate,
             float* h, int64_t n);

// The same backwards: from dh + carry, d loss/d(z, r, u) takes the place of gates; d loss/d(z, r, candidate)
// is added to `sum` [3n], d loss/du to `sum_u` [n]; carry becomes what reaches h0 past the products.
void gru_row_back(float* gates, const float* candidate, const float* h0, const float* dh, float* carry,
                  float* sum, float* sum_u, int64_t n);

// Softmax and cross-entropy of one row of n logits to which b is yet to be added: returns -log p[target];
// the row becomes scale (p - one_hot(target)) and is added to db.
float cross_entropy_row(float* row, const float* b, float* db, int64_t n, int64_t target, float scale);

// h[n] = tanh(x + b + sum over k of h0[k] W[k]), rows of W `ld` apart, ld >= n; h0 null: zeros.
void rnn_row(const float* x, const float* b, const float* h0, const float* w, int64_t ld, float* h,
             int64_t n);
// dz = (dh + sum over k of dz1[k] W[k]) (1 - h^2), dz1 of the step after or null.
void rnn_row_back(const float* dh, const float* dz1, const float* w, int64_t ld, const float* h, float* dz,
                  int64_t n);

// The nearest bf16 of each, ties to even.
void narrow_row(const float* from, uint16_t* to, int64_t n);

void add_row(float* to, const float* row, int64_t n);

// to[c, r] = from[r, c], rows of `from` ld and of `to` ldt apart.
void transpose(const float* from, int64_t rows, int64_t columns, int64_t ld, float* to, int64_t ldt);

}  // namespace reel::bench::hand
