#include "benchmarks/hand/output_layer.h"

#include <algorithm>

#include "benchmarks/hand/kernels.h"

namespace reel::bench::hand {

// oneDNN's fast bf16 kernels take dense rows only.
OutputLayer::OutputLayer(int64_t vocabulary, int64_t hidden, int members, Type type)
    : type_(type),
      vocabulary_(vocabulary),
      hidden_(hidden),
      ld_(type == Type::bf16 ? vocabulary : (vocabulary + 15) / 16 * 16),
      dbias_(members * ld_) {}

void OutputLayer::resize(int64_t rows) {
  if (rows * ld_ <= logits_.size()) return;
  logits_.resize(rows * ld_);
  dlogits_ = Operand(type_, logits_.data(), rows, ld_);
}

void OutputLayer::prepare(const Member& me, const float* weight) {
  if (weight_.width() == 0 && me.index == 0) weight_ = Operand(type_, weight, vocabulary_, hidden_);
  me.wait();
  const Share mine = me.share(vocabulary_);
  if (mine.size() > 0) weight_.take(mine.begin, mine.size());
}

double OutputLayer::rows(const Member& me, Share share, const void* h, float* dh, int64_t ldh,
                         const int64_t* targets, const float* weight, const float* bias, int64_t rows) {
  float* logits = logits_.data() + share.begin * ld_;
  float* dbias = dbias_.data() + me.index * ld_;
  const void* w = type_ == Type::f32 ? weight : weight_.row(0);
  std::fill(dbias, dbias + ld_, 0.0f);
  multiply(type_, {share.size(), vocabulary_, hidden_}, element(h, share.begin * ldh, type_), {ldh}, w,
           {hidden_, true}, logits, ld_);
  const float scale = 1 / static_cast<float>(rows);
  double loss = 0;
  for (int64_t r = 0; r < share.size(); ++r) {
    loss += cross_entropy_row(logits + r * ld_, bias, dbias, vocabulary_, targets[share.begin + r], scale);
    dlogits_.take(share.begin + r, 1);
  }
  multiply(type_, {share.size(), hidden_, vocabulary_}, dlogits_.row(share.begin), {ld_}, w, {hidden_}, dh,
           ldh);
  return loss;
}

void OutputLayer::weights(const Member& me, const void* h, int64_t ldh, int64_t rows, float* dweight,
                          float* dbias) {
  const Share mine = me.share(vocabulary_, 16);
  multiply(type_, {mine.size(), hidden_, rows}, dlogits_.row(0, mine.begin), {ld_, true}, h, {ldh},
           dweight + mine.begin * hidden_, hidden_);
  std::copy(dbias_.data() + mine.begin, dbias_.data() + mine.end, dbias + mine.begin);
  for (int m = 1; m < me.size; ++m) {
    add_row(dbias + mine.begin, dbias_.data() + m * ld_ + mine.begin, mine.size());
  }
}

}  // namespace reel::bench::hand
