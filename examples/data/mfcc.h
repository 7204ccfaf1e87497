// Mel-frequency cepstral coefficients (Davis and Mermelstein 1980), as the HTK Book (section 5.6) writes
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "examples/data/wav.h"

namespace reel::examples {

struct MfccOptions {
  double window = 0.025, hop = 0.010;  // seconds
  double pre_emphasis = 0.97;
  int filters = 26, coefficients = 13;
};

// Features of a sound, frame by frame.
struct Frames {
  int64_t width = 0;
  std::vector<double> values;  // [count, width]

  int64_t count() const { return static_cast<int64_t>(values.size()) / width; }
};

// For each window of N samples, a hop apart (a sound shorter than one is padded with zeros):
//   pre-emphasis  y_n = x_n - 0.97 x_{n-1}, over the whole sound, x_{-1} = 0
//   Hamming       w_n = 0.54 - 0.46 cos(2 pi n / (N - 1))
//   power         p_k = |sum_n w_n y_n e^(-2 pi i k n / F)|^2 / F, F the power of two from N on
//   mel filters   e_m = sum_k H_m(k) p_k; H_m rises linearly in mel from centre m - 1 to m and falls to m +
//   1,
//                 centres evenly spaced on mel(f) = 2595 log10(1 + f / 700) from 0 to half the rate
//   log, DCT-II   c_j = s_j sum_m log(max(e_m, 1e-10)) cos(pi j (m + 1/2) / M), s_0 = sqrt(1/M), else
//   sqrt(2/M)
Frames mfcc(const Sound& sound, const MfccOptions& options = {});

// Beside each feature its slope (HTK Book, 5.9): d_t = sum_{k=1,2} k (c_{t+k} - c_{t-k}) / 10, the ends
// repeated. Twice as wide.
Frames with_deltas(const Frames& frames);

// Mean and deviation of each feature over many sounds, and features in units of them.
struct Scale {
  std::vector<double> mean, deviation;

  static Scale of(const std::vector<Frames>& sounds);
  void apply(Frames& frames) const;
};

}  // namespace reel::examples
