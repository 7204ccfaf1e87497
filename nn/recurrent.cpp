#include "nn/recurrent.h"

#include <algorithm>

namespace reel::nn {

Steps steps_of(const Tensor& x, const std::vector<int64_t>& lengths, bool batch_first) {
  if (x.dim() != 3) {
    fail("[Recurrent] x {}: want [{}, in]", x.shape(), batch_first ? "batch, time" : "time, batch");
  }
  const int64_t time = x.size(batch_first ? 1 : 0), batch = x.size(batch_first ? 0 : 1);
  if (time == 0) fail("[Recurrent] x {}: want at least one step", x.shape());
  Steps steps;
  for (int64_t t = 0; t < time; ++t) steps.x.push_back(select(x, batch_first ? 1 : 0, t));
  if (lengths.empty()) return steps;
  if (static_cast<int64_t>(lengths.size()) != batch) {
    fail("[Recurrent] {} lengths for a batch of {}: want one each", lengths.size(), batch);
  }
  for (int64_t length : lengths) {
    if (length < 0 || length > time)
      fail("[Recurrent] a length of {}: want 0 to {}, the steps in x", length, time);
  }
  const int64_t shortest = lengths.empty() ? 0 : *std::min_element(lengths.begin(), lengths.end());
  steps.mask.resize(steps.x.size());
  for (int64_t t = shortest; t < time; ++t) {
    std::vector<bool> counts;
    for (int64_t length : lengths) counts.push_back(t < length);
    steps.mask[static_cast<size_t>(t)] = Tensor::from(counts, {batch, 1});
  }
  return steps;
}

}  // namespace reel::nn
