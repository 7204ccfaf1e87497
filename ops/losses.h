// Losses. Rows are averaged, summed, or left as they are. The axis of classes is always the last one,
// whatever the rank (PyTorch has it second).
#pragma once

#include "core/op.h"

namespace reel {

enum class Reduction { mean, sum, none };

// Targets are i64, 0 to classes - 1; rows whose target is ignore_index count nothing and get no gradient. Any
// other target is refused when the loss is computed, with its position. A mean is over the rows that count
// (weighted by the weights of their targets): NaN if none does, as in PyTorch.
struct CrossEntropyOptions {
  int64_t ignore_index = -100;
  double label_smoothing =
      0;               // 0 to 1: this share of each target is spread evenly over all classes (Szegedy 2016)
  Tensor weight = {};  // [classes], a factor for each target class
  Reduction reduction = Reduction::mean;
};
// -log softmax(logits)[target]; logits [.., classes], targets [..]
Tensor cross_entropy(Arg logits, Arg targets, const CrossEntropyOptions& options = {});

struct NllOptions {
  int64_t ignore_index = -100;
  Tensor weight = {};
  Reduction reduction = Reduction::mean;
};
// -log_probs[target]; log_probs [.., classes], targets [..]
Tensor nll_loss(Arg log_probs, Arg targets, const NllOptions& options = {});

// (x - target)^2; both of one shape
Tensor mse_loss(Arg x, Arg target, Reduction reduction = Reduction::mean);

// d^2 / 2 where |d| = |x - target| <= delta, else delta (|d| - delta / 2) (Huber 1964); both of one shape
Tensor huber_loss(Arg x, Arg target, double delta = 1, Reduction reduction = Reduction::mean);

struct BceOptions {
  Tensor pos_weight = {};  // broadcasts to x: a factor for the positive part
  Reduction reduction = Reduction::mean;
};
// -(p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), p = pos_weight; targets t in [0, 1], of x's shape
Tensor bce_with_logits(Arg x, Arg targets, const BceOptions& options = {});

Tensor reduced(const Tensor& rows, Reduction reduction);

}  // namespace reel
