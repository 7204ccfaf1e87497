// Recurrent layers: PyTorch's values and gradients from the same weights, and what must hold for every cell.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "reel.h"
#include "tests/distance.h"

using namespace reel;

namespace {

using tests::distance;

using doctest::Approx;

std::map<std::string, Tensor> oracle() {
  static const auto tensors = load_safetensors(REEL_SOURCE_DIR "/tests/data/cells.safetensors").tensors;
  return tensors;
}

// One case of benchmarks/peers/cells_oracle.py.
template <class Layers>
void compare_with_pytorch(const std::string& name, bool bidirectional, DType dtype, double value_bound,
                          double grad_bound) {
  const auto all = oracle();
  const DefaultDType scope(dtype);
  const auto get = [&](const std::string& key) { return all.at(name + "/" + key); };
  Layers layers({}, 6, 8, {.num_layers = 2, .bidirectional = bidirectional});
  NamedTensors weights;
  for (const auto& [key, parameter] : layers.named_parameters()) weights.emplace_back(key, get(key));
  layers.load_state_dict(weights);
  Tensor x = to(get("x"), dtype);
  x = Tensor::from_bytes(x.to_bytes(), dtype, x.shape()).requires_grad_();

  const auto [output, states] = layers(x, {}, {.lengths = get("lengths").template to_vector<int64_t>()});
  std::vector<Tensor> h;
  for (const auto& state : states) h.push_back(nn::shown(state));
  const Tensor h_n = stack(h, 0);
  const Tensor loss = sum(output * to(get("R"), dtype)) + sum(h_n * to(get("R2"), dtype));
  loss.backward();

  INFO(name, " ", name_of(dtype));
  CHECK(distance(output, get("output")) < value_bound);
  CHECK(distance(h_n, get("h_n")) < value_bound);
  CHECK(loss.item() == Approx(get("loss").item()).epsilon(value_bound));
  CHECK(distance(x.grad(), get("grad/x")) < grad_bound);
  for (const auto& entry : layers.named_parameters()) {  // clang 14 lets no structured binding into INFO
    const std::string& key = entry.first;
    INFO(key);
    CHECK(distance(entry.second.grad(), get("grad/" + key)) < grad_bound);
  }
}

template <class Layers>
void compare_all(const std::string& kind) {
  for (bool both : {false, true}) {
    const std::string name = kind + (both ? "_bi" : "_uni");
    compare_with_pytorch<Layers>(name, both, DType::f64, 1e-12, 1e-12);
    compare_with_pytorch<Layers>(name, both, DType::f32, 1e-5, 1e-4);
  }
}

// Every cell of the library, in f64, with each option that changes its equations.
template <class Check>
void for_each_cell(const Check& check) {
  const DefaultDType f64(DType::f64);
  manual_seed(3);
  check(nn::RNNCell({}, 3, 4), "RNN");
  check(nn::RNNCell({}, 3, 4, {.bias = nn::Bias::one, .activation = nn::Activation::sigmoid}),
        "RNN sigmoid, one bias");
  check(nn::LSTMCell({}, 3, 4), "LSTM");
  check(nn::LSTMCell({}, 3, 4, {.bias = nn::Bias::none}), "LSTM without bias");
  check(nn::GRUCell({}, 3, 4), "GRU");
  check(nn::GRUCell({}, 3, 4, {.reset_after = false}), "GRU, textbook");
  check(nn::GRUCell({}, 3, 4, {.bias = nn::Bias::one}), "GRU, one bias");
}

template <class State>
Tensor flat(State state) {
  std::vector<Tensor> all;
  for (Tensor* part : nn::parts(state)) all.push_back(*part);
  return concat(all, -1);
}

}  // namespace

TEST_CASE("recurrent: RNN, GRU and LSTM equal PyTorch's, both directions, two layers, ragged lengths") {
  compare_all<nn::RNN>("rnn");
  compare_all<nn::GRU>("gru");
  compare_all<nn::LSTM>("lstm");
}

TEST_CASE("recurrent: the textbook GRU's reset gate acts before the product") {
  // One unit, by hand: r = s(wr x + ur h), z = s(wz x + uz h), n = tanh(wn x + un (r h)), h' = (1 - z) n + z
  // h.
  const DefaultDType f64(DType::f64);
  nn::GRUCell cell({}, 1, 1, {.bias = nn::Bias::none, .reset_after = false});
  cell.load_state_dict({{"weight_ih", Tensor::from(std::vector<double>{.3, -.2, .7}, {3, 1})},
                        {"weight_hh", Tensor::from(std::vector<double>{.5, .4, -.6}, {3, 1})}});
  const double x = 0.9, h = -0.4, s1 = 1 / (1 + std::exp(-(.3 * x + .5 * h))),
               z = 1 / (1 + std::exp(-(-.2 * x + .4 * h)));
  const double n = std::tanh(.7 * x - .6 * (s1 * h));
  CHECK(cell(full({1, 1}, x), full({1, 1}, h)).item() == Approx((1 - z) * n + z * h).epsilon(1e-14));
}

TEST_CASE("recurrent: gradients of every cell, first and second order, in its inputs, states and weights") {
  for_each_cell([](const auto& cell, const char* name) {
    INFO(name);
    auto state = cell.initial(2);
    for (Tensor* part : nn::parts(state)) *part = normal({2, 4}, 0, 1);
    Tensors inputs{normal({2, 3}).requires_grad_()};
    for (Tensor* part : nn::parts(state)) inputs.push_back(part->requires_grad_());
    for (const Tensor& p : cell.parameters()) inputs.push_back(p);
    const auto two_steps = [&](const Tensors& x) { return flat(cell(x[0], cell(x[0] * 0.5, state))); };
    const auto first = gradcheck(two_steps, inputs), second = gradgradcheck(two_steps, inputs);
    INFO(first.text(), second.text());
    CHECK(first.ok);
    CHECK(second.ok);
    CHECK(first.checked > 40);
    CHECK(second.checked > 40);
  });
}

TEST_CASE(
    "recurrent: padding changes neither values nor gradients, and permuting the batch permutes the result") {
  for_each_cell([](const auto& cell, const char* name) {
    INFO(name);
    const Tensor x = normal({5, 3, 3}), noise = normal({5, 3, 3}, 0, 100);
    const std::vector<int64_t> lengths{3, 5, 1};
    std::vector<bool> inside;
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t length : lengths) inside.insert(inside.end(), 3, t < length);
    }
    const auto run = [&](const Tensor& in, bool reverse) {
      auto result = nn::unroll(cell, nn::steps_of(in, {.lengths = lengths}), cell.initial(3), reverse);
      return std::pair(stack(result.outputs, 0), flat(result.state));
    };
    for (bool reverse : {false, true}) {
      const Tensor other = where(Tensor::from(inside, {5, 3, 3}), x, noise);
      const auto [y, last] = run(x, reverse);
      const auto [y2, last2] = run(other, reverse);
      CHECK(distance(y, y2) == 0);
      CHECK(distance(last, last2) == 0);
      const Tensors weights = cell.parameters();
      const Tensors g = grad({sum(square(y)) + sum(last)}, weights),
                    g2 = grad({sum(square(y2)) + sum(last2)}, weights);
      for (size_t k = 0; k < g.size(); ++k) CHECK(distance(g[k], g2[k]) == 0);
      // Row 0 alone, cut to its length.
      const Tensor alone = slice(slice(x, 1, 0, 1), 0, 0, 3);
      auto single = nn::unroll(cell, nn::steps_of(alone), cell.initial(1), reverse);
      CHECK(distance(flat(single.state), slice(last, 0, 0, 1)) < 1e-14);
      CHECK(sum(abs(slice(slice(y, 1, 0, 1), 0, 3, 5))).item() == 0);
      // The batch in another order.
      const Tensor order = Tensor::from(std::vector<int64_t>{2, 0, 1}, {3});
      auto permuted = nn::unroll(cell, nn::steps_of(index_select(x, 1, order), {.lengths = {1, 3, 5}}),
                                 cell.initial(3), reverse);
      CHECK(distance(flat(permuted.state), index_select(last, 0, order)) < 1e-14);
    }
  });
}

TEST_CASE(
    "recurrent: backwards is flipped forwards, and a sequence cut in two with its state carried is the "
    "whole") {
  for_each_cell([](const auto& cell, const char* name) {
    INFO(name);
    const Tensor x = normal({6, 2, 3});
    const auto whole = nn::unroll(cell, nn::steps_of(x), cell.initial(2));
    const auto backward = nn::unroll(cell, nn::steps_of(flip(x, {0})), cell.initial(2), true);
    CHECK(distance(flat(whole.state), flat(backward.state)) == 0);
    CHECK(distance(stack(whole.outputs, 0), flip(stack(backward.outputs, 0), {0})) == 0);
    auto half = nn::unroll(cell, nn::steps_of(slice(x, 0, 0, 2)), cell.initial(2));
    const auto rest = nn::unroll(cell, nn::steps_of(slice(x, 0, 2, 6)), nn::detached(half.state));
    CHECK(distance(flat(rest.state), flat(whole.state)) == 0);
    const auto one = nn::unroll(cell, nn::steps_of(slice(x, 0, 0, 1)), cell.initial(2));
    CHECK(distance(flat(one.state), flat(cell(select(x, 0, 0), cell.initial(2)))) == 0);
  });
}

TEST_CASE(
    "recurrent: batch first is the same with its axes exchanged; dropout acts only between layers, in "
    "training") {
  manual_seed(5);
  nn::LSTM layers({}, 3, 4, {.num_layers = 2, .bidirectional = true, .dropout = 0.5});
  nn::LSTM batch_first({}, 3, 4, {.num_layers = 2, .bidirectional = true, .batch_first = true});
  batch_first.load_state_dict(layers.state_dict());
  const Tensor x = normal({5, 2, 3});
  layers.eval();
  const Tensor y = layers(x).output;
  CHECK(distance(y, transpose(batch_first(transpose(x, 0, 1)).output, 0, 1)) == 0);
  layers.train();
  CHECK(distance(layers(x).output, y) > 1e-3);
  nn::LSTM single({}, 3, 4, {.dropout = 0.5});
  CHECK(distance(single(x).output, single(x).output) == 0);
}

TEST_CASE("recurrent: planned and eager agree on values and gradients of whole models") {
  manual_seed(7);
  nn::GRU encoder({}, 3, 4, {.num_layers = 2, .bidirectional = true, .batch_first = true});
  nn::AdditiveAttention attention({}, 4, 8, 5);
  const Tensor x = normal({2, 5, 3}), query = normal({2, 4});
  const Tensor mask =
      Tensor::from(std::vector<bool>{true, true, true, true, true, true, true, false, false, false}, {2, 5});
  const auto run = [&] {
    const auto memory = attention.remember(encoder(x, {}, {.lengths = {5, 2}}).output, mask);
    const auto attended = attention(query, memory);
    encoder.zero_grad();
    attention.zero_grad();
    (sum(square(attended.context)) + sum(square(attended.weights))).backward();
    Tensors all{attended.context, attended.weights};
    for (const Tensor& p : encoder.parameters()) all.push_back(p.grad());
    for (const Tensor& p : attention.parameters()) all.push_back(p.grad());
    return all;
  };
  const Tensors planned = run();
  const Eager eager;
  const Tensors at_once = run();
  // Rounding of the largest gradients, which the attention's small ones are made from.
  for (size_t k = 0; k < planned.size(); ++k) CHECK(sum(abs(planned[k] - at_once[k])).item() < 1e-6);
  CHECK(sum(abs(slice(slice(planned[1], 0, 1, 2), 1, 2, 5))).item() ==
        0);  // masked positions get no attention
}

TEST_CASE("recurrent: bad input is refused with a sentence") {
  nn::LSTM layers({}, 3, 4);
  CHECK_THROWS_WITH_AS(layers(zeros({2, 3})), doctest::Contains("x [2, 3]: want [time, batch, in]"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({0, 2, 3})), doctest::Contains("at least one step"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({4, 2, 3}), {}, {.lengths = {4}}),
                       doctest::Contains("1 lengths for a batch of 2"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({4, 2, 3}), {}, {.lengths = {4, 5}}),
                       doctest::Contains("a length of 5: want 0 to 4"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({4, 2, 5})), doctest::Contains("[matmul]"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({4, 2, 3}), std::vector<nn::LSTMState>(3)),
                       doctest::Contains("3 initial states: want 1"), Error);
  CHECK_THROWS_WITH_AS(layers(zeros({4, 2, 3}), {}, {.mask = zeros({4, 2})}),
                       doctest::Contains("a mask of f32 [4, 2]: want bool [4, 2]"), Error);
}

TEST_CASE("recurrent: a mask with holes skips those steps, and lengths are one kind of mask") {
  for_each_cell([](const auto& cell, const char* name) {
    INFO(name);
    const Tensor x = normal({4, 2, 3});
    const auto run = [&](const Tensor& in, const nn::Valid& valid) {
      return flat(nn::unroll(cell, nn::steps_of(in, valid), cell.initial(in.size(1))).state);
    };
    const Tensor holes =
        Tensor::from(std::vector<bool>{true, true, false, true, true, true, true, false}, {4, 2});
    const Tensor last = run(x, {.mask = holes});
    const Tensor row0 = slice(x, 1, 0, 1), row1 = slice(x, 1, 1, 2);
    const Tensor without = concat({slice(row0, 0, 0, 1), slice(row0, 0, 2, 4)}, 0);
    CHECK(distance(slice(last, 0, 0, 1), run(without, {})) < 1e-14);
    CHECK(distance(slice(last, 0, 1, 2), run(slice(row1, 0, 0, 3), {})) < 1e-14);
    const Tensor as_mask =
        Tensor::from(std::vector<bool>{true, true, true, true, true, false, true, false}, {4, 2});
    CHECK(distance(run(x, {.mask = as_mask}), run(x, {.lengths = {4, 2}})) == 0);
  });
}
