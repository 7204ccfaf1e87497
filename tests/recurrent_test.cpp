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
void compare_with_pytorch(const std::string& name, bool bidirectional, const nn::CellOptions& cell,
                          DType dtype, double value_bound, double grad_bound) {
  const auto all = oracle();
  const DefaultDType scope(dtype);
  const auto get = [&](const std::string& key) { return all.at(name + "/" + key); };
  Layers layers({}, 6, 8, {.num_layers = 2, .bidirectional = bidirectional, .cell = cell});
  NamedTensors weights;
  for (const auto& [key, parameter] : layers.named_parameters()) weights.emplace_back(key, get(key));
  layers.load_state_dict(weights);
  Tensor x = to(get("x"), dtype);
  x = Tensor::from_bytes(x.to_bytes(), dtype, x.shape()).requires_grad_();

  const auto [output, states] = layers(x, {}, {.lengths = get("lengths").template to_vector<int64_t>()});
  std::vector<Tensor> h;
  for (const auto& state : states) h.push_back(nn::shown(state));
  const Tensor h_n = stack(h, 0);
  if constexpr (std::is_same_v<Layers, nn::LSTM>) {
    std::vector<Tensor> c;
    for (const auto& state : states) c.push_back(state.c);
    CHECK(distance(stack(c, 0), get("c_n")) < value_bound);
  }
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
void compare_all(const std::string& kind, const nn::CellOptions& cell = {}) {
  for (bool both : {false, true}) {
    const std::string name = kind + (both ? "_bi" : "_uni");
    compare_with_pytorch<Layers>(name, both, cell, DType::f64, 1e-12, 1e-12);
    compare_with_pytorch<Layers>(name, both, cell, DType::f32, 1e-5, 1e-4);
  }
}

}  // namespace

TEST_CASE(
    "recurrent: RNN, GRU and LSTM equal PyTorch's: both directions, two layers, projection, ragged lengths") {
  compare_all<nn::RNN>("rnn");
  compare_all<nn::GRU>("gru");
  compare_all<nn::LSTM>("lstm");
  compare_all<nn::LSTM>("lstm_proj", {.proj_size = 3});
  compare_all<nn::RNN>("rnn_relu", {.activation = reel::relu});
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

// Not a function of its arguments: what it does depends on how often it was called.
template <bool always>
struct Counting {
  using State = Tensor;
  static constexpr bool every_step = always;
  mutable int calls = 0;
  State operator()(const Tensor& x, const State& h) const {
    return tanh(x + h * static_cast<double>(++calls));
  }
};

TEST_CASE("unroll: a cell is recorded once, or asked at every step if it says so") {
  const Tensor x = normal({4, 2, 3});
  const Counting<false> once;
  eval({nn::unroll(once, x, zeros({2, 3})).state});
  CHECK(once.calls == 1);
  const Counting<true> always;
  const Tensor got = nn::unroll(always, x, zeros({2, 3})).state;
  CHECK(always.calls == 4);
  Tensor want = zeros({2, 3});
  for (int64_t t = 0; t < 4; ++t) want = tanh(select(x, 0, t) + want * static_cast<double>(t + 1));
  CHECK(amax(abs(got - want)).item() < 1e-6);
}
