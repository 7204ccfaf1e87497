#include "nn/attention.h"

#include <cmath>

#include "nn/init.h"
#include "ops/ops.h"

namespace reel::nn {

AdditiveAttention::AdditiveAttention(Member at, int64_t query, int64_t key, int64_t width)
    : Module(std::move(at)), query_({this, "query"}, query, width, false), key_({this, "key"}, key, width) {
  const double bound = 1 / std::sqrt(static_cast<double>(width));
  score_ = parameter("score", {width}, init::uniform(-bound, bound));
}

AdditiveAttention::Memory AdditiveAttention::remember(const Tensor& keys, const Tensor& mask) const {
  return {keys, key_(keys), mask};
}

AdditiveAttention::Attended AdditiveAttention::operator()(const Tensor& query, const Memory& memory) const {
  const Tensor q = unsqueeze(query_(query), 1);  // [batch, 1, width]
  Tensor scores = matmul(tanh(memory.projected + q), score_);
  if (memory.mask.defined()) scores = where(memory.mask, scores, -1e9);
  const Tensor weights = softmax(scores, -1);
  return {squeeze(matmul(unsqueeze(weights, 1), memory.keys), 1), weights};
}

}  // namespace reel::nn
