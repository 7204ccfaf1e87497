// A workload's step through the engine: any model with `Tensor loss(int64_t k)`.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "benchmarks/workload.h"
#include "core/random.h"
#include "reel.h"

namespace reel::bench {

template <class Model>
class ModelStepper : public Stepper {
 public:
  template <class Sizes>
  ModelStepper(const Sizes& sizes, const Weights& weights, bool eager) : model_(sizes), eager_(eager) {
    NamedTensors state;
    for (const Weight& w : weights) state.emplace_back(w.name, Tensor::from(w.values, w.shape));
    model_.load_state_dict(state);
  }
  double step(int64_t k) override {
    std::optional<Eager> eager;
    if (eager_) eager.emplace();
    model_.zero_grad();
    const Tensor loss = model_.loss(k);
    loss.backward();
    return loss.item();
  }
  Weights gradients() const override {
    Weights all;
    for (const auto& [name, parameter] : model_.named_parameters()) {
      const Tensor g = parameter.grad().defined() ? parameter.grad() : zeros(parameter.shape());
      all.push_back({name, parameter.shape(), g.template to_vector<float>()});
    }
    return all;
  }

 private:
  Model model_;
  bool eager_;
};

// The values a model starts with, the same at every call; this thread's generator is left as it was.
template <class Model, class Sizes>
Weights initial_weights(const Sizes& sizes) {
  const RandomState before = random_state();
  manual_seed(1);
  const Model model(sizes);
  Weights all;
  for (const auto& [name, parameter] : model.named_parameters()) {
    all.push_back({name, parameter.shape(), parameter.template to_vector<float>()});
  }
  set_random_state(before);
  return all;
}

// `planned` and `eager`, the model through the engine.
template <class Model, class Sizes>
std::vector<Variant> engine_variants(const Sizes& sizes) {
  const auto variant = [&](const char* name, bool eager) {
    return Variant{name, [sizes, eager](const Weights& weights) -> std::unique_ptr<Stepper> {
                     return std::make_unique<ModelStepper<Model>>(sizes, weights, eager);
                   }};
  };
  return {variant("planned", false), variant("eager", true)};
}

}  // namespace reel::bench
