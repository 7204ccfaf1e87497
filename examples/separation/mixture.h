// Two sources that are alike in every single frame, and differ in how they move.
#pragma once

#include <cstdint>
#include <vector>

namespace reel::examples {

inline constexpr int64_t bands = 32;  // of a frame's spectrum, on a ring

// Each source is a bump in the spectrum; the first climbs, the second falls, at a pace and a loudness of
// their own. What is heard is their sum.
struct Mixture {
  std::vector<double> first, second, heard;  // [length, bands]
};
Mixture make_mixture(int64_t length, uint64_t seed, uint64_t k);

// Signal-to-distortion ratio in dB: 10 log10(sum s^2 / sum (s - e)^2) of a source s and its estimate e.
double distortion_ratio(const std::vector<double>& source, const std::vector<double>& estimate);

}  // namespace reel::examples
