// The plain recursive network (Goller and Kuechler 1996; Socher et al. 2011).
#pragma once

#include <span>

#include "core/once.h"
#include "nn/cells.h"
#include "nn/tree.h"

namespace reel::nn {

struct RecursiveOptions {
  int64_t children = 2;        // at most so many, each with columns of its own in W; 0: any number, summed
  bool project = false;        // x is projected by weight_ih, at any node that has one; else a leaf is its x
  Activation activation = {};  // unset: tanh
  init::Init init = {};        // unset: U(-1/sqrt(hidden), 1/sqrt(hidden))
};

// A node with children: h = tanh(W [h_1, .., h_N] + b), or tanh(W sum of h_k + b) for any number; missing
// children count as zeros. A leaf: h = x. With `project` every node has h = tanh(W_ih x + W [..] + b),
// without what it lacks.
class RecursiveCell : public Module {
 public:
  using State = Tensor;
  RecursiveCell(Member at, int64_t in, int64_t hidden, const RecursiveOptions& options = {});

  // x [batch, in], undefined where the node has none; children [batch, hidden] each.
  State operator()(const Tensor& x, std::span<const State> children) const;

  Tensor weight_hh;  // W, [hidden, N hidden]
  Tensor weight_ih;  // [hidden, in], with `project`
  Tensor bias;       // [hidden]

 private:
  Tensor equations(const Tensor& x, std::span<const State> children) const;

  RecursiveOptions options_;
  Once inner_, with_x_;  // a tree calls the equations for each of its nodes
};

}  // namespace reel::nn
