// What depends on each other belongs together: sets of numbers that are joined, each known by its least
// member.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace reel::plan {

class Together {
 public:
  explicit Together(int64_t count) : up_(static_cast<size_t>(count)) {
    std::iota(up_.begin(), up_.end(), int64_t{0});
  }
  int64_t first(int64_t k) {  // of k's set
    while (up_[static_cast<size_t>(k)] != k) {
      int64_t& up = up_[static_cast<size_t>(k)];
      k = up = up_[static_cast<size_t>(up)];
    }
    return k;
  }
  void join(int64_t a, int64_t b) {
    a = first(a);
    b = first(b);
    up_[static_cast<size_t>(std::max(a, b))] = std::min(a, b);
  }

 private:
  std::vector<int64_t> up_;
};

}  // namespace reel::plan
