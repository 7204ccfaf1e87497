// W7's fused kernels: a GRU's gates and additive attention, a row at a time, forwards and backwards.
#pragma once

#include <cstdint>

namespace reel::bench::expert {

// One row of one step of a GRU, gates in the order r, z, n.
struct GruRow {
  const float *zx, *zc, *zh;  // W x by words and by context (or null), and U h, without their biases; [3n]
  const float *bx, *bh;       // [3n]
  const float* h0;            // [n]
  float* gates;               // [4n]: r, z, candidate, U_n h + b_n
  float* h;                   // [n]
};
struct GruBack {
  const float *gates, *h0;
  float* dh;         // [n]: of h; becomes what reaches h0 past the products
  float *dzx, *dzh;  // [3n]
};
// One row's attention: keys and memory have a row for each position, `stride` apart.
struct Attention {
  int64_t n, positions, stride;
  const float *keys, *memory;
  const float *query, *v;  // [n]
  float* bent;             // tanh(keys + query), [positions, n]
  float* weights;          // [positions]
  float* context;          // [n]
};
struct AttentionBack {
  const float* dcontext;   // [n]
  float *dkeys, *dmemory;  // like keys and memory, added to
  float *dquery, *dv;      // [n]; dv is added to
  float* room;             // [positions]
};

void gru(const GruRow& row, int64_t n);
void gru_back(const GruBack& row, int64_t n);
void attend(const Attention& row);
void attend_back(const Attention& row, const AttentionBack& back);

}  // namespace reel::bench::expert
