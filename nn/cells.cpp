#include "nn/cells.h"

#include <cmath>

#include "core/structural.h"
#include "ops/ops.h"

namespace reel::nn {

GatedWeights::GatedWeights(Member at, int64_t in, int64_t hidden, int64_t gates, const CellOptions& options,
                           int64_t recurrent)
    : Module(std::move(at)), hidden_(hidden) {
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  const Shape bias{gates * hidden};
  weight_ih = parameter("weight_ih" + options.suffix, {gates * hidden, in}, init);
  weight_hh =
      parameter("weight_hh" + options.suffix, {gates * hidden, recurrent > 0 ? recurrent : hidden}, init);
  if (options.bias != Bias::none) bias_ih = parameter("bias_ih" + options.suffix, bias, init);
  if (options.bias == Bias::two) bias_hh = parameter("bias_hh" + options.suffix, bias, init);
}

Tensor GatedWeights::from_input(const Tensor& x) const {
  const Tensor y = matmul(x, transpose(weight_ih, 0, 1));
  return bias_ih.defined() ? y + bias_ih : y;
}

Tensor GatedWeights::from_hidden(const Tensor& h, const Tensor& drop) const {
  const Tensor y = matmul(dropped(h, drop), transpose(weight_hh, 0, 1));
  return bias_hh.defined() ? y + bias_hh : y;
}

Tensor GatedWeights::from_hidden(const Tensor& h, const Tensor& drop, int64_t first, int64_t last) const {
  const int64_t begin = first * hidden_, end = last * hidden_;
  const Tensor y = matmul(dropped(h, drop), transpose(slice(weight_hh, 0, begin, end), 0, 1));
  return bias_hh.defined() ? y + slice(bias_hh, 0, begin, end) : y;
}

Tensor GatedWeights::zero_state(int64_t batch, int64_t width) const {
  return full({batch, width}, 0, weight_hh.dtype());
}

Tensor dropped(const Tensor& h, const Tensor& drop) { return drop.defined() ? h * drop : h; }

RNNCell::RNNCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 1, options), activation_(options.activation) {}

Tensor RNNCell::operator()(const Tensor& x, const Tensor& h, const Tensor& drop) const {
  const Tensor a = from_input(x) + from_hidden(h, drop);
  return activation_ ? activation_(a) : tanh(a);
}

LSTMCell::LSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 4, options, options.proj_size) {
  const int64_t projected = options.proj_size;
  if (projected < 0 || (projected > 0 && projected >= hidden)) {
    fail("[LSTMCell] proj_size {}: want less than hidden {}, or 0 for none", projected, hidden);
  }
  if (projected == 0) return;
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  weight_hr = parameter("weight_hr" + options.suffix, {projected, hidden},
                        options.init ? options.init : init::uniform(-bound, bound));
}

LSTMState LSTMCell::operator()(const Tensor& x, const LSTMState& s, const Tensor& drop) const {
  const auto [i, f, g, o] = split<4>(from_input(x) + from_hidden(s.h, drop));
  const Tensor c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
  return {.h = projected(sigmoid(o) * tanh(c)), .c = c};
}

Tensor LSTMCell::projected(const Tensor& h) const {
  return weight_hr.defined() ? matmul(h, transpose(weight_hr, 0, 1)) : h;
}

LSTMState LSTMCell::initial(int64_t batch) const {
  return {.h = zero_state(batch, weight_hh.size(1)), .c = zero_state(batch, hidden_size())};
}

GRUCell::GRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 3, options), reset_after_(options.reset_after) {}

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h, const Tensor& drop) const {
  const auto [xr, xz, xn] = split<3>(from_input(x));
  if (reset_after_) {
    const auto [hr, hz, hn] = split<3>(from_hidden(h, drop));
    const Tensor r = sigmoid(xr + hr), z = sigmoid(xz + hz);
    const Tensor n = tanh(xn + r * hn);
    return n + z * (h - n);
  }
  const auto [hr, hz] = split<2>(from_hidden(h, drop, 0, 2));
  const Tensor r = sigmoid(xr + hr), z = sigmoid(xz + hz);
  const Tensor n = tanh(xn + from_hidden(r * h, drop, 2, 3));
  return n + z * (h - n);
}

}  // namespace reel::nn
