#include "nn/unroll.h"

#include <algorithm>

namespace reel::nn {

namespace {

// Which steps count, in x's layout [time, batch] or [batch, time]; undefined where all do.
Tensor counts_of(const Valid& valid, const Shape& shape, int time_axis) {
  const int64_t time = shape[time_axis], batch = shape[1 - time_axis];
  const Shape want{shape[0], shape[1]};
  if (!valid.lengths.empty() && valid.mask.defined())
    fail("[Recurrent] lengths and a mask: want one of them");
  if (valid.mask.defined()) {
    if (!(valid.mask.shape() == want) || valid.mask.dtype() != DType::boolean) {
      fail("[Recurrent] a mask of {} {}: want bool {}", name_of(valid.mask.dtype()), valid.mask.shape(),
           want);
    }
    return valid.mask;
  }
  if (valid.lengths.empty()) return {};
  if (static_cast<int64_t>(valid.lengths.size()) != batch) {
    fail("[Recurrent] {} lengths for a batch of {}: want one each", valid.lengths.size(), batch);
  }
  for (const int64_t length : valid.lengths) {
    if (length < 0 || length > time) {
      fail("[Recurrent] a length of {}: want 0 to {}, the steps in x", length, time);
    }
  }
  std::vector<bool> counts;
  for (int64_t i = 0; i < want[0]; ++i) {
    for (int64_t j = 0; j < want[1]; ++j) {
      const int64_t t = time_axis == 0 ? i : j, row = time_axis == 0 ? j : i;
      counts.push_back(t < valid.lengths[static_cast<size_t>(row)]);
    }
  }
  return Tensor::from(counts, want);
}

}  // namespace

Steps steps_of(const Tensor& x, const Valid& valid, bool batch_first) {
  if (x.dim() != 3) {
    fail("[Recurrent] x {}: want [{}, in]", x.shape(), batch_first ? "batch, time" : "time, batch");
  }
  const int time_axis = batch_first ? 1 : 0;
  const int64_t time = x.size(time_axis);
  if (time == 0) fail("[Recurrent] x {}: want at least one step", x.shape());
  const Tensor counts = counts_of(valid, x.shape(), time_axis);
  // Behind a sequence's end may stand anything, NaN and infinity too, whose gradients zeros do not cancel.
  const Tensor clean = counts.defined() ? where(unsqueeze(counts, 2), x, 0.0) : x;
  // Only steps beyond the shortest row need a mask.
  const int64_t first =
      valid.lengths.empty() ? 0 : *std::min_element(valid.lengths.begin(), valid.lengths.end());
  Steps steps;
  for (int64_t t = 0; t < time; ++t) {
    steps.x.push_back(select(clean, time_axis, t));
    if (!counts.defined()) continue;
    steps.mask.push_back(t < first ? Tensor() : unsqueeze(select(counts, time_axis, t), 1));
  }
  return steps;
}

Steps taught_by(Steps steps, const Tensor& targets, bool batch_first) {
  const int time_axis = batch_first ? 1 : 0;
  if (targets.dim() != 3 || targets.size(time_axis) != static_cast<int64_t>(steps.x.size())) {
    fail("[unroll] targets {} for {} steps: want [{}, out], one for each step", targets.shape(),
         steps.x.size(), batch_first ? "batch, time" : "time, batch");
  }
  steps.target.clear();
  for (int64_t t = 0; t < targets.size(time_axis); ++t) {
    steps.target.push_back(select(targets, time_axis, t));
  }
  return steps;
}

}  // namespace reel::nn
