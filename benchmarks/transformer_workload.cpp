// W6: pre-norm Transformer encoder layers.
#include <map>
#include <random>

#include "benchmarks/model_stepper.h"
#include "benchmarks/tree_attention_workloads.h"

namespace reel::bench {

namespace {

struct Model : nn::Module {
  explicit Model(const TransformerSizes& s) : sizes(s) {
    for (int64_t l = 0; l < s.layers; ++l) {
      layers.push_back(std::make_unique<nn::TransformerEncoderLayer>(
          nn::Member{this, fmt::format("layers.{}", l)}, s.width,
          nn::EncoderLayerOptions{
              .heads = s.heads, .feed_forward = s.inner, .dropout = 0, .norm_first = true}));
    }
  }

  // The mean of the squared output.
  Tensor loss(int64_t k) const {
    Tensor x = Tensor::from(sequences(sizes, k), {sizes.batch, sizes.length, sizes.width});
    for (const auto& layer : layers) x = (*layer)(x);
    return mean(square(x));
  }

  TransformerSizes sizes;
  std::vector<std::unique_ptr<nn::TransformerEncoderLayer>> layers;
};

}  // namespace

const std::vector<float>& sequences(const TransformerSizes& s, int64_t k) {
  constexpr int64_t kBatches = 4;
  static std::map<std::pair<int64_t, int64_t>, std::vector<float>> made;
  const int64_t count = s.batch * s.length * s.width;
  std::vector<float>& x = made[{count, k % kBatches}];
  if (x.empty()) {
    std::mt19937_64 random(static_cast<uint64_t>(6000 + k % kBatches));
    for (int64_t i = 0; i < count; ++i) {  // uniform, variance 1
      x.push_back((static_cast<float>(random() >> 40) / static_cast<float>(1 << 23) - 1) * 1.7320508f);
    }
  }
  return x;
}

Workload transformer_workload(const TransformerSizes& s) {
  Workload w;
  w.name = "W6";
  w.description =
      fmt::format("{} pre-norm Transformer encoder layers of {}, {} heads, inner {}, batch {} x {}", s.layers,
                  s.width, s.heads, s.inner, s.batch, s.length);
  const double products =
      static_cast<double>(2 * s.width * (4 * s.width + 2 * s.inner) + 4 * s.length * s.width);
  w.flops = 3 * static_cast<double>(s.layers * s.batch * s.length) * products;
  w.weights = [s] { return initial_weights<Model>(s); };
  w.variants = engine_variants<Model>(s);
  w.variants.insert(w.variants.begin() + 1, in_bf16(w.variants.front()));
  w.variants.push_back({"hand", [s](const Weights& weights) { return hand_transformer(s, weights); }});
  return w;
}

}  // namespace reel::bench
