// vanishing: how fast the gradient dies or explodes on its way back through an RNN, a GRU and an LSTM
// Subject: Gradients through time
#include <fmt/format.h>

#include <cmath>

#include "examples/common/optimizer.h"
#include "examples/common/result.h"
#include "examples/common/svg.h"
#include "examples/vanishing/bptt.h"
#include "reel.h"

namespace reel::examples {

namespace {

using Results = std::vector<Field>;

struct Settings {
  CommonFlags common{.hidden = 32};
  long length = 100;
  double forget_bias = 3;

  void declare(Flags& flags) {
    add_common(flags, common, 0);
    flags.whole("--length", length, "steps that gradients flow back through", 10, 1000);
    flags.number("--forget-bias", forget_bias, "of the LSTM's forget gates", -20, 20);
  }
};

double norm(const Tensor& t) {
  double sum = 0;
  for (const double x : t.to_vector<double>()) sum += x * x;
  return std::sqrt(sum);
}

// |dE_T/dh_t| against the lag T - t, E_T a random direction of the last h. `states` are the h (or h and c).
Series gradient_norms(const std::string& name, const std::vector<Tensors>& states) {
  const Tensor& last = states.back()[0];
  const Tensor error = sum(last * normal(last.shape(), 0, 1, last.dtype()));
  Tensors all;
  for (const Tensors& parts : states) all.insert(all.end(), parts.begin(), parts.end());
  const Tensors gradients = grad({error}, all, {.create_graph = false});
  Series series{name, {}, {}};
  const size_t parts = states[0].size(), time = states.size();
  for (size_t lag = 0; lag < time; ++lag) {
    double square = 0;
    for (size_t p = 0; p < parts; ++p) square += std::pow(norm(gradients[(time - 1 - lag) * parts + p]), 2);
    series.x.push_back(static_cast<double>(lag));
    series.y.push_back(std::sqrt(square));
  }
  return series;
}

// The factor a step: least squares on the logarithm, over the later half, where the largest eigenvalue
// reigns.
double factor_a_step(const Series& s) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (size_t k = s.x.size() / 2; k < s.x.size(); ++k) {
    const double log_norm = std::log(s.y[k]);
    n += 1, x += s.x[k], y += log_norm, xx += s.x[k] * s.x[k], xy += s.x[k] * log_norm;
  }
  return std::exp((n * xy - x * y) / (n * xx - x * x));
}

// An RNN whose U has this spectral radius, near h = 0, where tanh is the identity: |dE_T/dh_t| ~
// radius^(T-t).
Series at_radius(const Settings& s, double radius, double& measured) {
  const int64_t hidden = s.common.hidden;
  nn::RNNCell cell({}, 1, hidden, {.bias = nn::Bias::none, .init = nn::init::normal(0, 1)});
  const auto size = static_cast<size_t>(hidden);
  const double scale = radius / spectral_radius({size, size, cell.weight_hh.to_vector<double>()});
  cell.weight_hh.assign(detach(cell.weight_hh) * scale);
  std::vector<Tensors> states{{cell.initial(16)}};
  for (long t = 0; t < s.length; ++t) states.push_back({cell(normal({16, 1}, 0, 1e-6), states.back()[0])});
  states.erase(states.begin());  // h_0 does not depend on anything
  Series series = gradient_norms(fmt::format("measured, spectral radius {}", radius), states);
  measured = factor_a_step(series);
  return series;
}

// Beside |lambda|^lag, which is laid through the middle of what it predicts.
Series prediction(const Series& measured, double radius) {
  Series line{fmt::format("predicted, {}^lag", radius), measured.x, {}, true};
  const size_t middle = measured.x.size() / 2;
  for (const double lag : line.x) {
    line.y.push_back(measured.y[middle] * std::pow(radius, lag - measured.x[middle]));
  }
  return line;
}

Results radii(const Settings& s) {
  Results results;
  LineChart chart{.title = "Gradient of an RNN against the lag",
                  .x_label = "lag T - t",
                  .y_label = "|dE_T/dh_t|",
                  .series = {},
                  .log_y = true};
  for (const auto& [name, radius] : {std::pair{"below", 0.9}, {"at", 1.0}, {"above", 1.1}}) {
    double measured = 0;
    const Series series = at_radius(s, radius, measured);
    chart.series.push_back(series);
    chart.series.push_back(prediction(series, radius));
    say("spectral radius {:.2f}: the gradient changes by a factor of {:.4f} a step\n", radius, measured);
    results.emplace_back(fmt::format("factor_{}", name), measured);
  }
  write_svg(s.common.out + "/radius.svg", line_chart(chart));
  return results;
}

// All states of a cell that reads noise.
template <class Cell>
std::vector<typename Cell::State> states_of(const Cell& cell, const Tensor& x) {
  std::vector<typename Cell::State> states;
  for (int64_t t = 0; t < x.size(0); ++t) {
    states.push_back(cell(select(x, 0, t), t == 0 ? cell.initial(x.size(1)) : states.back()));
  }
  return states;
}

template <class Cell>
Series norms_of(const std::string& name, const Cell& cell, const Tensor& x) {
  std::vector<Tensors> parts;
  for (auto& state : states_of(cell, x)) {
    parts.emplace_back();
    for (Tensor* part : nn::parts(state)) parts.back().push_back(*part);
  }
  return gradient_norms(name, parts);
}

// As PyTorch initialises them, and an LSTM whose forget gates begin nearly open.
void cells(const Settings& s, const Tensor& x, const nn::LSTMCell& open, Results& results) {
  const int64_t in = x.size(2), hidden = s.common.hidden;
  const std::vector<Series> all{norms_of("RNN", nn::RNNCell({}, in, hidden), x),
                                norms_of("GRU", nn::GRUCell({}, in, hidden), x),
                                norms_of("LSTM", nn::LSTMCell({}, in, hidden), x),
                                norms_of(fmt::format("LSTM, forget bias {}", s.forget_bias), open, x)};
  for (const Series& series : all) {
    say("{:<22} {:.1e} of the gradient is left after {} steps\n", series.name, series.y.back() / series.y[0],
        s.length - 1);
  }
  results.insert(results.end(), {{"left_rnn", all[0].y.back() / all[0].y[0]},
                                 {"left_gru", all[1].y.back() / all[1].y[0]},
                                 {"left_lstm", all[2].y.back() / all[2].y[0]},
                                 {"left_lstm_open", all[3].y.back() / all[3].y[0]}});
  write_svg(s.common.out + "/cells.svg", line_chart({.title = "Gradient against the lag, before training",
                                                     .x_label = "lag T - t",
                                                     .y_label = "|dE_T/ds_t|",
                                                     .series = all,
                                                     .log_y = true}));
}

// |dE_T/dc_t| of an LSTM, and what flows through the cells alone: dE_T/dc_T times f_T f_(T-1) .. f_(t+1).
void forget_gates(const Settings& s, const Tensor& x, const nn::LSTMCell& cell, Results& results) {
  const auto states = states_of(cell, x);
  std::vector<Tensors> c;
  for (const auto& state : states) c.push_back({state.c});
  const Tensor error = sum(states.back().h * normal(states.back().h.shape()));
  Tensors wanted;
  for (const auto& state : states) wanted.push_back(state.c);
  const Tensors gradients = grad({error}, wanted, {.create_graph = false});

  Series measured{"measured", {}, {}}, product{"product of the forget gates", {}, {}, true};
  Tensor through = gradients.back();
  for (size_t lag = 0; lag < states.size(); ++lag) {
    const size_t t = states.size() - 1 - lag;
    measured.x.push_back(static_cast<double>(lag)), measured.y.push_back(norm(gradients[t]));
    product.x.push_back(static_cast<double>(lag)), product.y.push_back(norm(through));
    if (t == 0) break;
    const Tensor gates = matmul(select(x, 0, static_cast<int64_t>(t)), transpose(cell.weight_ih, 0, 1)) +
                         matmul(states[t - 1].h, transpose(cell.weight_hh, 0, 1)) + cell.bias_ih;
    through = detach(through * sigmoid(split<4>(gates)[1]));
  }
  const double factor = factor_a_step(measured), gates = factor_a_step(product);
  say("LSTM: the gradient changes by a factor of {:.4f} a step, the product of the forget gates by {:.4f}\n",
      factor, gates);
  results.insert(results.end(), {{"factor_lstm", factor}, {"factor_forget_gates", gates}});
  write_svg(s.common.out + "/forget.svg", line_chart({.title = "LSTM: the gradient and its forget gates",
                                                      .x_label = "lag T - t",
                                                      .y_label = "|dE_T/dc_t|",
                                                      .series = {measured, product},
                                                      .log_y = true}));
}

// The lecture's derivation, and the engine, on the same sigmoid RNN in f64: the largest difference of any
// entry.
double by_hand(const Settings& s) {
  const DefaultDType f64(DType::f64);
  const int64_t in = 3, hidden = s.common.hidden, out = 2;
  Tensor w = normal({hidden, in}), u = normal({hidden, hidden}, 0, 0.3), v = normal({out, hidden});
  for (Tensor* parameter : {&w, &u, &v}) parameter->requires_grad_();
  const auto matrix = [](const Tensor& t) {
    return Matrix{static_cast<size_t>(t.size(0)), static_cast<size_t>(t.size(1)), t.to_vector<double>()};
  };
  std::vector<Vector> xs, ys;
  Tensor z = zeros({1, hidden}), error = zeros({});
  for (long t = 0; t < s.length; ++t) {
    const Tensor x = normal({1, in}), y = uniform({1, out});
    xs.push_back(x.to_vector<double>()), ys.push_back(y.to_vector<double>());
    z = sigmoid(matmul(x, transpose(w, 0, 1)) + matmul(z, transpose(u, 0, 1)));
    error = error + 0.5 * mse_loss(sigmoid(matmul(z, transpose(v, 0, 1))), y, Reduction::sum);
  }
  error.backward();
  const BpttResult hand = bptt({matrix(w), matrix(u), matrix(v)}, xs, ys);
  double worst = std::abs(hand.error - error.item());
  const auto compare = [&](const Tensor& engine, const Matrix& ours) {
    const auto values = engine.to_vector<double>();
    for (size_t k = 0; k < values.size(); ++k) worst = std::max(worst, std::abs(values[k] - ours.values[k]));
  };
  compare(w.grad(), hand.gradient.w), compare(u.grad(), hand.gradient.u), compare(v.grad(), hand.gradient.v);
  say("BPTT by hand and the engine differ by at most {:.1e}\n", worst);
  return worst;
}

int run(const Settings& s) {
  Results results = radii(s);
  const Tensor x = normal({s.length, 16, 8});
  const double bound = 1 / std::sqrt(static_cast<double>(s.common.hidden));
  nn::LSTMCell open({}, 8, s.common.hidden,
                    {.bias = nn::Bias::one, .init = nn::init::uniform(-bound, bound)});
  const Tensor hidden_zeros = zeros({s.common.hidden});
  open.bias_ih.assign(
      detach(open.bias_ih) +
      concat({hidden_zeros, full({s.common.hidden}, s.forget_bias), hidden_zeros, hidden_zeros}, 0));
  // With a small U, little flows back through h and the gates beside what the cells carry.
  open.weight_hh.assign(0.05 * detach(open.weight_hh));
  cells(s, x, open, results);
  forget_gates(s, x, open, results);
  results.emplace_back("bptt_difference", by_hand(s));
  say("pictures {0}/radius.svg, {0}/cells.svg and {0}/forget.svg\n", s.common.out);
  print_result(results);
  return 0;
}

}  // namespace

}  // namespace reel::examples

int main(int argc, char** argv) {
  using namespace reel::examples;
  Flags flags("vanishing",
              "Measures the gradient on its way back through time, beside what theory predicts.");
  Settings s;
  s.declare(flags);
  return run_main(argc, argv, flags, [&] {
    if (flags.given("--load") || flags.given("--save") || flags.given("--resume")) {
      throw WrongFlag("vanishing trains no model: it has nothing to --load, --save or --resume.");
    }
    const auto precision = start_engine(s.common);
    return run(s);
  });
}
