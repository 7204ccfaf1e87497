// Random numbers for made-up data: example `k` of a seed is the same on every machine, whatever was drawn
// before.
#pragma once

#include <cstdint>
#include <random>

namespace reel::examples {

class Dice {
 public:
  Dice(uint64_t seed, uint64_t k, uint64_t kind = 0) {
    std::seed_seq seeds{seed & 0xffffffff, seed >> 32, k & 0xffffffff, k >> 32, kind};
    engine_.seed(seeds);
  }
  double within(double low, double high) {
    return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  int64_t below(int64_t count) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(count)); }
  bool coin() { return engine_() >> 63 != 0; }
  double noise() { return within(-1, 1) + within(-1, 1) + within(-1, 1); }  // mean 0, variance 1
  template <class List>
  const auto& pick(const List& list) {
    return list[static_cast<std::size_t>(below(static_cast<int64_t>(list.size())))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace reel::examples
