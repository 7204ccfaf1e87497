// Saving what training needs to go on exactly where it stopped: one safetensors file, replaced whole.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "nn/module.h"
#include "nn/safetensors.h"
#include "optim/optimizer.h"

namespace reel::examples {

// Model, optimiser, random generator, and what the example adds: tensors ("state.0") and text ("step",
// "epoch").
struct Checkpoint {
  NamedTensors tensors = {};
  std::map<std::string, std::string> text = {};
  std::string path = {};  // of the file it came from

  // These throw where the file has no such thing.
  long whole(const std::string& key) const;  // not negative
  double number(const std::string& key) const;
  const Tensor& tensor(const std::string& name, const Tensor& like) const;  // of its shape and dtype
};

void save_checkpoint(const std::string& path, const nn::Module& model, const optim::Optimizer& optimizer,
                     const Checkpoint& extra);
// Everything is read and checked before the model or the optimiser changes. What `same` says ("batch": "32")
// must be what the checkpoint's text says, else training would not go on where it stopped.
Checkpoint load_checkpoint(const std::string& path, nn::Module& model, optim::Optimizer& optimizer,
                           const std::map<std::string, std::string>& same = {});
NamedTensors copies(const NamedTensors& tensors);
std::string text_checksum(std::string_view text);  // tells one text from another

// A finished model's weights, and weights from elsewhere, which must be finite.
void save_weights(const std::string& path, const nn::Module& model,
                  const std::map<std::string, std::string>& text = {});
std::map<std::string, std::string> load_weights(const std::string& path, nn::Module& model);

// The sizes of a model are those of its file's matrices; so a small file never makes a large model. Throws,
// naming the file, unless there is a matrix of this name, with at least one element.
Shape matrix_in(const SafetensorsFile& file, const std::string& path, const std::string& name);
// Of PREFIX.weight_hh_l0, PREFIX.weight_hh_l1, ... [gates * hidden, hidden].
struct RecurrentSizes {
  int64_t hidden, layers;
};
RecurrentSizes recurrent_in(const SafetensorsFile& file, const std::string& path, const std::string& prefix);

}  // namespace reel::examples
