#include "nn/unroll.h"

#include <algorithm>

namespace reel::nn {

namespace {

// Only steps beyond the shortest row need a mask.
void mask_by_lengths(Steps& steps, const std::vector<int64_t>& lengths, int64_t batch) {
  const auto time = static_cast<int64_t>(steps.x.size());
  if (static_cast<int64_t>(lengths.size()) != batch) {
    fail("[Recurrent] {} lengths for a batch of {}: want one each", lengths.size(), batch);
  }
  for (int64_t length : lengths) {
    if (length < 0 || length > time) {
      fail("[Recurrent] a length of {}: want 0 to {}, the steps in x", length, time);
    }
  }
  const int64_t shortest = *std::min_element(lengths.begin(), lengths.end());
  steps.mask.resize(steps.x.size());
  for (int64_t t = shortest; t < time; ++t) {
    std::vector<bool> counts;
    for (int64_t length : lengths) counts.push_back(t < length);
    steps.mask[static_cast<size_t>(t)] = Tensor::from(counts, {batch, 1});
  }
}

}  // namespace

Steps steps_of(const Tensor& x, const Valid& valid, bool batch_first) {
  if (x.dim() != 3) {
    fail("[Recurrent] x {}: want [{}, in]", x.shape(), batch_first ? "batch, time" : "time, batch");
  }
  const int time_axis = batch_first ? 1 : 0;
  const int64_t time = x.size(time_axis), batch = x.size(1 - time_axis);
  if (time == 0) fail("[Recurrent] x {}: want at least one step", x.shape());
  Steps steps;
  for (int64_t t = 0; t < time; ++t) steps.x.push_back(select(x, time_axis, t));
  if (!valid.lengths.empty() && valid.mask.defined())
    fail("[Recurrent] lengths and a mask: want one of them");
  if (!valid.lengths.empty()) mask_by_lengths(steps, valid.lengths, batch);
  if (valid.mask.defined()) {
    const Shape want{x.size(0), x.size(1)};
    if (!(valid.mask.shape() == want) || valid.mask.dtype() != DType::boolean) {
      fail("[Recurrent] a mask of {} {}: want bool {}", name_of(valid.mask.dtype()), valid.mask.shape(),
           want);
    }
    for (int64_t t = 0; t < time; ++t) {
      steps.mask.push_back(unsqueeze(select(valid.mask, time_axis, t), 1));
    }
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
