#include "nn/time_scales.h"

#include <cmath>

namespace reel::nn {

Tensor initial_leak(const LeakOptions& leak, int64_t units) {
  std::vector<double> values = leak.alpha;
  if (values.size() == 1) values.resize(static_cast<size_t>(units), values[0]);
  if (static_cast<int64_t>(values.size()) != units) {
    fail("[Leaky] {} values of alpha for {} units: want one each, or one", values.size(), units);
  }
  for (double& alpha : values) {
    const bool inside = leak.learned ? alpha > 0 && alpha < 1 : alpha >= 0 && alpha <= 1;
    if (!inside) fail("[Leaky] alpha {}: want {}", alpha, leak.learned ? "0 < alpha < 1" : "0 to 1");
    if (leak.learned) alpha = std::log(alpha / (1 - alpha));
  }
  return to(Tensor::from(values, {units}), default_dtype());
}

Tensor unit_periods(const ClockOptions& clock, int64_t units) {
  const auto groups = static_cast<int64_t>(clock.periods.size());
  if (groups == 0 || units % groups != 0) {
    fail("[Clocked] {} periods for {} units: want groups of one size", groups, units);
  }
  std::vector<double> periods;
  for (const int64_t period : clock.periods) {
    if (period < 1) fail("[Clocked] a period of {}: want at least 1", period);
    periods.insert(periods.end(), static_cast<size_t>(units / groups), static_cast<double>(period));
  }
  return to(Tensor::from(periods, {units}), default_dtype());
}

}  // namespace reel::nn
