// The recurrent workloads (W1 to W4, W9, W2-GRU, and those of a sweep) as problems: sizes, batches by number,
// initial weights.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/workload.h"

namespace reel::bench {

// Token ids -> [embedding] -> layers of a recurrent cell -> logits -> mean cross-entropy with the next token.
// Without an embedding the first layer reads one-hot rows: columns of its weight_ih.
struct RecurrentSizes {
  int64_t layers = 1, hidden = 0, batch = 1, steps = 0, vocabulary = 0;
  int64_t embedding = 0;  // 0: one-hot rows
  int64_t shortest = 0;   // > 0: lengths differ, from this to `steps`
  int64_t gates = 4;      // 4: LSTM (i, f, g, o); 3: GRU (z, r, n); 1: tanh RNN
  int64_t period = 256;   // batches drawn; after so many they come again
  int64_t biases() const { return gates == 3 ? 4 : gates; }  // a GRU adds one to U_n h, inside r
  int64_t length(int64_t k) const;                           // of the k-th batch
  int64_t width(int64_t layer) const;                        // of a layer's input
  double flops(int64_t steps_taken) const;  // of the matrix products, forward and backward; look-ups count 0
};

struct Batch {
  int64_t steps;
  std::vector<int64_t> ids, targets;  // [steps, batch]
};
Batch batch_of(const RecurrentSizes& sizes, int64_t k);

// Batches drawn before they are timed.
class Batches {
 public:
  explicit Batches(const RecurrentSizes& sizes) {
    for (int64_t k = 0; k < sizes.period; ++k) batches_.push_back(batch_of(sizes, k));
  }
  const Batch& operator[](int64_t k) const { return batches_[static_cast<size_t>(k) % batches_.size()]; }

 private:
  std::vector<Batch> batches_;
};

// embedding.weight, then weight_ih_l0, weight_hh_l0, bias_l0, .., output.weight, output.bias: uniform in
// +-1/sqrt(hidden), as PyTorch begins; the embedding in +-0.1.
Weights initial_weights(const RecurrentSizes& sizes);
struct WeightIndex {  // where they are in that list
  explicit WeightIndex(const RecurrentSizes& sizes)
      : first(sizes.embedding > 0 ? 1 : 0), layers(sizes.layers) {}
  size_t ih(int64_t layer) const { return static_cast<size_t>(first + 3 * layer); }
  size_t hh(int64_t layer) const { return ih(layer) + 1; }
  size_t bias(int64_t layer) const { return ih(layer) + 2; }
  size_t output() const { return ih(layers); }
  size_t output_bias() const { return ih(layers) + 1; }
  int64_t first, layers;
};

// The same shapes, all zero: what a hand-written step writes its gradients into.
Weights zeros_like(const Weights& weights);

// How each variant is made.
std::unique_ptr<Stepper> planned_recurrent(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> planned_one_hot(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> planned_separate(const RecurrentSizes& sizes, const Weights& weights);
// The loss and its gradient penalty: ten times the mean of the squares of d(sum of the tokens' losses)/d(what
// a step takes from its input), over all steps, rows and gates. A step of it is of second order.
std::unique_ptr<Stepper> planned_penalty(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> hand_gru(const RecurrentSizes& sizes, const Weights& weights);  // one layer, one-hot
std::unique_ptr<Stepper> hand_lstm(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> hand_lstm_bf16(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> hand_rnn(const RecurrentSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> dnnl_recurrent(const RecurrentSizes& sizes, const Weights& weights);

// A stepper that runs another one under reel::Eager.
std::unique_ptr<Stepper> eager(std::unique_ptr<Stepper> planned);

// The workload with its variants; the tests make small ones.
Workload recurrent_workload(std::string name, std::string description, const RecurrentSizes& sizes);
// Its gradient penalty, beside the step without it as `first-order`.
Workload penalty_workload(std::string name, std::string description, const RecurrentSizes& sizes);

}  // namespace reel::bench
