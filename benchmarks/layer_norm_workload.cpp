// W8: a stack of layer-norm LSTMs with peepholes, a cell that no library has fused.
#include <random>

#include "benchmarks/model_stepper.h"
#include "benchmarks/tree_attention_workloads.h"

namespace reel::bench {

namespace {

struct Model : nn::Module {
  explicit Model(const LayerNormSizes& s)
      : sizes(s),
        words({this, "words"}, s.words, s.hidden),
        lstm({this, "lstm"}, s.hidden, s.hidden, {.num_layers = s.layers}),
        output({this, "output"}, s.hidden, s.words) {}

  // The mean cross-entropy of the next characters.
  Tensor loss(int64_t k) const {
    const Text t = text(sizes, k);
    const Tensor x = words(Tensor::from(t.in, {sizes.steps, sizes.batch}));
    return cross_entropy(output(lstm(x).output), Tensor::from(t.next, {sizes.steps, sizes.batch}));
  }

  LayerNormSizes sizes;
  nn::Embedding words;
  nn::LayerNormLSTM lstm;
  nn::Linear output;
};

}  // namespace

Text text(const LayerNormSizes& s, int64_t k) {
  std::mt19937_64 random(static_cast<uint64_t>(8000 + k));
  std::vector<int64_t> ids(static_cast<size_t>((s.steps + 1) * s.batch));
  for (int64_t& id : ids) id = static_cast<int64_t>(random() % static_cast<uint64_t>(s.words));
  return {{ids.begin(), ids.end() - s.batch}, {ids.begin() + s.batch, ids.end()}};
}

Workload layer_norm_workload(const LayerNormSizes& s) {
  Workload w;
  w.name = "W8";
  w.description =
      fmt::format("{} layers of layer-norm LSTM {} with peepholes, batch {}, {} steps, vocabulary {}",
                  s.layers, s.hidden, s.batch, s.steps, s.words);
  const auto h = static_cast<double>(s.hidden);
  w.flops = 3 * static_cast<double>(s.steps * s.batch) *
            (static_cast<double>(s.layers) * 16 * h * h + 2 * h * static_cast<double>(s.words));
  w.weights = [s] { return initial_weights<Model>(s); };
  w.variants = engine_variants<Model>(s);
  w.variants.push_back({"hand", [s](const Weights& weights) { return hand_layer_norm(s, false, weights); }});
  w.variants.push_back(
      {"hand-commute", [s](const Weights& weights) { return hand_layer_norm(s, true, weights); }});
  return w;
}

}  // namespace reel::bench
