// An LSTM with layer normalisation (Ba, Kiros and Hinton 2016) and peepholes (Gers and Schmidhuber 2000).
#pragma once

#include "nn/cells.h"
#include "nn/recurrent.h"

namespace reel::nn {

// z = LN(W x) gain_ih + LN(U h) gain_hh + b, LN over all four gates together; gates in the order i, f, g, o.
//   i = sigmoid(z_i + p_i c), f = sigmoid(z_f + p_f c), c' = f c + i tanh(z_g),
//   o = sigmoid(z_o + p_o c'), h' = o tanh(LN(c') gain_c + bias_c)
// Options: init (of W, U and b) and suffix.
class LayerNormLSTMCell : public Module {
 public:
  using State = LSTMState;
  LayerNormLSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const;
  State initial(int64_t batch) const;

  Tensor weight_ih, weight_hh, bias;  // [4 hidden, in], [4 hidden, hidden], [4 hidden]
  Tensor gain_ih, gain_hh;            // [4 hidden]
  Tensor peephole;                    // [3 hidden]: p_i, p_f, p_o
  Tensor gain_c, bias_c;              // [hidden]
};

using LayerNormLSTM = Recurrent<LayerNormLSTMCell>;

}  // namespace reel::nn
