// Tree-LSTM, layer-norm LSTM, attention heads and the Transformer's encoder layer: PyTorch's values and
// gradients from the same weights, and what must hold whatever the weights are.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "reel.h"
#include "tests/distance.h"

using namespace reel;

namespace {

using tests::distance;

// One case of benchmarks/peers/attention_oracle.py, in f64.
class Case {
 public:
  explicit Case(std::string name) : name_(std::move(name)) {}

  Tensor get(const std::string& key) const {
    static const auto all = load_safetensors(REEL_SOURCE_DIR "/tests/data/attention.safetensors").tensors;
    return all.at(name_ + "/" + key);
  }
  Tensor variable(const std::string& key) const {
    const Tensor t = get(key);
    return Tensor::from(t.to_vector<double>(), t.shape()).requires_grad_();
  }
  // The output, and the gradients of all weights and inputs.
  void check(const nn::Module& module, const Tensor& output, const NamedTensors& inputs) const {
    INFO(name_);
    CHECK(distance(output, get("output")) < 1e-12);
    sum(output * get("R")).backward();
    NamedTensors all = module.named_parameters();
    all.insert(all.end(), inputs.begin(), inputs.end());
    for (const auto& entry : all) {
      INFO(entry.first);
      CHECK(distance(entry.second.grad(), get("grad/" + entry.first)) < 1e-11);
    }
  }
  template <class M>
  void load(M& module) const {
    NamedTensors weights;
    for (const auto& entry : module.named_parameters()) weights.emplace_back(entry.first, get(entry.first));
    module.load_state_dict(weights);
  }

 private:
  std::string name_;
};

nn::Tree five_leaves() { return {{{}, {}, {0, 1}, {}, {}, {}, {4, 5}, {3, 6}, {2, 7}}}; }

// Every parameter away from where it starts, so that gains of one and shifts of zero hide nothing.
void shake(const nn::Module& module) {
  for (Tensor p : module.parameters()) p.assign(p + normal(p.shape(), 0, 0.3));
}

// First order in every weight and input, and planned = eager. `f` reads the module's parameters.
void check_model(const nn::Module& module, Tensors inputs, const std::function<Tensor()>& f) {
  for (const Tensor& p : module.parameters()) inputs.push_back(p);
  const auto report = gradcheck([&](const Tensors&) { return f(); }, inputs);
  INFO(report.text());
  CHECK(report.ok);
  CHECK(report.checked > 40);
  const auto run = [&] {
    const Tensor y = f();
    Tensors all = grad({sum(square(y))}, inputs);
    all.push_back(y);
    eval(all);
    return all;
  };
  const Tensors planned = run();
  const Eager eager;
  const Tensors at_once = run();
  for (size_t k = 0; k < planned.size(); ++k) CHECK(distance(planned[k], at_once[k]) < 1e-12);
}

}  // namespace

TEST_CASE("tree attention: the Transformer's encoder layer equals PyTorch's, before and after the norm") {
  const DefaultDType f64(DType::f64);
  for (const char* name : {"pre", "post", "gelu"}) {
    const Case c(name);
    const bool gelu = std::string(name) == "gelu";
    nn::TransformerEncoderLayer layer({}, 8,
                                      {.heads = 2,
                                       .feed_forward = 12,
                                       .dropout = 0,
                                       .activation = gelu ? nn::FeedForward::gelu : nn::FeedForward::relu,
                                       .norm_first = std::string(name) != "post"});
    c.load(layer);
    const Tensor x = c.variable("x");
    c.check(layer, layer(x, c.get("mask")), {{"x", x}});
  }
}

TEST_CASE("tree attention: attention to another sequence equals PyTorch's, and to itself is one projection") {
  const DefaultDType f64(DType::f64);
  const Case c("cross");
  nn::MultiheadAttention attention({}, 8, 2);
  c.load(attention);
  const Tensor q = c.variable("query"), k = c.variable("key"), v = c.variable("value");
  c.check(attention, attention(q, k, v, c.get("mask")), {{"query", q}, {"key", k}, {"value", v}});
  CHECK(distance(attention(k, c.get("mask")), attention(k, k, k, c.get("mask"))) < 1e-14);
}

TEST_CASE("tree attention: masked keys change nothing, and dropout acts in training only") {
  const DefaultDType f64(DType::f64);
  manual_seed(2);
  nn::TransformerEncoderLayer layer({}, 8, {.heads = 2, .feed_forward = 12, .dropout = 0.5});
  const Tensor x = normal({1, 5, 8}), other = concat({slice(x, 1, 0, 3), normal({1, 2, 8}, 0, 9)}, 1);
  const Tensor mask = Tensor::from(std::vector<bool>{true, true, true, false, false}, {1, 5});
  CHECK(distance(layer(x, mask), layer(x, mask)) > 1e-3);
  layer.eval();
  const auto seen = [&](const Tensor& in, const Tensor& m) { return slice(layer(in, m), 1, 0, 3); };
  CHECK(distance(seen(x, mask), seen(other, mask)) == 0);
  CHECK(distance(seen(x, mask), layer(slice(x, 1, 0, 3))) < 1e-14);
  CHECK(distance(seen(x, {}), seen(other, {})) > 1e-3);
}

TEST_CASE("tree attention: the layer-norm LSTM equals its equations in PyTorch, and runs in Recurrent") {
  const DefaultDType f64(DType::f64);
  const Case c("lnlstm");
  nn::LayerNormLSTMCell cell({}, 6, 8);
  c.load(cell);
  const Tensor x = c.variable("x"), h = c.variable("h"), s = c.variable("c");
  const auto last = cell(select(x, 0, 1), cell(select(x, 0, 0), {h, s}));
  c.check(cell, concat({last.h, last.c}, -1), {{"x", x}, {"h", h}, {"c", s}});

  nn::LayerNormLSTM layers({}, 6, 8, {.num_layers = 2, .bidirectional = true});
  CHECK(layers.state_dict().at(2).first == "bias_l0");
  const auto [output, states] = layers(normal({5, 3, 6}), {}, {.lengths = {5, 1, 3}});
  CHECK(output.shape() == Shape{5, 3, 16});
  CHECK(sum(abs(slice(select(output, 1, 1), 0, 1, 5))).item() == 0);
  CHECK(states.size() == 4);
}

TEST_CASE("tree attention: both Tree-LSTMs equal their equations in PyTorch") {
  const DefaultDType f64(DType::f64);
  for (const bool child_sum : {false, true}) {
    const Case c(child_sum ? "tree_sum" : "tree");
    nn::TreeLSTMCell cell({}, 6, 8, {.children = child_sum ? 0 : 2});
    c.load(cell);
    const Tensor x = c.variable("x");
    Tensors rows;
    for (int64_t k = 0; k < 9; ++k) rows.push_back(slice(x, 0, k, k + 1));
    const nn::LSTMState root = nn::walk(cell, five_leaves(), rows).back();
    c.check(cell, squeeze(concat({root.h, root.c}, -1), 0), {{"x", x}});
  }
}

TEST_CASE("tree attention: gradients of whole models, and planned equals eager") {
  const DefaultDType f64(DType::f64);
  manual_seed(4);
  SUBCASE("trees with and without x inside, of any number of children") {
    for (const int64_t most : {0, 2, 3}) {
      for (const bool inner : {false, true}) {
        nn::TreeLSTMCell cell({}, 2, 3, {.children = most, .inner_input = inner});
        shake(cell);
        nn::Tree tree = five_leaves();
        if (most != 2) tree.children.push_back({});  // a leaf, and a chain above the old root
        tree.children.push_back(most != 2 ? std::vector<int64_t>{8, 9} : std::vector<int64_t>{8});
        Tensors x;
        for (const auto& node : tree.children) {
          x.push_back(inner || node.empty() ? normal({1, 2}).requires_grad_() : Tensor());
        }
        Tensors inputs;
        for (const Tensor& row : x) {
          if (row.defined()) inputs.push_back(row);
        }
        check_model(cell, inputs, [&] {
          const auto root = nn::walk(cell, tree, x).back();
          return concat({root.h, root.c}, -1);
        });
      }
    }
  }
  SUBCASE("a stack of layer-norm LSTMs") {
    nn::LayerNormLSTM layers({}, 2, 3, {.num_layers = 2});
    shake(layers);
    const Tensor x = normal({3, 2, 2}).requires_grad_();
    check_model(layers, {x}, [&] { return layers(x).output; });
  }
  SUBCASE("encoder layers") {
    for (const bool norm_first : {false, true}) {
      nn::TransformerEncoderLayer layer({}, 4,
                                        {.heads = 2,
                                         .feed_forward = 5,
                                         .dropout = 0,
                                         .activation = nn::FeedForward::gelu,
                                         .norm_first = norm_first});
      shake(layer);
      const Tensor x = normal({2, 3, 4}).requires_grad_();
      const Tensor mask = Tensor::from(std::vector<bool>{true, true, true, true, false, true}, {2, 3});
      check_model(layer, {x}, [&] { return layer(x, mask); });
    }
  }
}

TEST_CASE("tree attention: bad input is refused with a sentence") {
  nn::TreeLSTMCell cell({}, 2, 3, {.inner_input = false});
  const Tensor x = zeros({1, 2});
  const Tensors leaf{x}, one_more{x, x}, three{x, x, {}};
  CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}, {0}}}, leaf), doctest::Contains("1 rows for 2 nodes"), Error);
  CHECK_THROWS_WITH_AS(nn::walk(cell, {{{1}, {}}}, one_more), doctest::Contains("node 0 has child 1"), Error);
  CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}, {}, {0, 0}}}, three), doctest::Contains("a child twice"), Error);
  CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}, {0}}}, one_more), doctest::Contains("want inner_input"), Error);
  CHECK_THROWS_WITH_AS(cell({}, {}), doctest::Contains("neither x nor children"), Error);
  const nn::LSTMState s{zeros({1, 3}), zeros({1, 3})};
  const std::vector<nn::LSTMState> many(3, s);
  CHECK_THROWS_WITH_AS(cell({}, many), doctest::Contains("3 children: want at most 2"), Error);
  CHECK_THROWS_WITH_AS(nn::TreeLSTMCell({}, 2, 3, {.children = -1}), doctest::Contains("children -1"), Error);
  CHECK_THROWS_WITH_AS(nn::MultiheadAttention({}, 8, 3), doctest::Contains("3 heads for a width of 8"),
                       Error);
  const nn::MultiheadAttention attention({}, 8, 2);
  CHECK_THROWS_WITH_AS(attention(zeros({2, 5, 8}), zeros({2, 5})),
                       doctest::Contains("a mask of f32 [2, 5]: want bool [2, 5]"), Error);
}
