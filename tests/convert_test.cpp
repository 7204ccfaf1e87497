// Weights of ONNX and Keras against the equations of their documentation, written as loops over doubles: what
// our layers compute from the converted weights is what those compute from theirs, and the other way round.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "reel.h"
#include "tests/distance.h"

using namespace reel;
using tests::distance;

namespace {

constexpr size_t kTime = 4, kBatch = 2, kIn = 3, kHidden = 2;

double sigma(double a) { return 1 / (1 + std::exp(-a)); }
double tanh_of(double a) { return std::tanh(a); }

// A tensor's values, by index.
class Values {
 public:
  explicit Values(const Tensor& t) : shape_(t.shape()), values_(t.to_vector<double>()) {}
  template <class... At>
  double operator()(At... at) const {
    size_t flat = 0;
    int axis = 0;
    ((flat = flat * static_cast<size_t>(shape_[axis++]) + static_cast<size_t>(at)), ...);
    REQUIRE(axis == shape_.rank());
    return values_.at(flat);
  }

 private:
  Shape shape_;
  std::vector<double> values_;
};

// y[t][b][unit] of one direction, whose step is given h and c of one row and changes them.
using Row = std::vector<double>;
using Step = std::function<void(const Row& x, Row& h, Row& c)>;
void run(const Values& x, bool reverse, const Step& step, std::vector<double>& y, size_t offset,
         size_t width) {
  for (size_t b = 0; b < kBatch; ++b) {
    Row h(kHidden), c(kHidden);
    for (size_t k = 0; k < kTime; ++k) {
      const size_t t = reverse ? kTime - 1 - k : k;
      Row in;
      for (size_t j = 0; j < kIn; ++j) in.push_back(x(t, b, j));
      step(in, h, c);
      for (size_t j = 0; j < kHidden; ++j) y[(t * kBatch + b) * width + offset + j] = h[j];
    }
  }
}

// ONNX's operators RNN, GRU, LSTM, as their specification has them: Y of direction d.
void onnx_direction(const nn::OnnxLayer& layer, const Values& x, size_t d, std::vector<double>& y,
                    size_t width) {
  const Values W(layer.W), R(layer.R);
  const Values B(layer.B.defined() ? layer.B : zeros({2, 64})),
      P(layer.P.defined() ? layer.P : zeros({2, 64}));
  const size_t rows = static_cast<size_t>(layer.W.size(1));
  const auto xw = [&](const Row& in, size_t gate, size_t j) {  // Xt*(W^T) + Wb
    double a = layer.B.defined() ? B(d, gate * kHidden + j) : 0;
    for (size_t k = 0; k < kIn; ++k) a += in[k] * W(d, gate * kHidden + j, k);
    return a;
  };
  const auto hr = [&](const Row& h, size_t gate, size_t j) {  // Ht-1*(R^T) + Rb
    double a = layer.B.defined() ? B(d, rows + gate * kHidden + j) : 0;
    for (size_t k = 0; k < kHidden; ++k) a += h[k] * R(d, gate * kHidden + j, k);
    return a;
  };
  const auto peep = [&](const Row& c, size_t gate, size_t j) {
    return layer.P.defined() ? P(d, gate * kHidden + j) * c[j] : 0;
  };
  const bool relu = !layer.activations.empty() && layer.activations[0] == "Relu";
  run(
      x, d == 1,
      [&](const Row& in, Row& h, Row& c) {
        const Row before = h, cell = c;
        for (size_t j = 0; j < kHidden; ++j) {
          if (layer.op_type == "RNN") {
            const double a = xw(in, 0, j) + hr(before, 0, j);
            h[j] = relu ? std::max(a, 0.0) : std::tanh(a);
          } else if (layer.op_type == "GRU") {  // gates z, r, h
            const double z = sigma(xw(in, 0, j) + hr(before, 0, j));
            double candidate;
            if (layer.linear_before_reset) {
              candidate = tanh_of(xw(in, 2, j) + sigma(xw(in, 1, j) + hr(before, 1, j)) * hr(before, 2, j));
            } else {
              Row reset = before;
              for (size_t k = 0; k < kHidden; ++k) reset[k] *= sigma(xw(in, 1, k) + hr(before, 1, k));
              candidate = tanh_of(xw(in, 2, j) + hr(reset, 2, j));
            }
            h[j] = (1 - z) * candidate + z * before[j];
          } else {  // gates i, o, f, c; peepholes i, o, f
            const double i = sigma(xw(in, 0, j) + hr(before, 0, j) + peep(cell, 0, j));
            const double f = sigma(xw(in, 2, j) + hr(before, 2, j) + peep(cell, 2, j));
            c[j] = f * cell[j] + i * tanh_of(xw(in, 3, j) + hr(before, 3, j));
            const double o = sigma(xw(in, 1, j) + hr(before, 1, j) + peep(c, 1, j));
            h[j] = o * tanh_of(c[j]);
          }
        }
      },
      y, d * kHidden, width);
}

// The directions side by side.
Tensor onnx(const nn::OnnxLayer& layer, const Tensor& x) {
  const size_t directions = layer.direction == "bidirectional" ? 2 : 1, width = directions * kHidden;
  std::vector<double> y(kTime * kBatch * width);
  for (size_t d = 0; d < directions; ++d) onnx_direction(layer, Values(x), d, y, width);
  return Tensor::from(y, {kTime, kBatch, static_cast<int64_t>(width)});
}

// Keras's layers, by the code of their cells.
Tensor keras(const nn::KerasLayer& layer, const Tensor& x) {
  const size_t directions = layer.bidirectional ? 2 : 1, each = layer.use_bias ? 3 : 2;
  const size_t width = directions * kHidden;
  std::vector<double> y(kTime * kBatch * width);
  const bool two = layer.class_name == "GRU" && layer.reset_after;
  for (size_t d = 0; d < directions; ++d) {
    const Values kernel(layer.weights[d * each]), recurrent(layer.weights[d * each + 1]);
    const Values bias(layer.use_bias ? layer.weights[d * each + 2] : two ? zeros({2, 64}) : zeros({64}));
    const auto dot_x = [&](const Row& in, size_t column) {
      double a = !layer.use_bias ? 0 : two ? bias(0, column) : bias(column);
      for (size_t k = 0; k < kIn; ++k) a += in[k] * kernel(k, column);
      return a;
    };
    const auto dot_h = [&](const Row& h, size_t column) {
      double a = layer.use_bias && two ? bias(1, column) : 0;
      for (size_t k = 0; k < kHidden; ++k) a += h[k] * recurrent(k, column);
      return a;
    };
    run(
        Values(x), d == 1,
        [&](const Row& in, Row& h, Row& c) {
          const Row before = h;
          for (size_t j = 0; j < kHidden; ++j) {
            const auto sum_of = [&](size_t gate) {
              return dot_x(in, gate * kHidden + j) + dot_h(before, gate * kHidden + j);
            };
            if (layer.class_name == "SimpleRNN") {
              const double a = sum_of(0);
              h[j] = layer.activation == "relu"     ? std::max(a, 0.0)
                     : layer.activation == "linear" ? a
                                                    : std::tanh(a);
            } else if (layer.class_name == "LSTM") {  // i, f, c, o
              c[j] = sigma(sum_of(1)) * c[j] + sigma(sum_of(0)) * std::tanh(sum_of(2));
              h[j] = sigma(sum_of(3)) * std::tanh(c[j]);
            } else {  // z, r, h
              const size_t at = 2 * kHidden + j;
              double hh;
              if (layer.reset_after) {
                hh = std::tanh(dot_x(in, at) + sigma(sum_of(1)) * dot_h(before, at));
              } else {
                Row reset = before;
                for (size_t k = 0; k < kHidden; ++k) {
                  reset[k] *= sigma(dot_x(in, kHidden + k) + dot_h(before, kHidden + k));
                }
                hh = std::tanh(dot_x(in, at) + dot_h(reset, at));
              }
              const double z = sigma(sum_of(0));
              h[j] = z * before[j] + (1 - z) * hh;
            }
          }
        },
        y, d * kHidden, width);
  }
  const Tensor both = Tensor::from(y, {kTime, kBatch, static_cast<int64_t>(width)});
  if (layer.merge_mode != "sum" || directions == 1) return both;
  const auto [ahead, back] = split<2>(both);
  return ahead + back;
}

// What our layers compute from the weights.
template <class Cell, class... More>
Tensor ours(const nn::LayerWeights& w, const Tensor& x, nn::Bias bias, const More&... more) {
  nn::CellOptions cell = w.cell();
  cell.bias = bias;
  nn::Recurrent<Cell> layers(
      {}, kIn, kHidden, {.bidirectional = w.directions.size() == 2, .merge = w.merge, .cell = cell}, more...);
  layers.load_state_dict(w.state_dict(cell));
  return layers(x).output;
}

Tensor ours(const nn::LayerWeights& w, const Tensor& x, nn::Bias bias = nn::Bias::two) {
  const nn::PeepholeOptions peephole{.form = nn::Peephole::graves};
  if (w.directions[0].weight_ch.defined()) return ours<nn::PeepholeLSTMCell>(w, x, bias, peephole);
  if (w.kind == nn::CellKind::lstm) return ours<nn::LSTMCell>(w, x, bias);
  if (w.kind == nn::CellKind::gru) return ours<nn::GRUCell>(w, x, bias);
  return ours<nn::RNNCell>(w, x, bias);
}

int64_t gates_of(const std::string& name) { return name == "LSTM" ? 4 : name == "GRU" ? 3 : 1; }

nn::OnnxLayer random_onnx(const std::string& op, bool both) {
  const int64_t d = both ? 2 : 1, rows = gates_of(op) * kHidden;
  return {.op_type = op,
          .W = normal({d, rows, kIn}),
          .R = normal({d, rows, kHidden}),
          .B = normal({d, 2 * rows}),
          .direction = both ? "bidirectional" : "forward"};
}

nn::KerasLayer random_keras(const std::string& name, bool both, bool reset_after = true) {
  const int64_t rows = gates_of(name) * kHidden;
  nn::KerasLayer layer{.class_name = name, .bidirectional = both, .reset_after = reset_after};
  for (int d = 0; d < (both ? 2 : 1); ++d) {
    const Shape bias = name == "GRU" && reset_after ? Shape{2, rows} : Shape{rows};
    for (const Shape& shape : {Shape{kIn, rows}, Shape{kHidden, rows}, bias}) {
      layer.weights.push_back(normal(shape));
    }
  }
  return layer;
}

void check_onnx(const nn::OnnxLayer& layer) {
  INFO(layer.op_type, " ", layer.direction, " ", layer.linear_before_reset, " ", layer.P.defined());
  const Tensor x = normal({kTime, kBatch, kIn});
  const Tensor want = onnx(layer, x);
  const nn::LayerWeights w = nn::from_onnx(layer);
  CHECK(distance(ours(w, x), want) < 1e-14);
  const nn::OnnxLayer back = nn::to_onnx(w);
  CHECK(distance(onnx(back, x), want) < 1e-14);
  CHECK(distance(back.W, layer.W) == 0);
  CHECK(distance(back.R, layer.R) == 0);
}

void check_keras(const nn::KerasLayer& layer) {
  INFO(layer.class_name, " ", layer.bidirectional, " ", layer.reset_after);
  const Tensor x = normal({kTime, kBatch, kIn});
  const Tensor want = keras(layer, x);
  const nn::LayerWeights w = nn::from_keras(layer);
  CHECK(distance(ours(w, x), want) < 1e-14);
  const nn::KerasLayer back = nn::to_keras(w);
  CHECK(distance(keras(back, x), want) < 1e-14);
  CHECK(distance(back.weights[0], layer.weights[0]) == 0);
  CHECK(distance(back.weights[1], layer.weights[1]) == 0);
}

}  // namespace

TEST_CASE("convert: ONNX's nodes compute the same here, and ours there") {
  const DefaultDType f64(DType::f64);
  manual_seed(1);
  for (const bool both : {false, true}) {
    for (const char* op : {"RNN", "GRU", "LSTM"}) {
      nn::OnnxLayer layer = random_onnx(op, both);
      check_onnx(layer);
      layer.B = {};
      check_onnx(layer);
    }
    nn::OnnxLayer gru = random_onnx("GRU", both), lstm = random_onnx("LSTM", both),
                  rnn = random_onnx("RNN", both);
    gru.linear_before_reset = true;
    check_onnx(gru);
    lstm.P = normal({both ? 2 : 1, 3 * kHidden});
    check_onnx(lstm);
    rnn.activations.assign(both ? 2 : 1, "Relu");
    check_onnx(rnn);
  }
  nn::OnnxLayer explicitly = random_onnx("LSTM", true);
  explicitly.activations = {"Sigmoid", "Tanh", "tanh", "Sigmoid", "Tanh", "Tanh"};
  check_onnx(explicitly);
}

TEST_CASE("convert: Keras's layers compute the same here, and ours there") {
  const DefaultDType f64(DType::f64);
  manual_seed(2);
  for (const bool both : {false, true}) {
    for (const char* name : {"SimpleRNN", "LSTM", "GRU"}) check_keras(random_keras(name, both));
    check_keras(random_keras("GRU", both, false));
  }
  nn::KerasLayer summed = random_keras("LSTM", true);
  summed.merge_mode = "sum";
  check_keras(summed);
  for (const char* activation : {"relu", "linear"}) {
    nn::KerasLayer rnn = random_keras("SimpleRNN", false);
    rnn.activation = activation;
    check_keras(rnn);
  }
  nn::KerasLayer bare = random_keras("GRU", false);
  bare.use_bias = false;
  bare.weights.pop_back();
  const Tensor x = normal({kTime, kBatch, kIn});
  CHECK(distance(ours(nn::from_keras(bare), x, nn::Bias::none), keras(bare, x)) < 1e-14);
  CHECK(distance(ours(nn::from_keras(bare), x, nn::Bias::two), keras(bare, x)) < 1e-14);
}

TEST_CASE("convert: a layer of a stack goes to ONNX and to Keras, with one bias or two") {
  const DefaultDType f64(DType::f64);
  manual_seed(3);
  const nn::GRU stack({}, kHidden, kHidden, {.num_layers = 2});
  const Tensor x = normal({kTime, kBatch, kIn});
  nn::GRU first({}, kIn, kHidden);
  NamedTensors state;
  for (const auto& [name, tensor] : first.state_dict()) state.emplace_back("encoder." + name, tensor);
  const auto w = nn::weights_of(nn::CellKind::gru, state, {.prefix = "encoder."});
  CHECK(distance(onnx(nn::to_onnx(w), x), first(x).output) < 1e-14);
  CHECK(distance(keras(nn::to_keras(w), x), first(x).output) < 1e-14);
  const auto second = nn::weights_of(nn::CellKind::gru, stack.state_dict(), {.layer = 1});
  CHECK(distance(second.directions[0].weight_hh, stack.cell(1).weight_hh) == 0);
  CHECK(second.state_dict({}, 1)[3].first == "bias_hh_l1");

  nn::LSTM one({}, kIn, kHidden, {.bidirectional = true, .cell = {.bias = nn::Bias::one}});
  const auto lstm = nn::weights_of(nn::CellKind::lstm, one.state_dict(), {.cell = {.bias = nn::Bias::one}});
  CHECK(distance(onnx(nn::to_onnx(lstm), x), one(x).output) < 1e-14);
  CHECK(distance(keras(nn::to_keras(lstm), x), one(x).output) < 1e-14);
  CHECK(distance(ours(lstm, x, nn::Bias::two), one(x).output) < 1e-14);
  nn::LSTM two({}, kIn, kHidden);
  const auto joint = nn::weights_of(nn::CellKind::lstm, two.state_dict());
  CHECK(distance(ours(joint, x, nn::Bias::one), two(x).output) < 1e-14);
  CHECK(distance(keras(nn::to_keras(joint), x), two(x).output) < 1e-14);
  const nn::CellOptions before{.reset_after = false};
  nn::GRU textbook({}, kIn, kHidden, {.cell = before});
  const auto gru = nn::weights_of(nn::CellKind::gru, textbook.state_dict(), {.cell = before});
  CHECK(distance(keras(nn::to_keras(gru), x), textbook(x).output) < 1e-14);
  CHECK(distance(onnx(nn::to_onnx(gru), x), textbook(x).output) < 1e-14);
}

TEST_CASE("convert: what has no counterpart is refused") {
  const auto refused = [](const auto& call, const char* want) {
    INFO(want);
    CHECK_THROWS_WITH_AS(call(), doctest::Contains(want), Error);
  };
  const auto onnx_with = [&](const char* op, const auto& change, const char* want) {
    nn::OnnxLayer layer = random_onnx(op, false);
    change(layer);
    refused([&] { return nn::from_onnx(layer); }, want);
  };
  onnx_with(
      "LSTM", [](auto& l) { l.clip = 3; }, "clip 3");
  onnx_with(
      "LSTM", [](auto& l) { l.input_forget = true; }, "input_forget");
  onnx_with(
      "LSTM", [](auto& l) { l.direction = "reverse"; }, "direction 'reverse': want forward or bidirectional");
  onnx_with(
      "LSTM", [](auto& l) { l.direction = "bidirectional"; }, "R [1, 8, 2]: want [2, 8, 2]");
  onnx_with(
      "LSTM",
      [](auto& l) {
        l.activations = {"HardSigmoid", "Tanh", "Tanh"};
      },
      "HardSigmoid: want sigmoid");
  onnx_with(
      "LSTM", [](auto& l) { l.activations = {"Sigmoid"}; }, "1 activations: want 3");
  onnx_with(
      "GRU",
      [](auto& l) {
        l.activations = {"Sigmoid", "Relu"};
      },
      "is Relu: want tanh");
  onnx_with(
      "RNN", [](auto& l) { l.activations = {"Affine"}; }, "an RNN with Affine: want Tanh, Relu or Sigmoid");
  onnx_with(
      "GRU",
      [](auto& l) {
        l.P = zeros({1, 6});
      },
      "peepholes P: want an LSTM");
  onnx_with(
      "GRU",
      [](auto& l) {
        l.B = zeros({1, 6});
      },
      "B [1, 6]: want [1, 12]");
  onnx_with(
      "GRU", [](auto& l) { l.W = {}; }, "no W [directions");
  onnx_with(
      "GRU",
      [](auto& l) {
        l.R = zeros({6, 2});
      },
      "no R [directions");
  onnx_with(
      "RNN", [](auto& l) { l.op_type = "Conv"; }, "a layer 'Conv': want RNN, GRU or LSTM");

  const auto keras_with = [&](const char* name, const auto& change, const char* want) {
    nn::KerasLayer layer = random_keras(name, false);
    change(layer);
    refused([&] { return nn::from_keras(layer); }, want);
  };
  keras_with(
      "LSTM", [](auto& l) { l.recurrent_activation = "hard_sigmoid"; }, "'hard_sigmoid': want sigmoid");
  keras_with(
      "LSTM", [](auto& l) { l.activation = "relu"; }, "activation 'relu' of a LSTM: want tanh");
  keras_with(
      "SimpleRNN", [](auto& l) { l.activation = "elu"; }, "want tanh, relu, sigmoid or linear");
  keras_with(
      "LSTM", [](auto& l) { l.go_backwards = true; }, "go_backwards");
  keras_with(
      "LSTM", [](auto& l) { l.weights.pop_back(); }, "2 weights: want 3");
  keras_with(
      "GRU", [](auto& l) { l.reset_after = false; }, "bias [2, 6]: want [6]");
  keras_with(
      "GRU",
      [](auto& l) {
        l.weights[1] = zeros({2, 5});
      },
      "recurrent_kernel [2, 5]: want [2, 6]");
  keras_with(
      "GRU", [](auto& l) { l.weights[0] = {}; }, "no kernel");
  keras_with(
      "Dense", [](auto&) {}, "a layer 'Dense': want SimpleRNN, GRU or LSTM");
  nn::KerasLayer average = random_keras("LSTM", true);
  average.merge_mode = "ave";
  refused([&] { return nn::from_keras(average); }, "merge_mode 'ave': want concat or sum");

  // Towards cells that compute something else: PyTorch's GRU, one bias, no bias, another activation.
  const auto textbook = nn::from_keras(random_keras("GRU", false, false));
  refused([&] { return textbook.state_dict(); },
          "before the product: want cells with reset_after = false, which PyTorch has not");
  const auto after = nn::from_keras(random_keras("GRU", false));
  refused([&] { return after.state_dict({.reset_after = false}); }, "want cells with reset_after = true");
  refused([&] { return after.state_dict({.bias = nn::Bias::one}); }, "want two biases");
  refused([&] { return after.state_dict({.bias = nn::Bias::none}); }, "weights with biases");
  const auto lstm = nn::from_keras(random_keras("LSTM", true));
  refused([&] { return lstm.state_dict({.proj_size = 1}); }, "a projection");
  nn::KerasLayer rectified = random_keras("SimpleRNN", false);
  rectified.activation = "relu";
  refused([&] { return nn::from_keras(rectified).state_dict(); },
          "an RNN with relu: want cells with that activation");

  const auto plain = nn::from_keras(random_keras("SimpleRNN", false));
  refused([&] { return plain.state_dict({.activation = reel::relu}); }, "an RNN with tanh: want cells");
  refused(
      [&] {
        return nn::weights_of(nn::CellKind::rnn, plain.state_dict(), {.cell = {.activation = reel::relu}});
      },
      "want its name");
  const auto named = nn::weights_of(nn::CellKind::rnn, plain.state_dict(),
                                    {.cell = {.activation = reel::relu}, .activation = "relu"});
  refused([&] { return nn::weights_of(nn::CellKind::rnn, plain.state_dict(), {.activation = "elu"}); },
          "an RNN with 'elu'");
  CHECK(nn::to_onnx(named).activations == std::vector<std::string>{"Relu"});

  // From ours to what they have not.
  nn::OnnxLayer peepholes = random_onnx("LSTM", false);
  peepholes.P = normal({1, 6});
  refused([&] { return nn::to_keras(nn::from_onnx(peepholes)); }, "an LSTM with peepholes");
  CHECK_THROWS_WITH_AS(nn::LSTM({}, kIn, kHidden).load_state_dict(nn::from_onnx(peepholes).state_dict()),
                       doctest::Contains("'weight_ch_l0' [6] is unknown"), Error);
  nn::KerasLayer summed = random_keras("LSTM", true);
  summed.merge_mode = "sum";
  refused([&] { return nn::to_onnx(nn::from_keras(summed)); }, "two directions summed");
  const nn::LSTM projected({}, kIn, kHidden, {.cell = {.proj_size = 1}});
  refused([&] { return nn::weights_of(nn::CellKind::lstm, projected.state_dict()); }, "a projection");
  const nn::Recurrent<nn::PeepholeLSTMCell> previous({}, kIn, kHidden);
  refused([&] { return nn::weights_of(nn::CellKind::lstm, previous.state_dict()); }, "want form graves");
  refused([&] { return nn::weights_of(nn::CellKind::gru, projected.state_dict(), {.layer = 7}); },
          "no weight_ih");
  refused([&] { return nn::weights_of(nn::CellKind::gru, nn::LSTM({}, 3, 2).state_dict()); },
          "weight_ih [8, 3]");
}
