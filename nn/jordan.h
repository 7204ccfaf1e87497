// Output recurrence: the previous output, not the hidden state, is what a step sees of the past (Jordan
// 1986).
#pragma once

#include "nn/cells.h"

namespace reel::nn {

struct OutputOptions {
  int64_t size = 0;            // of the output; 0: as many as hidden units
  Activation activation = {};  // of the output; unset: none
};

// h = tanh(W_ih x + b_ih + W_hh y + b_hh), y' = W_hy h + b_hy; the state is y [batch, size], and y_0 = 0. In
// teacher forcing (Steps::target) the next step sees the target instead of y'.
class JordanCell : public GatedWeights {
 public:
  using State = Tensor;
  JordanCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {},
             const OutputOptions& output = {});
  State operator()(const Tensor& x, const State& y, const Tensor& drop = {}) const;
  State initial(int64_t batch) const { return zero_state(batch, weight_hy.size(0)); }

  Tensor weight_hy, bias_hy;  // [size, hidden], [size]; no bias with Bias::none

 private:
  Activation activation_, output_activation_;
};

}  // namespace reel::nn
