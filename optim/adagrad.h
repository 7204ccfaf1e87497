// Adagrad: each element's step shrinks with the gradients that it has seen.
#pragma once

#include "optim/optimizer.h"

namespace reel::optim {

struct AdagradOptions {
  double lr = 0.01;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;
  double eps = 1e-10;
  bool eps_inside_sqrt = false;  // x / sqrt(s + eps), as the minimal character RNN has it (there eps is 1e-8)
};

// s += g^2;  x -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).
class Adagrad : public Optimizer {
 public:
  explicit Adagrad(Parameters parameters, AdagradOptions options = {});

 private:
  void update(const Update& u) override;
  AdagradOptions options_;
};

}  // namespace reel::optim
