#include "examples/separation/mixture.h"

#include <cmath>

#include "examples/data/dice.h"

namespace reel::examples {

namespace {

std::vector<double> source(int64_t length, double direction, Dice& dice) {
  double place = dice.within(0, bands);
  const double pace = direction * dice.within(0.6, 1.4), loudness = dice.within(0.6, 1);
  std::vector<double> frames;
  for (int64_t t = 0; t < length; ++t) {
    const double now = loudness * dice.within(0.9, 1.1);
    for (int64_t band = 0; band < bands; ++band) {
      const double away = std::remainder(static_cast<double>(band) - place, bands);
      frames.push_back(now * std::exp(-away * away / 4));
    }
    place += pace;
  }
  return frames;
}

}  // namespace

Mixture make_mixture(int64_t length, uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  Mixture mixture{source(length, +1, dice), source(length, -1, dice), {}};
  for (std::size_t i = 0; i < mixture.first.size(); ++i) {
    mixture.heard.push_back(mixture.first[i] + mixture.second[i]);
  }
  return mixture;
}

double distortion_ratio(const std::vector<double>& source, const std::vector<double>& estimate) {
  double signal = 0, distortion = 0;
  for (std::size_t i = 0; i < source.size(); ++i) {
    signal += source[i] * source[i];
    distortion += std::pow(source[i] - estimate[i], 2);
  }
  return 10 * std::log10(signal / distortion);
}

}  // namespace reel::examples
