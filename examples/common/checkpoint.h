// Saving what training needs to go on exactly where it stopped: one safetensors file, replaced whole.
#pragma once

#include <map>
#include <string>

#include "nn/module.h"
#include "optim/optimizer.h"

namespace reel::examples {

// Model, optimiser, random generator, and what the example adds: tensors ("state.0") and text ("step",
// "epoch").
struct Checkpoint {
  NamedTensors tensors = {};
  std::map<std::string, std::string> text = {};

  long whole(const std::string& key) const;  // throws where the file has no such number
  double number(const std::string& key) const;
};

void save_checkpoint(const std::string& path, const nn::Module& model, const optim::Optimizer& optimizer,
                     const Checkpoint& extra);
// Everything is read and checked before the model or the optimiser changes.
Checkpoint load_checkpoint(const std::string& path, nn::Module& model, optim::Optimizer& optimizer);

// A finished model's weights, and weights from elsewhere.
void save_weights(const std::string& path, const nn::Module& model,
                  const std::map<std::string, std::string>& text = {});
std::map<std::string, std::string> load_weights(const std::string& path, nn::Module& model);

}  // namespace reel::examples
