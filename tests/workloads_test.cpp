// Every variant of a workload computes the same loss and the same gradients as the engine does from the
// equations (whose gradients are checked against finite differences elsewhere).
#include <doctest/doctest.h>

#include <cmath>

#include "benchmarks/lstm_problem.h"
#include "reel.h"

namespace {

using namespace reel;
using namespace reel::bench;

// |a - b| / |b|, as vectors.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

void agree(const RecurrentSizes& sizes, int threads) {
  set_num_threads(threads);
  const Workload workload = recurrent_workload("small", "", sizes);
  const Weights weights = workload.weights();
  REQUIRE(workload.variants.front().name == "planned");
  const auto reference = workload.variants.front().make(weights);
  for (size_t v = 1; v < workload.variants.size(); ++v) {
    const auto stepper = workload.variants[v].make(weights);
    const double tolerance = workload.variants[v].name.find("bf16") != std::string::npos ? 3e-2 : 1e-4;
    for (int64_t k : {3, 1, 2}) {  // more than one, so that what is left from a step shows in the next
      CAPTURE(workload.variants[v].name);
      CAPTURE(threads);
      CAPTURE(k);
      const double want = reference->step(k);
      CHECK(std::abs(stepper->step(k) - want) <= tolerance * want);
      const Weights wanted = reference->gradients(), got = stepper->gradients();
      REQUIRE(got.size() == wanted.size());
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(wanted[i].name);
        CHECK(got[i].name == wanted[i].name);
        CHECK(relative_error(got[i].values, wanted[i].values) < tolerance);
      }
    }
  }
  set_num_threads(0);
}

// loss(weights + step g) for the gradient g, which goes up by step |g|^2.
double moved(const Variant& variant, Weights weights, const Weights& gradients, double step) {
  for (size_t i = 0; i < weights.size(); ++i) {
    for (size_t j = 0; j < weights[i].values.size(); ++j) {
      weights[i].values[j] += static_cast<float>(step * gradients[i].values[j]);
    }
  }
  return variant.make(weights)->step(0);
}

}  // namespace

TEST_CASE("recurrent workloads: every variant gives the planned loss and gradients") {
  for (int threads : {1, 2}) {
    agree({.hidden = 20, .steps = 6, .vocabulary = 11, .gates = 1}, threads);
    agree({.hidden = 100, .steps = 9, .vocabulary = 65, .gates = 1}, threads);
    agree({.hidden = 24, .batch = 5, .steps = 7, .vocabulary = 13}, threads);
    agree({.hidden = 24, .batch = 5, .steps = 7, .vocabulary = 13, .gates = 3}, threads);
    agree({.hidden = 37, .batch = 2, .steps = 1, .vocabulary = 9, .gates = 3}, threads);
    agree({.hidden = 16, .batch = 3, .steps = 9, .vocabulary = 13, .shortest = 2}, threads);
    agree({.layers = 3, .hidden = 18, .batch = 4, .steps = 5, .vocabulary = 33}, threads);
    agree({.layers = 2, .hidden = 18, .batch = 4, .steps = 5, .vocabulary = 40, .embedding = 26}, threads);
    agree({.layers = 2, .hidden = 26, .batch = 3, .steps = 5, .vocabulary = 40, .embedding = 10}, threads);
  }
}

TEST_CASE("recurrent workloads: a gradient penalty is in the loss and in the gradients of the weights") {
  const RecurrentSizes sizes{.hidden = 24, .batch = 5, .steps = 7, .vocabulary = 13};
  const Workload workload = penalty_workload("small", "", sizes);
  REQUIRE(workload.variants.size() == 3);
  Weights weights = workload.weights();
  for (Weight& weight : weights) {  // so large that the penalty is much of the loss
    for (float& value : weight.values) value *= 3;
  }
  const auto planned = workload.variants[0].make(weights), eagerly = workload.variants[1].make(weights),
             first = workload.variants[2].make(weights);
  const double loss = planned->step(0), without = first->step(0);
  CHECK(std::abs(eagerly->step(0) - loss) < 1e-5 * loss);
  CHECK(loss > 1.005 * without);
  const Weights gradients = planned->gradients(), wanted = eagerly->gradients(), less = first->gradients();
  double squares = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    CAPTURE(gradients[i].name);
    CHECK(relative_error(gradients[i].values, wanted[i].values) < 1e-4);
    CHECK(relative_error(gradients[i].values, less[i].values) > 5e-3);
    for (float g : gradients[i].values) squares += static_cast<double>(g) * g;
  }
  const double h = 0.01 / std::sqrt(squares);
  const double slope = (moved(workload.variants[0], weights, gradients, h) -
                        moved(workload.variants[0], weights, gradients, -h)) /
                       (2 * h);
  CHECK(std::abs(slope - squares) < 2e-3 * squares);
}

TEST_CASE("recurrent workloads: the sweeps' steps have the lengths and depths that their names say") {
  for (const Workload& workload : sweeps()) {
    const int64_t n = std::stoll(workload.name.substr(workload.name.find('-') + 1));
    const bool depth = workload.name.starts_with("depth-");
    CAPTURE(workload.name);
    const RecurrentSizes sizes{
        .layers = depth ? n : 1, .hidden = 128, .batch = 16, .steps = depth ? 50 : n, .vocabulary = 65};
    CHECK(workload.flops == sizes.flops(sizes.steps));
    CHECK(workload.variants.size() == 2);
  }
}
