#include <fmt/format.h>

#include "benchmarks/lstm_problem.h"
#include "benchmarks/tree_attention_workloads.h"
#include "benchmarks/workload.h"

namespace reel::bench {

namespace {

class Bf16Stepper : public Stepper {
 public:
  explicit Bf16Stepper(std::unique_ptr<Stepper> inner) : inner_(std::move(inner)) {}
  double step(int64_t k) override {
    const Autocast scope;
    return inner_->step(k);
  }
  Weights gradients() const override { return inner_->gradients(); }

 private:
  const std::unique_ptr<Stepper> inner_;
};

}  // namespace

Variant in_bf16(const Variant& variant) {
  return {variant.name + "-bf16", [make = variant.make](const Weights& weights) -> std::unique_ptr<Stepper> {
            return std::make_unique<Bf16Stepper>(make(weights));
          }};
}

const std::vector<Workload>& workloads() {
  static const std::vector<Workload> all = [] {
    std::vector<Workload> list;
    list.push_back(recurrent_workload("W1", "character RNN: hidden 100, batch 1, 25 steps, vocabulary 65",
                                      {.hidden = 100, .steps = 25, .vocabulary = 65, .gates = 1}));
    const RecurrentSizes lstm{.hidden = 128, .batch = 16, .steps = 50, .vocabulary = 65};
    list.push_back(recurrent_workload("W2", "LSTM: hidden 128, batch 16, 50 steps, vocabulary 65", lstm));
    RecurrentSizes gru = lstm;
    gru.gates = 3;
    list.push_back(recurrent_workload("W2-GRU", "GRU of W2's sizes", gru));
    list.push_back(penalty_workload("W2-penalty", "W2's loss and its gradient penalty (second order)", lstm));
    list.push_back(
        recurrent_workload("W3", "LSTM: 3 layers of 512, batch 32, 64 steps, vocabulary 65",
                           {.layers = 3, .hidden = 512, .batch = 32, .steps = 64, .vocabulary = 65}));
    list.push_back(recurrent_workload(
        "W4", "PTB medium LSTM: 2 layers of 650, batch 20, 35 steps, vocabulary 10000",
        {.layers = 2, .hidden = 650, .batch = 20, .steps = 35, .vocabulary = 10000, .embedding = 650}));
    list.insert(list.end(), {w5(), w6(), w7(), w8()});
    RecurrentSizes lengths = lstm;
    lengths.steps = 80;
    lengths.shortest = 20;
    list.push_back(
        recurrent_workload("W9", "W2 with a new random length, 20 to 80 steps, every step", lengths));
    return list;
  }();
  return all;
}

const std::vector<Workload>& sweeps() {
  static const std::vector<Workload> all = [] {
    std::vector<Workload> list;
    const auto add = [&](const std::string& name, int64_t steps, int64_t layers) {
      const RecurrentSizes sizes{
          .layers = layers, .hidden = 128, .batch = 16, .steps = steps, .vocabulary = 65, .period = 4};
      Workload workload = recurrent_workload(
          name, fmt::format("LSTM: {} layers of 128, batch 16, {} steps", layers, steps), sizes);
      std::erase_if(workload.variants,
                    [](const Variant& v) { return v.name != "planned" && v.name != "hand"; });
      list.push_back(std::move(workload));
    };
    for (int64_t steps : {10, 30, 100, 300, 1000, 3000, 10000})
      add(fmt::format("length-{}", steps), steps, 1);
    for (int64_t layers : {1, 2, 4, 8, 16}) add(fmt::format("depth-{}", layers), 50, layers);
    return list;
  }();
  return all;
}

}  // namespace reel::bench
