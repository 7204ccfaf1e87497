#include "benchmarks/lstm_problem.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/kernels/bf16.h"

namespace reel::bench {

namespace {

// Uniform in [-1, 1), the same with every standard library.
double signed_unit(std::mt19937_64& bits) { return static_cast<double>(bits() >> 11) * 0x1p-52 - 1; }

Weight uniform(std::string name, const Shape& shape, double bound, std::mt19937_64& bits) {
  Weight weight{std::move(name), shape, std::vector<float>(static_cast<size_t>(shape.numel()))};
  for (float& value : weight.values) value = static_cast<float>(bound * signed_unit(bits));
  return weight;
}

}  // namespace

int64_t RecurrentSizes::length(int64_t k) const {
  if (shortest == 0) return steps;
  std::mt19937_64 bits(static_cast<uint64_t>(k % period) * 7919 + 17);
  return shortest + static_cast<int64_t>(bits() % static_cast<uint64_t>(steps - shortest + 1));
}

int64_t RecurrentSizes::width(int64_t layer) const {
  if (layer > 0) return hidden;
  return embedding > 0 ? embedding : vocabulary;
}

double RecurrentSizes::flops(int64_t taken) const {
  const auto rows = static_cast<double>(batch * taken), h = static_cast<double>(hidden);
  const double g = static_cast<double>(gates) * h;
  double products = rows * h * static_cast<double>(vocabulary);  // the output layer
  for (int64_t layer = 0; layer < layers; ++layer) {
    products += static_cast<double>(batch * (taken - 1)) * g * h;
    if (layer > 0 || embedding > 0) products += rows * g * static_cast<double>(width(layer));
  }
  return 3 * 2 * products;  // forward, to the input and to the weights; a multiplication and an addition
}

Batch batch_of(const RecurrentSizes& sizes, int64_t k) {
  Batch batch{.steps = sizes.length(k), .ids = {}, .targets = {}};
  const auto rows = static_cast<size_t>(batch.steps * sizes.batch);
  std::mt19937_64 bits(static_cast<uint64_t>(k) + 1);
  batch.ids.resize(rows);
  batch.targets.resize(rows);
  for (int64_t& id : batch.ids) id = static_cast<int64_t>(bits() % static_cast<uint64_t>(sizes.vocabulary));
  for (int64_t& id : batch.targets)
    id = static_cast<int64_t>(bits() % static_cast<uint64_t>(sizes.vocabulary));
  return batch;
}

Weights initial_weights(const RecurrentSizes& sizes) {
  std::mt19937_64 bits(42);
  const double bound = 1 / std::sqrt(static_cast<double>(sizes.hidden));
  const int64_t gates = sizes.gates * sizes.hidden;
  const std::string cell = sizes.gates == 4 ? "lstm." : sizes.gates == 3 ? "gru." : "rnn.";
  Weights weights;
  if (sizes.embedding > 0) {
    weights.push_back(uniform("embedding.weight", {sizes.vocabulary, sizes.embedding}, 0.1, bits));
  }
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    const std::string suffix = "_l" + std::to_string(layer);
    weights.push_back(uniform(cell + "weight_ih" + suffix, {gates, sizes.width(layer)}, bound, bits));
    weights.push_back(uniform(cell + "weight_hh" + suffix, {gates, sizes.hidden}, bound, bits));
    weights.push_back(uniform(cell + "bias_ih" + suffix, {sizes.biases() * sizes.hidden}, bound, bits));
  }
  weights.push_back(uniform("output.weight", {sizes.vocabulary, sizes.hidden}, bound, bits));
  weights.push_back(uniform("output.bias", {sizes.vocabulary}, bound, bits));
  return weights;
}

Weights zeros_like(const Weights& weights) {
  Weights zeros = weights;
  for (Weight& weight : zeros) std::fill(weight.values.begin(), weight.values.end(), 0.0f);
  return zeros;
}

namespace {

using Make = std::unique_ptr<Stepper> (*)(const RecurrentSizes&, const Weights&);

void add_variant(Workload& workload, const RecurrentSizes& sizes, std::string name, Make make) {
  workload.variants.push_back({std::move(name), [sizes, make](const Weights& w) { return make(sizes, w); }});
}

}  // namespace

Workload recurrent_workload(std::string name, std::string description, const RecurrentSizes& sizes) {
  Workload workload;
  workload.name = std::move(name);
  workload.description = std::move(description);
  const bool lstm = sizes.gates == 4;
  if (sizes.shortest == 0) {
    workload.flops = sizes.flops(sizes.steps);
  } else {
    workload.tokens = [sizes](int64_t k) { return static_cast<double>(sizes.length(k) * sizes.batch); };
  }
  workload.weights = [sizes] { return initial_weights(sizes); };
  const auto add = [&](std::string variant, Make make) {
    add_variant(workload, sizes, std::move(variant), make);
  };
  add("planned", planned_recurrent);
  if (sizes.layers > 1) workload.variants.push_back(in_bf16(workload.variants.front()));
  if (sizes.embedding == 0 && sizes.gates != 3) add("one_hot", planned_one_hot);
  if (lstm && sizes.layers == 1) add("separate", planned_separate);
  add("eager", [](const RecurrentSizes& s, const Weights& w) { return eager(planned_recurrent(s, w)); });
  add("hand", lstm ? hand_lstm : sizes.gates == 3 ? hand_gru : hand_rnn);
  if (lstm && sizes.layers > 1 && bf16_is_fast()) add("hand-bf16", hand_lstm_bf16);
  if (sizes.shortest == 0) add("dnnl", dnnl_recurrent);
  return workload;
}

Workload penalty_workload(std::string name, std::string description, const RecurrentSizes& sizes) {
  Workload workload;
  workload.name = std::move(name);
  workload.description = std::move(description);
  workload.weights = [sizes] { return initial_weights(sizes); };
  add_variant(workload, sizes, "planned", planned_penalty);
  add_variant(workload, sizes, "eager",
              [](const RecurrentSizes& s, const Weights& w) { return eager(planned_penalty(s, w)); });
  add_variant(workload, sizes, "first-order", planned_recurrent);
  return workload;
}

}  // namespace reel::bench
