// The minimal character RNN by hand: batch 1, so products of a row with a matrix, on one thread.
#include <algorithm>

#include "benchmarks/hand/kernels.h"
#include "benchmarks/hand/onednn.h"
#include "benchmarks/hand/output_layer.h"
#include "benchmarks/lstm_problem.h"
#include "core/error.h"

namespace reel::bench {

namespace {

using namespace hand;

class HandRnn : public Stepper {
 public:
  HandRnn(const RecurrentSizes& sizes, const Weights& weights)
      : s_(sizes),
        at_(sizes),
        ld_((sizes.hidden + 15) / 16 * 16),
        weights_(weights),
        gradients_(zeros_like(weights)),
        forward_(sizes.hidden * ld_),
        backward_(sizes.hidden * ld_),
        h_(sizes.steps * ld_),
        dh_(sizes.steps * ld_),
        dz_(sizes.steps * ld_),
        x_(ld_),
        output_(sizes.vocabulary, sizes.hidden, 1) {
    if (s_.batch != 1 || s_.layers != 1 || s_.embedding != 0)
      fail("the RNN by hand has batch 1 and one layer");
    output_.resize(sizes.steps);
  }

  double step(int64_t k) override {
    const Batch& batch = batches_[k];
    double loss = 0;
    together(1, [&](const Member& me) {
      prepare();
      forward(batch);
      loss = output_.rows(me, {0, batch.steps}, h_.data(), dh_.data(), ld_, batch.targets.data(),
                          weights_[at_.output()].values.data(), weights_[at_.output_bias()].values.data(),
                          batch.steps);
      backward(batch);
      output_.weights(me, h_.data(), ld_, batch.steps, gradient(at_.output()), gradient(at_.output_bias()));
    });
    return loss / static_cast<double>(batch.steps);
  }

  Weights gradients() const override { return gradients_; }

 private:
  float* gradient(size_t index) { return gradients_[index].values.data(); }

  // weight_hh with its rows padded to whole vectors, and its transpose.
  void prepare() {
    const float* w = weights_[at_.hh(0)].values.data();
    for (int64_t i = 0; i < s_.hidden; ++i)
      std::copy_n(w + i * s_.hidden, s_.hidden, backward_.data() + i * ld_);
    for (int64_t i = 0; i < s_.hidden; ++i) {
      for (int64_t j = 0; j < s_.hidden; ++j) forward_.data()[j * ld_ + i] = w[i * s_.hidden + j];
    }
  }

  void forward(const Batch& batch) {
    const float* ih = weights_[at_.ih(0)].values.data();
    for (int64_t t = 0; t < batch.steps; ++t) {
      const int64_t id = batch.ids[static_cast<size_t>(t)];
      for (int64_t i = 0; i < s_.hidden; ++i) x_.data()[i] = ih[i * s_.vocabulary + id];
      float* h = h_.data() + t * ld_;
      rnn_row(x_.data(), weights_[at_.bias(0)].values.data(), t > 0 ? h - ld_ : nullptr, forward_.data(), ld_,
              h, s_.hidden);
    }
  }

  void backward(const Batch& batch) {
    float* dih = gradient(at_.ih(0));
    float* dbias = gradient(at_.bias(0));
    std::fill_n(dih, s_.hidden * s_.vocabulary, 0.0f);
    std::fill_n(dbias, s_.hidden, 0.0f);
    for (int64_t t = batch.steps; t-- > 0;) {
      float* dz = dz_.data() + t * ld_;
      rnn_row_back(dh_.data() + t * ld_, t + 1 < batch.steps ? dz + ld_ : nullptr, backward_.data(), ld_,
                   h_.data() + t * ld_, dz, s_.hidden);
      add_row(dbias, dz, s_.hidden);
      const int64_t id = batch.ids[static_cast<size_t>(t)];
      for (int64_t i = 0; i < s_.hidden; ++i) dih[i * s_.vocabulary + id] += dz[i];
    }
    sgemm({s_.hidden, s_.hidden, batch.steps - 1}, dz_.data() + ld_, {ld_, true}, h_.data(), {ld_},
          gradient(at_.hh(0)), s_.hidden);
  }

  const RecurrentSizes s_;
  const Batches batches_{s_};
  const WeightIndex at_;
  const int64_t ld_;
  const Weights weights_;
  Weights gradients_;
  Floats forward_, backward_, h_, dh_, dz_, x_;
  OutputLayer output_;
};

}  // namespace

std::unique_ptr<Stepper> hand_rnn(const RecurrentSizes& sizes, const Weights& weights) {
  return std::make_unique<HandRnn>(sizes, weights);
}

}  // namespace reel::bench
