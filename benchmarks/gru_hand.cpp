// A GRU's training step by hand, in the form that resets after the product. As in lstm_hand.cpp each thread
// takes its rows of the batch through the whole sequence, forwards and backwards, and they meet only to
// multiply for the weights' gradients; rows lie member by member, then step by step.
#include <algorithm>

#include "benchmarks/hand/kernels.h"
#include "benchmarks/hand/onednn.h"
#include "benchmarks/hand/output_layer.h"
#include "benchmarks/hand/team.h"
#include "benchmarks/lstm_problem.h"
#include "core/error.h"
#include "core/tensor.h"

namespace reel::bench {

namespace {

using namespace hand;

class HandGru : public Stepper {
 public:
  HandGru(const RecurrentSizes& sizes, const Weights& weights, int members)
      : s_(sizes),
        members_(members),
        gates_(3 * sizes.hidden),
        weights_(weights),
        gradients_(zeros_like(weights)),
        hh_({share_of(s_.batch, members - 1, members).size(), gates_, s_.hidden}, {s_.hidden, true}),
        hh_back_({share_of(s_.batch, members - 1, members).size(), s_.hidden, gates_}, {s_.hidden}),
        output_(sizes.vocabulary, sizes.hidden, members),
        losses_(static_cast<size_t>(members)),
        z_(s_.steps * s_.batch * gates_),
        candidate_(s_.steps * s_.batch * s_.hidden),
        h_(s_.steps * s_.batch * s_.hidden),
        dh_(s_.steps * s_.batch * s_.hidden),
        table_(s_.vocabulary * gates_) {
    if (s_.layers != 1 || s_.embedding != 0 || s_.shortest != 0) {
      fail("the GRU by hand has one layer, one-hot rows, and sequences of one length");
    }
    output_.resize(s_.steps * s_.batch);
    for (int m = 0; m < members; ++m) {
      const int64_t batch = sequences(m).size();
      own_.push_back({Product({batch, gates_, s_.hidden}, {s_.hidden}, hh_, gates_),
                      Product({batch, s_.hidden, gates_}, {gates_}, hh_back_, s_.hidden, Product::Into::add),
                      Floats(batch * gates_), Floats(batch * s_.hidden), Floats(s_.vocabulary * gates_),
                      Floats(s_.hidden)});
    }
  }

  double step(int64_t k) override {
    arrange(batches_[k]);
    const int64_t rows = s_.steps * s_.batch;
    together(members_, [&](const Member& me) {
      prepare(me);
      me.wait();
      const int64_t first = sequences(me.index).begin * s_.steps;
      const Share mine{first, sequences(me.index).end * s_.steps};
      forward(me.index, first);
      losses_[static_cast<size_t>(me.index)] =
          output_.rows(me, mine, h_.data(), dh_.data() + first * s_.hidden, s_.hidden, targets_.data(),
                       value(at_.output()), value(at_.output_bias()), rows);
      backward(me.index, first);
      me.wait();
      weight_gradients(me);
      output_.weights(me, h_.data(), s_.hidden, rows, gradient(at_.output()), gradient(at_.output_bias()));
    });
    double loss = 0;
    for (double part : losses_) loss += part;
    return loss / static_cast<double>(rows);
  }

  Weights gradients() const override { return gradients_; }

 private:
  struct Own {  // of a member
    Product forward, backward;
    Floats products;  // U h of a step
    Floats carry;     // what reaches the step before past the products
    Floats sums;      // the gradients of the table's rows, [vocabulary, 3 hidden]
    Floats inside;    // .. and of the bias inside r
  };

  Share sequences(int member) const { return share_of(s_.batch, member, members_); }
  const float* value(size_t index) const { return weights_[index].values.data(); }
  float* gradient(size_t index) { return gradients_[index].values.data(); }

  // Ids and targets in the order of our rows.
  void arrange(const Batch& batch) {
    ids_.clear();
    targets_.clear();
    for (int m = 0; m < members_; ++m) {
      const Share mine = sequences(m);
      for (int64_t t = 0; t < s_.steps; ++t) {
        const auto from = static_cast<ptrdiff_t>(t * s_.batch + mine.begin), to = from + mine.size();
        ids_.insert(ids_.end(), batch.ids.begin() + from, batch.ids.begin() + to);
        targets_.insert(targets_.end(), batch.targets.begin() + from, batch.targets.begin() + to);
      }
    }
  }

  // What is derived from the weights: U packed for both directions, and W's columns as a table of rows.
  void prepare(const Member& me) {
    if (me.index == 0) hh_.pack(value(at_.hh(0)));
    if (me.index == me.size - 1) hh_back_.pack(value(at_.hh(0)));
    const Share columns = me.share(gates_, 16);
    transpose(value(at_.ih(0)) + columns.begin * s_.vocabulary, columns.size(), s_.vocabulary, s_.vocabulary,
              table_.data() + columns.begin, gates_);
  }

  void forward(int member, int64_t begin) {
    Own& own = own_[static_cast<size_t>(member)];
    const int64_t batch = sequences(member).size(), n = s_.hidden;
    for (int64_t t = 0; t < s_.steps; ++t) {
      const int64_t first = begin + t * batch;
      if (t > 0) own.forward(h_.data() + (first - batch) * n, own.products.data());
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t r = first + b;
        float* h = h_.data() + r * n;
        gru_row(table_.data() + ids_[static_cast<size_t>(r)] * gates_,
                t > 0 ? own.products.data() + b * gates_ : nullptr, value(at_.bias(0)),
                t > 0 ? h - batch * n : nullptr, z_.data() + r * gates_, candidate_.data() + r * n, h, n);
      }
    }
  }

  void backward(int member, int64_t begin) {
    Own& own = own_[static_cast<size_t>(member)];
    const int64_t batch = sequences(member).size(), n = s_.hidden;
    for (Floats* sum : {&own.carry, &own.sums, &own.inside}) std::fill_n(sum->data(), sum->size(), 0.0f);
    for (int64_t t = s_.steps; t-- > 0;) {
      const int64_t first = begin + t * batch;
      if (t + 1 < s_.steps) own.backward(z_.data() + (first + batch) * gates_, dh_.data() + first * n);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t r = first + b;
        gru_row_back(z_.data() + r * gates_, candidate_.data() + r * n,
                     t > 0 ? h_.data() + (r - batch) * n : nullptr, dh_.data() + r * n,
                     own.carry.data() + b * n, own.sums.data() + ids_[static_cast<size_t>(r)] * gates_,
                     own.inside.data(), n);
      }
    }
  }

  // Each member has its rows of the weights.
  void weight_gradients(const Member& me) {
    const Share mine = me.share(gates_, 16);
    for (int m = 0; m < members_; ++m) {  // the first step has no state before it
      const Share sequence = sequences(m);
      const int64_t first = sequence.begin * s_.steps, rows = sequence.size() * (s_.steps - 1);
      sgemm({mine.size(), s_.hidden, rows}, z_.data() + (first + sequence.size()) * gates_ + mine.begin,
            {gates_, true}, h_.data() + first * s_.hidden, {s_.hidden},
            gradient(at_.hh(0)) + mine.begin * s_.hidden, s_.hidden, m == 0 ? 0.0f : 1.0f);
    }
    float* sums = own_[0].sums.data() + mine.begin;
    float* dbias = gradient(at_.bias(0));
    std::fill_n(dbias + mine.begin, mine.size(), 0.0f);
    for (int64_t id = 0; id < s_.vocabulary; ++id) {
      for (size_t m = 1; m < own_.size(); ++m) {
        add_row(sums + id * gates_, own_[m].sums.data() + id * gates_ + mine.begin, mine.size());
      }
      add_row(dbias + mine.begin, sums + id * gates_, mine.size());
    }
    transpose(sums, s_.vocabulary, mine.size(), gates_, gradient(at_.ih(0)) + mine.begin * s_.vocabulary,
              s_.vocabulary);
    if (me.index > 0) return;
    std::fill_n(dbias + gates_, s_.hidden, 0.0f);
    for (const Own& own : own_) add_row(dbias + gates_, own.inside.data(), s_.hidden);
  }

  const RecurrentSizes s_;
  const Batches batches_{s_};
  const WeightIndex at_{s_};
  const int members_;
  const int64_t gates_;
  const Weights weights_;
  Weights gradients_;
  Packed hh_, hh_back_;
  OutputLayer output_;
  std::vector<Own> own_;
  std::vector<double> losses_;
  Floats z_;  // gates of all rows (z, r, U_n h + b), then the gradients of what went into them
  Floats candidate_, h_, dh_, table_;
  std::vector<int64_t> ids_, targets_;
};

}  // namespace

std::unique_ptr<Stepper> hand_gru(const RecurrentSizes& sizes, const Weights& weights) {
  const int members = static_cast<int>(std::min<int64_t>(num_threads(), sizes.batch));
  return std::make_unique<HandGru>(sizes, weights, members);
}

}  // namespace reel::bench
