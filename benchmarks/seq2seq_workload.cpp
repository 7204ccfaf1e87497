// W7: a GRU encoder and a GRU decoder with additive attention.
#include <random>

#include "benchmarks/model_stepper.h"
#include "benchmarks/tree_attention_workloads.h"

namespace reel::bench {

namespace {

struct Model : nn::Module {
  explicit Model(const Seq2SeqSizes& s)
      : sizes(s),
        source({this, "source"}, s.words, s.hidden),
        target({this, "target"}, s.words, s.hidden),
        encoder({this, "encoder"}, s.hidden, s.hidden),
        attention({this, "attention"}, s.hidden, s.hidden, s.hidden),
        decoder({this, "decoder"}, 2 * s.hidden, s.hidden),
        output({this, "output"}, s.hidden, s.words) {}

  // The mean cross-entropy of the target's words, each from those before it and from where attention looks.
  Tensor loss(int64_t k) const {
    const Pairs p = pairs(sizes, k);
    const auto [states, last] = encoder(source(Tensor::from(p.source, {sizes.source, sizes.batch})));
    const auto memory = attention.remember(transpose(states, 0, 1));
    const Tensor words = target(Tensor::from(p.target_in, {sizes.target, sizes.batch}));
    Tensor state = last.back();
    Tensors shown;
    for (int64_t t = 0; t < sizes.target; ++t) {
      const Tensor context = attention(state, memory).context;
      state = decoder(concat({select(words, 0, t), context}, -1), state);
      shown.push_back(state);
    }
    return cross_entropy(output(stack(shown, 0)), Tensor::from(p.target, {sizes.target, sizes.batch}));
  }

  Seq2SeqSizes sizes;
  nn::Embedding source, target;
  nn::GRU encoder;
  nn::AdditiveAttention attention;
  nn::GRUCell decoder;
  nn::Linear output;
};

}  // namespace

Pairs pairs(const Seq2SeqSizes& s, int64_t k) {
  std::mt19937_64 random(static_cast<uint64_t>(7000 + k));
  const auto words = [&](int64_t steps) {
    std::vector<int64_t> ids(static_cast<size_t>(steps * s.batch));
    for (int64_t& id : ids) id = static_cast<int64_t>(random() % static_cast<uint64_t>(s.words));
    return ids;
  };
  Pairs p{words(s.source), words(s.target), {}};
  p.target.assign(p.target_in.begin() + s.batch, p.target_in.end());
  p.target.resize(p.target_in.size(), 0);  // the end of the sentence
  return p;
}

Workload seq2seq_workload(const Seq2SeqSizes& s) {
  Workload w;
  w.name = "W7";
  w.description =
      fmt::format("GRU encoder and decoder {} with additive attention, batch {}, {} to {} words of {}",
                  s.hidden, s.batch, s.source, s.target, s.words);
  const auto h = static_cast<double>(s.hidden);
  const double encoder = 2 * h * (6 * h + h), decoder = 2 * h * (9 * h + h + static_cast<double>(s.words));
  const double attention = 4 * h * static_cast<double>(s.source);
  w.flops = 3 * static_cast<double>(s.batch) *
            (static_cast<double>(s.source) * encoder + static_cast<double>(s.target) * (decoder + attention));
  w.weights = [s] { return initial_weights<Model>(s); };
  w.variants = engine_variants<Model>(s);
  w.variants.insert(w.variants.begin() + 1, in_bf16(w.variants.front()));
  w.variants.push_back({"hand", [s](const Weights& weights) { return hand_seq2seq(s, weights); }});
  return w;
}

}  // namespace reel::bench
