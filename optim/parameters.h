// The variables that an optimiser works on: defined, each listed once, each with a name.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace reel::optim {

// Made from a list of variables, which are then named by their position ("0", "1", ...), or from pairs of
// name and variable. Throws where one is undefined or no variable, or where a variable or a name comes twice.
class Parameters {
 public:
  // NOLINTBEGIN(google-explicit-constructor): SGD(model.parameters()), SGD({w, b}).
  Parameters(const std::vector<Tensor>& variables);
  Parameters(std::initializer_list<Tensor> variables) : Parameters(std::vector<Tensor>(variables)) {}
  Parameters(NamedTensors variables);
  // NOLINTEND(google-explicit-constructor)

  size_t size() const { return list_.size(); }
  bool empty() const { return list_.empty(); }
  const std::string& name(size_t k) const { return list_[k].first; }
  const Tensor& operator[](size_t k) const { return list_[k].second; }

 private:
  NamedTensors list_;
};

}  // namespace reel::optim
