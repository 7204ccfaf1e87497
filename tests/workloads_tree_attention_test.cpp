// Hand-written W5 to W8 against the engine: the same loss and gradients from the same weights and data, at
// small sizes (W8's gradients at full length are ill-conditioned) and any number of threads.
#include <doctest/doctest.h>

#include <cmath>

#include "benchmarks/tree_attention_workloads.h"
#include "core/error.h"

using namespace reel;
using namespace reel::bench;

namespace {

const Variant& variant(const Workload& w, const std::string& name) {
  for (const Variant& v : w.variants) {
    if (v.name == name) return v;
  }
  fail("no variant {}", name);
}

// Every gradient's largest error, relative to its largest value.
void check_gradients(const Weights& got, const Weights& want, double bound) {
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < want.size(); ++k) {
    INFO(want[k].name);
    CHECK(got[k].name == want[k].name);
    REQUIRE(got[k].values.size() == want[k].values.size());
    double worst = 0, largest = 0;
    for (size_t i = 0; i < want[k].values.size(); ++i) {
      worst = std::max(worst, std::fabs(static_cast<double>(got[k].values[i]) - want[k].values[i]));
      largest = std::max(largest, std::fabs(static_cast<double>(want[k].values[i])));
    }
    CHECK(largest > 0);
    CHECK(worst <= bound * largest);
  }
}

// Three batches one after another, so that what a step leaves behind would show.
void compare(const Workload& w, const std::string& name, double bound = 3e-4, double loss_bound = 1e-5) {
  INFO(w.name, " ", name);
  Weights weights = w.weights();
  for (size_t k = 0; k < weights.size();
       ++k) {  // gains of one, shifts of zero or two alike would hide mistakes
    std::vector<float>& values = weights[k].values;
    for (size_t i = 0; i < values.size(); ++i)
      values[i] += 0.1f * std::sin(static_cast<float>((7 * i + 5 * k) % 31));
  }
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const auto planned = variant(w, "planned").make(weights), other = variant(w, name).make(weights);
    for (const int64_t k : {0, 5, 2}) {
      const double want = planned->step(k), got = other->step(k);
      INFO("batch ", k, ", ", threads, " threads");
      CHECK(std::fabs(got - want) <= loss_bound * std::fabs(want));
      check_gradients(other->gradients(), planned->gradients(), bound);
    }
  }
  set_num_threads(0);
}

}  // namespace

TEST_CASE("workloads: Tree-LSTM by hand equals the engine's") {
  const Workload w = tree_workload({.hidden = 21, .trees = 5, .least = 1, .most = 9, .words = 30});
  compare(w, "hand");
  compare(w, "planned-per-op");
  compare(w, "eager");
}

TEST_CASE("workloads: Transformer by hand equals the engine's") {
  const Workload w = transformer_workload({.width = 24, .heads = 3, .inner = 40, .batch = 5, .length = 7});
  compare(w, "hand");
  compare(w, "planned-bf16", 0.15, 1e-2);  // pre-activations near zero pass ReLU in one and not in the other
  compare(w, "eager");
}

TEST_CASE("workloads: attention seq2seq by hand equals the engine's") {
  const Workload w = seq2seq_workload({.hidden = 22, .words = 50, .batch = 5, .source = 6, .target = 4});
  compare(w, "hand");
  compare(w, "planned-bf16", 5e-2, 1e-2);
  compare(w, "eager");
}

TEST_CASE("workloads: layer-norm LSTM by hand equals the engine's, the table projected once or not") {
  const Workload w = layer_norm_workload({.hidden = 19, .batch = 5, .steps = 6, .words = 11});
  compare(w, "hand");
  compare(w, "hand-commute");
  compare(w, "eager");
}

TEST_CASE("workloads: trees are new at every step, the same for every variant, and weights start the same") {
  const TreeSizes sizes;
  CHECK(forest(sizes, 3).tree.children == forest(sizes, 3).tree.children);
  CHECK(forest(sizes, 3).tree.children != forest(sizes, 4).tree.children);
  const Forest f = forest(sizes, 0);
  CHECK(f.tree.roots() == f.roots);
  CHECK(f.words.size() == f.tree.size());
  for (size_t n = 0; n < f.words.size(); ++n) CHECK((f.words[n] < 0) == !f.tree.children[n].empty());
  const Workload w = w8();
  CHECK(w.weights()[1].values == w.weights()[1].values);
}
