#include "examples/data/batches.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "core/structural.h"

namespace reel::examples {

namespace {

// [time, batch, width], and the lengths.
template <class T>
Padded side_by_side(const std::vector<std::vector<T>>& sequences, const std::vector<std::size_t>& rows,
                    std::size_t width, T padding, bool flat) {
  std::size_t time = 0;
  Padded result;
  for (const std::size_t row : rows) {
    const std::size_t length = sequences[row].size() / width;
    result.lengths.push_back(static_cast<int64_t>(length));
    time = std::max(time, length);
  }
  std::vector<T> values(time * rows.size() * width, padding);
  for (std::size_t b = 0; b < rows.size(); ++b) {
    const auto& sequence = sequences[rows[b]];
    for (std::size_t k = 0; k < sequence.size(); ++k) {
      values[(k / width * rows.size() + b) * width + k % width] = sequence[k];
    }
  }
  std::vector<int64_t> shape{static_cast<int64_t>(time), static_cast<int64_t>(rows.size())};
  if (!flat) shape.push_back(static_cast<int64_t>(width));
  result.x = Tensor::from(values, Shape(shape));
  return result;
}

}  // namespace

Batches::Batches(std::size_t count, long batch, uint64_t seed)
    : count_(count), batch_(static_cast<std::size_t>(batch)), seed_(seed), order_(count) {}

long Batches::per_pass() const { return static_cast<long>((count_ + batch_ - 1) / batch_); }

const std::vector<std::size_t>& Batches::at(long step) {
  if (pass_ != step / per_pass()) {
    pass_ = step / per_pass();
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::seed_seq seeds{seed_ & 0xffffffff, seed_ >> 32, static_cast<uint64_t>(pass_)};
    std::mt19937_64 random(seeds);
    for (std::size_t k = count_; k > 1; --k) std::swap(order_[k - 1], order_[random() % k]);  // Fisher, Yates
  }
  const std::size_t begin = static_cast<std::size_t>(step % per_pass()) * batch_;
  const std::size_t end = std::min(begin + batch_, count_);
  rows_.assign(order_.begin() + static_cast<std::ptrdiff_t>(begin),
               order_.begin() + static_cast<std::ptrdiff_t>(end));
  return rows_;
}

std::vector<std::vector<std::size_t>> in_order(std::size_t count, std::size_t batch) {
  std::vector<std::vector<std::size_t>> batches;
  for (std::size_t row = 0; row < count; ++row) {
    if (row % batch == 0) batches.emplace_back();
    batches.back().push_back(row);
  }
  return batches;
}

Padded padded(const std::vector<std::vector<int64_t>>& sequences, const std::vector<std::size_t>& rows,
              int64_t padding) {
  return side_by_side(sequences, rows, 1, padding, true);
}

Padded padded(const std::vector<std::vector<double>>& sequences, const std::vector<std::size_t>& rows,
              int64_t width) {
  Padded result = side_by_side(sequences, rows, static_cast<std::size_t>(width), 0.0, false);
  result.x = to(result.x, default_dtype());
  return result;
}

}  // namespace reel::examples
