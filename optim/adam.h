// Adam, and AdamW, which decays weights apart from the gradient.
#pragma once

#include <array>

#include "optim/optimizer.h"

namespace reel::optim {

struct AdamOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;  // added to the gradient
};

// m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  x -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).
class Adam : public Optimizer {
 public:
  explicit Adam(Parameters parameters, AdamOptions options = {});

 protected:
  Adam(std::string_view name, Parameters parameters, AdamOptions options, double decoupled_weight_decay);

 private:
  void update(const Update& u) override;
  AdamOptions options_;
  double decoupled_ = 0;
};

struct AdamWOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;  // x *= 1 - lr weight_decay, before the step
};

class AdamW : public Adam {
 public:
  explicit AdamW(Parameters parameters, AdamWOptions options = {});
};

}  // namespace reel::optim
