// How far apart two tensors are, for tests that compare with another program's values.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/tensor.h"

namespace reel::tests {

// The largest difference, relative to b's largest element.
inline double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double worst = 0, largest = 1e-30;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::fabs(x[i] - y[i]));
    largest = std::max(largest, std::fabs(y[i]));
  }
  return worst / largest;
}

}  // namespace reel::tests
