#include "nn/cells.h"

#include <cmath>

#include "core/structural.h"
#include "ops/ops.h"

namespace reel::nn {

GatedWeights::GatedWeights(Member at, int64_t in, int64_t hidden, int64_t gates, const CellOptions& options)
    : Module(std::move(at)) {
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  weight_ih = parameter("weight_ih" + options.suffix, {gates * hidden, in}, init);
  weight_hh = parameter("weight_hh" + options.suffix, {gates * hidden, hidden}, init);
  if (options.bias != Bias::none) bias_ih = parameter("bias_ih" + options.suffix, {gates * hidden}, init);
  if (options.bias == Bias::two) bias_hh = parameter("bias_hh" + options.suffix, {gates * hidden}, init);
}

Tensor GatedWeights::from_input(const Tensor& x) const {
  const Tensor y = matmul(x, transpose(weight_ih, 0, 1));
  return bias_ih.defined() ? y + bias_ih : y;
}

Tensor GatedWeights::from_hidden(const Tensor& h) const {
  const Tensor y = matmul(h, transpose(weight_hh, 0, 1));
  return bias_hh.defined() ? y + bias_hh : y;
}

RNNCell::RNNCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 1, options), activation_(options.activation) {}

Tensor RNNCell::operator()(const Tensor& x, const Tensor& h) const {
  const Tensor a = from_input(x) + from_hidden(h);
  switch (activation_) {
    case Activation::relu: return relu(a);
    case Activation::sigmoid: return sigmoid(a);
    case Activation::tanh: break;
  }
  return tanh(a);
}

Tensor RNNCell::initial(int64_t batch) const { return full({batch, hidden_size()}, 0, weight_hh.dtype()); }

LSTMCell::LSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 4, options) {}

LSTMState LSTMCell::operator()(const Tensor& x, const LSTMState& s) const {
  const auto [i, f, g, o] = split<4>(from_input(x) + from_hidden(s.h));
  const Tensor c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
  return {.h = sigmoid(o) * tanh(c), .c = c};
}

LSTMState LSTMCell::initial(int64_t batch) const {
  const Tensor zero = full({batch, hidden_size()}, 0, weight_hh.dtype());
  return {zero, zero};
}

GRUCell::GRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 3, options), reset_after_(options.reset_after) {}

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h) const {
  const auto [xr, xz, xn] = split<3>(from_input(x));
  if (reset_after_) {
    const auto [hr, hz, hn] = split<3>(from_hidden(h));
    const Tensor r = sigmoid(xr + hr), z = sigmoid(xz + hz);
    const Tensor n = tanh(xn + r * hn);
    return n + z * (h - n);
  }
  const int64_t hidden = hidden_size();
  const auto recurrent = [&](const Tensor& from, int64_t begin, int64_t end) {
    const Tensor y = matmul(from, transpose(slice(weight_hh, 0, begin * hidden, end * hidden), 0, 1));
    return bias_hh.defined() ? y + slice(bias_hh, 0, begin * hidden, end * hidden) : y;
  };
  const auto [hr, hz] = split<2>(recurrent(h, 0, 2));
  const Tensor r = sigmoid(xr + hr), z = sigmoid(xz + hz);
  const Tensor n = tanh(xn + recurrent(r * h, 2, 3));
  return n + z * (h - n);
}

Tensor GRUCell::initial(int64_t batch) const { return full({batch, hidden_size()}, 0, weight_hh.dtype()); }

}  // namespace reel::nn
