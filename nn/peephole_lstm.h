// LSTMs whose gates see the cell (Gers and Schmidhuber 2000; Graves 2013).
#pragma once

#include "nn/cells.h"

namespace reel::nn {

// Which gates see which cell.
enum class Peephole {
  output,    // o sees c', the new cell
  previous,  // i, f and o see c
  graves,    // i and f see c, o sees c'
};

struct PeepholeOptions {
  Peephole form = Peephole::previous;
  bool full = false;        // V a matrix; else a vector: a unit sees its own cell
  bool output_tanh = true;  // false: h' = o c'
};

// i, f, o = sigmoid(W x + b + U h + b' + V c), g = tanh(W x + b + U h + b'), c' = f c + i g, h' = o tanh(c'),
// with V c only where `form` says so, and of the c or c' that it says. Rows of W, U and b in the order i, f,
// g, o; weight_ch is V, [seeing gates * hidden], if full [seeing gates * hidden, hidden], in the order i, f,
// o.
class PeepholeLSTMCell : public GatedWeights {
 public:
  using State = LSTMState;
  PeepholeLSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {},
                   const PeepholeOptions& peephole = {});
  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const;
  State initial(int64_t batch) const;

  Tensor weight_ch;

 private:
  // V_k c of the k-th seeing gate.
  Tensor seen(const Tensor& c, int64_t k) const;
  PeepholeOptions peephole_;
};

}  // namespace reel::nn
