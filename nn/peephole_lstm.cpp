#include "nn/peephole_lstm.h"

#include <cmath>

#include "ops/ops.h"

namespace reel::nn {

PeepholeLSTMCell::PeepholeLSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options,
                                   const PeepholeOptions& peephole)
    : GatedWeights(std::move(at), in, hidden, 4, options), peephole_(peephole) {
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const int64_t rows = (peephole.form == Peephole::output ? 1 : 3) * hidden;
  weight_ch = parameter("weight_ch" + options.suffix, peephole.full ? Shape{rows, hidden} : Shape{rows},
                        options.init && peephole.full ? options.init : init::uniform(-bound, bound));
}

Tensor PeepholeLSTMCell::seen(const Tensor& c, int64_t k) const {
  const Tensor v = slice(weight_ch, 0, k * hidden_size(), (k + 1) * hidden_size());
  return peephole_.full ? matmul(c, transpose(v, 0, 1)) : v * c;
}

LSTMState PeepholeLSTMCell::operator()(const Tensor& x, const LSTMState& s, const Tensor& drop) const {
  auto [i, f, g, o] = split<4>(from_input(x) + from_hidden(s.h, drop));
  if (peephole_.form != Peephole::output) {
    i = i + seen(s.c, 0);
    f = f + seen(s.c, 1);
  }
  const Tensor c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
  switch (peephole_.form) {
    case Peephole::output: o = o + seen(c, 0); break;
    case Peephole::previous: o = o + seen(s.c, 2); break;
    case Peephole::graves: o = o + seen(c, 2); break;
  }
  return {.h = sigmoid(o) * (peephole_.output_tanh ? tanh(c) : c), .c = c};
}

LSTMState PeepholeLSTMCell::initial(int64_t batch) const {
  const Tensor zero = zero_state(batch, hidden_size());
  return {zero, zero};
}

}  // namespace reel::nn
