// W5 to W8: a Tree-LSTM, a Transformer encoder, attention seq2seq, and a layer-norm LSTM with peepholes.
// Sizes, data, and the engine's and the hand-written way through them.
#pragma once

#include "benchmarks/workload.h"
#include "nn/tree_lstm.h"

namespace reel::bench {

struct TreeSizes {
  int64_t hidden = 150;  // of the embedding too
  int64_t trees = 25;
  int64_t least = 10, most = 40;  // leaves of a tree
  int64_t words = 5000, classes = 5;
};
// Random binary trees: another forest for every k.
struct Forest {
  nn::Tree tree;                // all trees, one after another
  std::vector<int64_t> words;   // of each node; -1 inside
  std::vector<int64_t> roots;   // node of each tree
  std::vector<int64_t> labels;  // of each root
};
Forest forest(const TreeSizes& sizes, int64_t k);

struct TransformerSizes {
  int64_t layers = 2, width = 256, heads = 4, inner = 1024;
  int64_t batch = 16, length = 64;
};
// x [batch, length, width], one of a few that are made once.
const std::vector<float>& sequences(const TransformerSizes& sizes, int64_t k);

struct Seq2SeqSizes {
  int64_t hidden = 256;  // of the embeddings too
  int64_t words = 8000;  // of both languages
  int64_t batch = 32, source = 20, target = 20;
};
struct Pairs {
  std::vector<int64_t> source;             // [source, batch]
  std::vector<int64_t> target_in, target;  // [target, batch]: what the decoder reads, what it should say
};
Pairs pairs(const Seq2SeqSizes& sizes, int64_t k);

struct LayerNormSizes {
  int64_t layers = 2, hidden = 256;  // of the embedding too
  int64_t batch = 32, steps = 60, words = 65;
};
struct Text {
  std::vector<int64_t> in, next;  // [steps, batch]
};
Text text(const LayerNormSizes& sizes, int64_t k);

Workload tree_workload(const TreeSizes& sizes);
Workload transformer_workload(const TransformerSizes& sizes);
Workload seq2seq_workload(const Seq2SeqSizes& sizes);
Workload layer_norm_workload(const LayerNormSizes& sizes);

inline Workload w5() { return tree_workload({}); }
inline Workload w6() { return transformer_workload({}); }
inline Workload w7() { return seq2seq_workload({}); }
inline Workload w8() { return layer_norm_workload({}); }

// benchmarks/hand/: what a careful expert writes.
std::unique_ptr<Stepper> hand_tree(const TreeSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> hand_transformer(const TransformerSizes& sizes, const Weights& weights);
std::unique_ptr<Stepper> hand_seq2seq(const Seq2SeqSizes& sizes, const Weights& weights);
// `commute`: the embedding table is projected once, instead of every step's rows.
std::unique_ptr<Stepper> hand_layer_norm(const LayerNormSizes& sizes, bool commute, const Weights& weights);

}  // namespace reel::bench
