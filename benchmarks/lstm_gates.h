// An LSTM's gates by hand: one loop over vectors, everything in registers. The yardstick of fused programs.
#pragma once

#include <cstdint>

namespace reel::bench {

// z and act: [rows, 4 hidden] as i, f, g, o; bias: [4 hidden]; the others [rows, hidden].
void lstm_forward(const float* z, const float* bias, const float* before, float* act, float* c, float* t,
                  float* h, int64_t rows, int64_t hidden);

// dz: [rows, 4 hidden]; its column sums are added to dbias: [4 hidden].
void lstm_backward(const float* act, const float* t, const float* before, const float* dh, const float* dc,
                   float* dz, float* dbefore, float* dbias, int64_t rows, int64_t hidden);

}  // namespace reel::bench
