// Which rows a step of training sees, and sequences of different lengths made one tensor.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace reel::examples {

// Passes over `count` rows, each in another random order. What a step sees depends on the seed and its number
// alone, so that a resumed run goes on as the other would have.
class Batches {
 public:
  Batches(std::size_t count, long batch, uint64_t seed);

  long per_pass() const;                          // steps
  const std::vector<std::size_t>& at(long step);  // steps from 0; the last batch of a pass may be smaller

 private:
  std::size_t count_, batch_;
  uint64_t seed_;
  long pass_ = -1;
  std::vector<std::size_t> order_, rows_;
};

// Rows 0 to count - 1 as batches in their order, for judging.
std::vector<std::vector<std::size_t>> in_order(std::size_t count, std::size_t batch);

// Sequences side by side, filled up with `padding`: ids [time, batch], or values [time, batch, width].
struct Padded {
  Tensor x;
  std::vector<int64_t> lengths;  // [batch]
};
Padded padded(const std::vector<std::vector<int64_t>>& sequences, const std::vector<std::size_t>& rows,
              int64_t padding = 0);
Padded padded(const std::vector<std::vector<double>>& sequences, const std::vector<std::size_t>& rows,
              int64_t width);

}  // namespace reel::examples
