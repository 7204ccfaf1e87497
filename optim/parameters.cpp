#include "optim/parameters.h"

#include <unordered_map>

#include "core/error.h"

namespace reel::optim {

namespace {

NamedTensors numbered(const std::vector<Tensor>& variables) {
  NamedTensors list;
  for (const Tensor& t : variables) list.emplace_back(std::to_string(list.size()), t);
  return list;
}

}  // namespace

Parameters::Parameters(const std::vector<Tensor>& variables) : Parameters(numbered(variables)) {}

Parameters::Parameters(NamedTensors variables) : list_(std::move(variables)) {
  std::unordered_map<const Node*, const std::string*> seen;
  std::unordered_map<std::string, size_t> names;
  for (size_t k = 0; k < list_.size(); ++k) {
    const auto& [name, variable] = list_[k];
    if (!variable.is_variable()) {
      fail("[optim] parameter \"{}\" is {}: want a variable, on which requires_grad_() was called", name,
           variable.defined() ? "a computed or constant tensor" : "an undefined tensor");
    }
    const auto [first, fresh] = seen.emplace(variable.node(), &name);
    if (!fresh)
      fail("[optim] parameters \"{}\" and \"{}\" are one variable: want it listed once", *first->second,
           name);
    const auto [place, unused] = names.emplace(name, k);
    if (!unused)
      fail("[optim] parameters {} and {} are both named \"{}\": want names that differ", place->second, k,
           name);
  }
}

}  // namespace reel::optim
