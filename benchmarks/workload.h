// What the benchmark measures: a workload is a problem with sizes, data and initial weights, and several
// ways of computing one training step of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace reel::bench {

struct Weight {
  std::string name;  // as in the model's state_dict
  Shape shape;
  std::vector<float> values;
};
using Weights = std::vector<Weight>;

// One way of computing a training step: forward, loss, and backward to the gradients of all weights, without
// an optimizer. It owns its weights and what it prepared for speed; every step may use changed weights, so
// whatever is derived from them (packed copies) is made anew within the step.
class Stepper {
 public:
  virtual ~Stepper() = default;
  // The step on the k-th batch; returns the loss. The gradients of the step before are overwritten.
  virtual double step(int64_t k) = 0;
  virtual Weights gradients() const = 0;  // of the last step, in the order of the workload's weights
};

// `planned` (generic ops of the engine, textbook equations), `hand` (an expert's C++), `dnnl` (oneDNN's own
// recurrent primitives), and what else a workload has, such as `separate` (four gate matrices).
struct Variant {
  std::string name;
  std::function<std::unique_ptr<Stepper>(const Weights&)> make;
};

// "NAME-bf16": the same under Autocast.
Variant in_bf16(const Variant& variant);

struct Workload {
  std::string name;         // "W2"
  std::string description;  // sizes, in words
  double flops = 0;         // multiplications and additions of the matrix products of a step; 0: varies
  std::function<double(int64_t k)> tokens;  // of the k-th batch, where lengths differ; empty: per step
  std::function<Weights()> weights;         // initial weights, the same at every call
  std::vector<Variant> variants;
};

// W1 to W9, in order, W2-GRU and W2-penalty among them.
const std::vector<Workload>& workloads();

// One-layer LSTMs "length-10" to "length-10000", and "depth-1" to "depth-16" layers at 50 steps: how the cost
// of a step grows.
const std::vector<Workload>& sweeps();

}  // namespace reel::bench
