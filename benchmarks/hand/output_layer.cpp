#include "benchmarks/hand/output_layer.h"

#include <algorithm>

#include "benchmarks/hand/kernels.h"

namespace reel::bench::hand {

OutputLayer::OutputLayer(int64_t vocabulary, int64_t hidden, int members)
    : vocabulary_(vocabulary), hidden_(hidden), ld_((vocabulary + 15) / 16 * 16), dbias_(members * ld_) {}

double OutputLayer::rows(const Member& me, Share share, const float* h, float* dh, int64_t ldh,
                         const int64_t* targets, const float* weight, const float* bias, int64_t rows) {
  float* logits = logits_.data() + share.begin * ld_;
  float* dbias = dbias_.data() + me.index * ld_;
  std::fill(dbias, dbias + ld_, 0.0f);
  sgemm({share.size(), vocabulary_, hidden_}, h + share.begin * ldh, {ldh}, weight, {hidden_, true}, logits,
        ld_);
  const float scale = 1 / static_cast<float>(rows);
  double loss = 0;
  for (int64_t r = 0; r < share.size(); ++r) {
    loss += cross_entropy_row(logits + r * ld_, bias, dbias, vocabulary_, targets[share.begin + r], scale);
  }
  sgemm({share.size(), hidden_, vocabulary_}, logits, {ld_}, weight, {hidden_}, dh, ldh);
  return loss;
}

void OutputLayer::weights(const Member& me, const float* h, int64_t ldh, int64_t rows, float* dweight,
                          float* dbias) {
  const Share mine = me.share(vocabulary_, 16);
  sgemm({mine.size(), hidden_, rows}, logits_.data() + mine.begin, {ld_, true}, h, {ldh},
        dweight + mine.begin * hidden_, hidden_);
  std::copy(dbias_.data() + mine.begin, dbias_.data() + mine.end, dbias + mine.begin);
  for (int m = 1; m < me.size; ++m) {
    add_row(dbias + mine.begin, dbias_.data() + m * ld_ + mine.begin, mine.size());
  }
}

}  // namespace reel::bench::hand
