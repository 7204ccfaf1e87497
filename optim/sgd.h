// Stochastic gradient descent, with momentum and Nesterov's look ahead.
#pragma once

#include "optim/optimizer.h"

namespace reel::optim {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;  // wants momentum > 0 and dampening 0
};

// b = momentum b + (1 - dampening) g, at the first step b = g;  x -= lr b, with Nesterov x -= lr (g +
// momentum b).
class SGD : public Optimizer {
 public:
  explicit SGD(Parameters parameters, SGDOptions options = {});

 private:
  void update(const Update& u) override;
  SGDOptions options_;
};

}  // namespace reel::optim
