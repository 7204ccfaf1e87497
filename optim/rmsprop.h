// RMSprop: steps divided by a running root mean square of the gradient.
#pragma once

#include "optim/optimizer.h"

namespace reel::optim {

struct RMSpropOptions {
  double lr = 0.01;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;  // divide by the standard deviation instead
};

// s = alpha s + (1 - alpha) g^2;  d = g / (sqrt(s) + eps), centered with s - a^2 for s, a the running mean of
// g; x -= lr d, with momentum b = momentum b + d and x -= lr b.
class RMSprop : public Optimizer {
 public:
  explicit RMSprop(Parameters parameters, RMSpropOptions options = {});

 private:
  void update(const Update& u) override;
  RMSpropOptions options_;
};

}  // namespace reel::optim
