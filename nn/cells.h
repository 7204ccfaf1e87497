// Recurrent cells as their equations. x [batch, in], states [batch, hidden].
#pragma once

#include <array>
#include <string>

#include "nn/init.h"
#include "nn/module.h"

namespace reel::nn {

// PyTorch adds two bias vectors where the textbooks write one.
enum class Bias { two, one, none };

enum class Activation { tanh, relu, sigmoid };

struct CellOptions {
  Bias bias = Bias::two;
  Activation activation = Activation::tanh;  // RNNCell
  bool reset_after = true;                   // GRUCell: PyTorch's form; false: the textbook's
  init::Init init = {};     // of the weights and biases; unset: U(-1/sqrt(hidden), 1/sqrt(hidden))
  std::string suffix = {};  // of the parameters' names: "_l0", "_l1_reverse"
};

// The weights that all three share: weight_ih [gates * hidden, in], weight_hh [gates * hidden, hidden], and
// biases.
class GatedWeights : public Module {
 public:
  GatedWeights(Member at, int64_t in, int64_t hidden, int64_t gates, const CellOptions& options);

  int64_t input_size() const { return weight_ih.size(1); }
  int64_t hidden_size() const { return weight_hh.size(1); }

  Tensor weight_ih, weight_hh, bias_ih, bias_hh;  // biases may be undefined

 protected:
  Tensor from_input(const Tensor& x) const;   // x W_ih^T + b_ih
  Tensor from_hidden(const Tensor& h) const;  // h W_hh^T + b_hh
};

// h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
class RNNCell : public GatedWeights {
 public:
  using State = Tensor;
  RNNCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& h) const;
  State initial(int64_t batch) const;

 private:
  Activation activation_;
};

struct LSTMState {
  Tensor h, c;
  std::array<Tensor*, 2> parts() { return {&h, &c}; }
};

// i, f, o = sigmoid(W x + b + U h + b'), g = tanh(..), c' = f c + i g, h' = o tanh(c'); gates in the order i,
// f, g, o.
class LSTMCell : public GatedWeights {
 public:
  using State = LSTMState;
  LSTMCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& s) const;
  State initial(int64_t batch) const;
};

// r, z = sigmoid(W x + b + U h + b'), h' = (1 - z) n + z h; gates in the order r, z, n. The candidate n is
//   reset_after:  tanh(W_n x + b_n + r (U_n h + b'_n))   (PyTorch, cuDNN)
//   textbook:     tanh(W_n x + b_n + U_n (r h) + b'_n)   (Cho et al. 2014, where z and 1 - z trade places)
class GRUCell : public GatedWeights {
 public:
  using State = Tensor;
  GRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options = {});
  State operator()(const Tensor& x, const State& h) const;
  State initial(int64_t batch) const;

 private:
  bool reset_after_;
};

}  // namespace reel::nn
