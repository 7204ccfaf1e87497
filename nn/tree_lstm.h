// Tree-LSTM (Tai, Socher and Manning 2015).
#pragma once

#include <span>
#include <vector>

#include "core/once.h"
#include "nn/cells.h"
#include "nn/tree.h"

namespace reel::nn {

struct TreeLSTMOptions {
  int64_t children = 2;  // at most so many, each with weights of its own (N-ary); 0: any number (child-sum)
  bool inner_input = true;  // false: only leaves have an x
  init::Init init = {};     // unset: U(-1/sqrt(hidden), 1/sqrt(hidden))
};

// i, o = sigmoid(W x + b + U h~), u = tanh(W_u x + b_u + U_u h~), f_k = sigmoid(W_f x + b_f + U_f h~_k),
// c = i u + sum over k of f_k c_k, h = o tanh(c). What a node sees of its children, and where U_f h~_k
// stands:
//   N-ary:      h~ = [h_1, .., h_N], and each f_k has rows of its own in U, [(3 + N) hidden, N hidden]
//   child-sum:  h~ = sum of h_k, U [3 hidden, hidden]; h~_k = h_k, U_f [hidden, hidden]
// Rows of the weights in the order i, o, u, f. A missing x or child counts as zeros.
class TreeLSTMCell : public Module {
 public:
  using State = LSTMState;
  TreeLSTMCell(Member at, int64_t in, int64_t hidden, const TreeLSTMOptions& options = {});

  // x [batch, in], undefined where the node has none; children [batch, hidden] each.
  State operator()(const Tensor& x, std::span<const State> children) const;

  int64_t hidden_size() const { return hidden_; }

  Tensor weight_ih;  // [4 hidden, in]; without inner_input [3 hidden, in]
  Tensor weight_hh;
  Tensor weight_fh;  // child-sum's U_f
  Tensor bias;       // [4 hidden]

 private:
  State equations(const Tensor& x, std::span<const State> children) const;
  struct Gates {
    Tensor iou;             // [batch, 3 hidden]
    std::vector<Tensor> f;  // [batch, hidden] for each child
  };
  Gates from_children(std::span<const State> children) const;
  Gates from_all(std::span<const State> children) const;
  Gates from_sum(std::span<const State> children) const;

  int64_t hidden_;
  TreeLSTMOptions options_;
  Once once_;  // a tree calls the equations for each of its nodes
};

}  // namespace reel::nn
