// Sums, means, variances, maxima and minima over any axes.
#pragma once

#include <array>
#include <concepts>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/op.h"

namespace reel {

// Which axes to fold: one, several, or by default all. Negative ones count from the end; each at most once.
class Axes {
 public:
  Axes() = default;  // all
  // NOLINTBEGIN(google-explicit-constructor): sum(x, -1), sum(x, {0, 2}).
  Axes(int64_t axis) : Axes({axis}) {}
  Axes(std::initializer_list<int64_t> axes) : Axes(std::span<const int64_t>(axes.begin(), axes.size())) {}
  Axes(const std::vector<int64_t>& axes) : Axes(std::span<const int64_t>(axes)) {}
  Axes(std::span<const int64_t> axes);
  template <std::same_as<bool> B>
  Axes(B) = delete;  // sum(x, true) means sum(x, {}, true)
  // NOLINTEND(google-explicit-constructor)
  static Axes last(int64_t count);  // the last so many

  std::span<const int64_t> list() const { return {axes_.data(), count_}; }

 private:
  std::array<int64_t, kMaxRank> axes_{};
  size_t count_ = 0;
};

// keepdim leaves a folded axis in place with size 1, so that the result broadcasts against x.
Tensor sum(Arg x, const Axes& axes = {},
           bool keepdim = false);  // 0 over an empty axis; booleans are counted in i64
Tensor mean(Arg x, const Axes& axes = {}, bool keepdim = false);  // floats only; NaN over an empty axis
// sum (x - mean)^2 / max(n - correction, 0): correction 1 for the unbiased estimate, 0 for the population's.
Tensor var(Arg x, const Axes& axes = {}, int64_t correction = 1, bool keepdim = false);
// The largest and smallest entry; NaN where one is. The gradient is shared evenly among ties. An empty axis
// is refused.
Tensor amax(Arg x, const Axes& axes = {}, bool keepdim = false);
Tensor amin(Arg x, const Axes& axes = {}, bool keepdim = false);

// y of `shape`: x repeated, without a copy, along these axes of y, which x lacks (or has with size 1:
// keepdim). The transpose of sum, for gradients.
Tensor spread(Arg x, const Axes& axes, bool keepdim, const Shape& shape);

}  // namespace reel
