// The GRU with its update gate alone, as some lectures begin with it.
#pragma once

#include "nn/cells.h"

namespace reel::nn {

// u = sigmoid(W_u [c, x] + b_u), c~ = tanh(W_c [c, x] + b_c), c' = u c~ + (1 - u) c; gates in the order u, c.
// [W_u; W_c] = [weight_hh, weight_ih], side by side; where there are two biases they are added.
class SimplifiedGRUCell : public GatedWeights {
 public:
  using State = Tensor;
  SimplifiedGRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& c, const Tensor& drop = {}) const;
  State initial(int64_t batch) const { return zero_state(batch, hidden_size()); }
};

}  // namespace reel::nn
