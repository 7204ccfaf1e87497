// W5: a binary Tree-LSTM over random trees, written node by node.
#include <random>

#include "benchmarks/model_stepper.h"
#include "benchmarks/tree_attention_workloads.h"

namespace reel::bench {

namespace {

struct Model : nn::Module {
  explicit Model(const TreeSizes& s)
      : sizes(s),
        words({this, "words"}, s.words, s.hidden),
        cell({this, "cell"}, s.hidden, s.hidden, {.inner_input = false}),
        output({this, "output"}, s.hidden, s.classes) {}

  // The mean cross-entropy of the roots' classes.
  Tensor loss(int64_t k) const { return loss_with(cell, k); }

  template <class Cell>
  Tensor loss_with(const Cell& one, int64_t k) const {
    const Forest f = forest(sizes, k);
    Tensors x(f.tree.size());
    for (size_t n = 0; n < x.size(); ++n) {
      if (f.words[n] >= 0) x[n] = words(Tensor::from(std::vector<int64_t>{f.words[n]}, {1}));
    }
    const std::vector<nn::LSTMState> states = nn::walk(one, f.tree, x);
    Tensors roots;
    for (int64_t root : f.roots) roots.push_back(states[static_cast<size_t>(root)].h);
    return cross_entropy(output(concat(roots, 0)), Tensor::from(f.labels, {sizes.trees}));
  }

  TreeSizes sizes;
  nn::Embedding words;
  nn::TreeLSTMCell cell;
  nn::Linear output;
};

// The cell's equations without a template (reel::once): every op of every node is recorded.
struct PlainCell {
  using State = nn::LSTMState;
  const nn::TreeLSTMCell& weights;

  State operator()(const Tensor& x, const std::vector<State>& children) const {
    return children.empty() ? leaf(x) : inner(children[0], children[1]);
  }
  State leaf(const Tensor& x) const {
    const int64_t h3 = 3 * weights.hidden_size();
    const auto [i, o, u] =
        split<3>(matmul(x, transpose(weights.weight_ih, 0, 1)) + slice(weights.bias, 0, 0, h3));
    return state(sigmoid(i) * tanh(u), o);
  }
  State inner(const State& left, const State& right) const {
    const int64_t h = weights.hidden_size();
    const Tensor all = matmul(concat({left.h, right.h}, -1), transpose(weights.weight_hh, 0, 1));
    const auto [i, o, u] = split<3>(slice(all, -1, 0, 3 * h) + slice(weights.bias, 0, 0, 3 * h));
    const Tensor b = slice(weights.bias, 0, 3 * h, 4 * h);
    const Tensor f = sigmoid(slice(all, -1, 3 * h, 4 * h) + b), g = sigmoid(slice(all, -1, 4 * h, 5 * h) + b);
    return state(sigmoid(i) * tanh(u) + f * left.c + g * right.c, o);
  }
  static State state(const Tensor& c, const Tensor& o) { return {.h = sigmoid(o) * tanh(c), .c = c}; }
};

struct PerOp : Model {
  using Model::Model;
  Tensor loss(int64_t k) const { return loss_with(PlainCell{cell}, k); }
};

int64_t below(std::mt19937_64& random, int64_t n) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
}

// Appends a tree with that many leaves, split at random; returns its root.
int64_t grow(std::mt19937_64& random, int64_t leaves, int64_t words, Forest& f) {
  std::vector<int64_t> children;
  if (leaves > 1) {
    const int64_t left = 1 + below(random, leaves - 1);
    children = {grow(random, left, words, f), grow(random, leaves - left, words, f)};
  }
  f.words.push_back(children.empty() ? below(random, words) : -1);
  f.tree.children.push_back(std::move(children));
  return static_cast<int64_t>(f.words.size()) - 1;
}

}  // namespace

Forest forest(const TreeSizes& s, int64_t k) {
  std::mt19937_64 random(static_cast<uint64_t>(5000 + k));
  Forest f;
  for (int64_t t = 0; t < s.trees; ++t) {
    const int64_t leaves = s.least + below(random, s.most - s.least + 1);
    f.roots.push_back(grow(random, leaves, s.words, f));
    f.labels.push_back(below(random, s.classes));
  }
  return f;
}

Workload tree_workload(const TreeSizes& s) {
  Workload w;
  w.name = "W5";
  w.description = fmt::format("binary Tree-LSTM {}, {} random trees of {} to {} leaves a step, vocabulary {}",
                              s.hidden, s.trees, s.least, s.most, s.words);
  w.tokens = [s](int64_t k) {  // leaves
    return static_cast<double>(forest(s, k).words.size() + static_cast<size_t>(s.trees)) / 2;
  };
  w.weights = [s] { return initial_weights<Model>(s); };
  w.variants = engine_variants<Model>(s);
  w.variants.push_back({"planned-per-op", [s](const Weights& weights) -> std::unique_ptr<Stepper> {
                          return std::make_unique<ModelStepper<PerOp>>(s, weights, false);
                        }});
  w.variants.push_back({"hand", [s](const Weights& weights) { return hand_tree(s, weights); }});
  return w;
}

}  // namespace reel::bench
