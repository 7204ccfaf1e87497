// The weights that did best on what is held out, and their way through a checkpoint.
#pragma once

#include <cmath>

#include "examples/common/checkpoint.h"

namespace reel::examples {

class BestWeights {
 public:
  explicit BestWeights(nn::Module& model) : model_(model) {}

  bool offer(double score) {  // of the model as it is; higher is better. Is it the best one yet?
    if (!(score > score_)) return false;
    score_ = score;
    weights_ = copies(model_.state_dict());
    return true;
  }
  void take() {  // back into the model
    if (!weights_.empty()) model_.load_state_dict(weights_);
  }
  double score() const { return score_; }

  void keep(Checkpoint& checkpoint) const {
    checkpoint.text["best"] = fmt::format("{}", score_);
    for (const auto& [name, tensor] : weights_) checkpoint.tensors.emplace_back("best." + name, tensor);
  }
  void restore(const Checkpoint& checkpoint) {
    score_ = checkpoint.number("best");
    if (!std::isfinite(score_)) return;
    for (const auto& [name, tensor] : model_.state_dict()) {
      weights_.emplace_back(name, checkpoint.tensor("best." + name, tensor));
    }
  }

 private:
  nn::Module& model_;
  double score_ = -INFINITY;
  NamedTensors weights_;
};

}  // namespace reel::examples
