#include "nn/layer_norm_lstm.h"

#include <cmath>

#include "ops/ops.h"

namespace reel::nn {

LayerNormLSTMCell::LayerNormLSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : Module(std::move(at)) {
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  weight_ih = parameter("weight_ih" + options.suffix, {4 * hidden, in}, init);
  weight_hh = parameter("weight_hh" + options.suffix, {4 * hidden, hidden}, init);
  bias = parameter("bias" + options.suffix, {4 * hidden}, init);
  gain_ih = parameter("gain_ih" + options.suffix, {4 * hidden}, init::constant(1));
  gain_hh = parameter("gain_hh" + options.suffix, {4 * hidden}, init::constant(1));
  peephole = parameter("peephole" + options.suffix, {3 * hidden}, init::uniform(-bound, bound));
  gain_c = parameter("gain_c" + options.suffix, {hidden}, init::constant(1));
  bias_c = parameter("bias_c" + options.suffix, {hidden}, init::constant(0));
}

LSTMState LayerNormLSTMCell::operator()(const Tensor& x, const State& s, const Tensor& drop) const {
  const Tensor from_x = layer_norm(matmul(x, transpose(weight_ih, 0, 1)), gain_ih, bias);
  const Tensor from_h = layer_norm(matmul(dropped(s.h, drop), transpose(weight_hh, 0, 1)), gain_hh, 0.0);
  const auto [i, f, g, o] = split<4>(from_x + from_h);
  const auto [p_i, p_f, p_o] = split<3>(peephole);
  const Tensor c = sigmoid(f + p_f * s.c) * s.c + sigmoid(i + p_i * s.c) * tanh(g);
  return {.h = sigmoid(o + p_o * c) * tanh(layer_norm(c, gain_c, bias_c)), .c = c};
}

LSTMState LayerNormLSTMCell::initial(int64_t batch) const {
  const Tensor zero = full({batch, weight_hh.size(1)}, 0, weight_hh.dtype());
  return {zero, zero};
}

}  // namespace reel::nn
