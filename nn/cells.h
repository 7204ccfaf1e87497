// The three cells that everybody knows, as their equations. x [batch, in], states [batch, hidden].
#pragma once

#include <array>
#include <functional>
#include <string>

#include "nn/init.h"
#include "nn/module.h"

namespace reel::nn {

// PyTorch adds two bias vectors where the textbooks write one.
enum class Bias { two, one, none };

// Any function of a tensor: reel::relu, [](const Tensor& a) { return leaky_relu(a, 0.1); }, ..
using Activation = std::function<Tensor(const Tensor&)>;

struct CellOptions {
  Bias bias = Bias::two;
  Activation activation = {};  // of RNNCell's and JordanCell's hidden units; unset: tanh
  bool reset_after = true;     // GRUCell: PyTorch's form; false: the textbook's
  int64_t proj_size = 0;       // LSTMCell: h is projected to so many units; 0: it is not
  init::Init init = {};        // of the weights and biases; unset: U(-1/sqrt(hidden), 1/sqrt(hidden))
  std::string suffix = {};     // of the parameters' names: "_l0", "_l1_reverse"
};

// The weights that gated cells share: weight_ih [gates * hidden, in], weight_hh [gates * hidden, hidden], and
// biases [gates * hidden]. `recurrent` is the width of what comes back, where that is not hidden.
//
// `drop` holds factors [batch, recurrent] of h wherever a product reads it, and nowhere else: variational
// dropout (Gal and Ghahramani 2016). Undefined: none.
class GatedWeights : public Module {
 public:
  GatedWeights(Member at, int64_t in, int64_t hidden, int64_t gates, const CellOptions& options,
               int64_t recurrent = 0);

  int64_t input_size() const { return weight_ih.size(1); }
  int64_t hidden_size() const { return hidden_; }

  Tensor weight_ih, weight_hh, bias_ih, bias_hh;  // biases may be undefined

 protected:
  Tensor from_input(const Tensor& x) const;                            // x W_ih^T + b_ih
  Tensor from_hidden(const Tensor& h, const Tensor& drop = {}) const;  // h W_hh^T + b_hh
  // The same of gates first to last - 1 alone.
  Tensor from_hidden(const Tensor& h, const Tensor& drop, int64_t first, int64_t last) const;
  Tensor zero_state(int64_t batch, int64_t width) const;

 private:
  int64_t hidden_;
};

// h, or h drop: what a cell's products see.
Tensor dropped(const Tensor& h, const Tensor& drop);

// h' = tanh(W_ih x + b_ih + W_hh h + b_hh)            (Elman 1990; any activation)
// In the stacked form of some lectures, g(W_a [h, x] + b_a): W_a = [W_hh, W_ih], b_a = b_ih + b_hh.
class RNNCell : public GatedWeights {
 public:
  using State = Tensor;
  RNNCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& h, const Tensor& drop = {}) const;
  State initial(int64_t batch) const { return zero_state(batch, hidden_size()); }

 private:
  Activation activation_;
};

struct LSTMState {
  Tensor h, c;
  std::array<Tensor*, 2> parts() { return {&h, &c}; }
};

// i, f, o = sigmoid(W x + b + U h + b'), g = tanh(..), c' = f c + i g, h' = o tanh(c'); gates in the order i,
// f, g, o (Hochreiter and Schmidhuber 1997; Gers et al. 2000). With proj_size h' = W_hr (o tanh(c')), [batch,
// proj_size] (Sak et al. 2014).
class LSTMCell : public GatedWeights {
 public:
  using State = LSTMState;
  LSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const;
  State initial(int64_t batch) const;

  Tensor weight_hr;  // [proj_size, hidden], or undefined

 private:
  Tensor projected(const Tensor& h) const;
};

// r, z = sigmoid(W x + b + U h + b'), h' = (1 - z) n + z h; gates in the order r, z, n. The candidate n is
//   reset_after:  tanh(W_n x + b_n + r (U_n h + b'_n))   (PyTorch, cuDNN)
//   textbook:     tanh(W_n x + b_n + U_n (r h) + b'_n)   (Cho et al. 2014)
// Where a textbook writes h' = (1 - z) h + z n, its z is our 1 - z: the rows of z have the other sign.
class GRUCell : public GatedWeights {
 public:
  using State = Tensor;
  GRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& h, const Tensor& drop = {}) const;
  State initial(int64_t batch) const { return zero_state(batch, hidden_size()); }

 private:
  bool reset_after_;
};

}  // namespace reel::nn
