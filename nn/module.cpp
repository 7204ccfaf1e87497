#include "nn/module.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "core/structural.h"
#include "core/tape.h"

namespace reel::nn {

Module::Module(Member at) : parent_(at.parent) {
  if (!parent_) return;
  for (const Child& c : parent_->children_) {
    if (c.name == at.name && !at.name.empty()) fail("[Module] two members are named '{}'", at.name);
  }
  parent_->children_.push_back({std::move(at.name), this});
}

Module::~Module() {
  if (parent_) std::erase_if(parent_->children_, [this](const Child& c) { return c.module == this; });
  for (const Child& c : children_) c.module->parent_ = nullptr;
}

void Module::collect(const std::string& prefix, bool buffers, NamedTensors& out) const {
  // Nesting is as deep as the source declares it, so recursion is bounded.
  for (const auto& [name, tensor] : parameters_) out.emplace_back(prefix + name, tensor);
  if (buffers) {
    for (const auto& [name, tensor] : buffers_) out.emplace_back(prefix + name, tensor);
  }
  for (const Child& c : children_)
    c.module->collect(c.name.empty() ? prefix : prefix + c.name + ".", buffers, out);
}

NamedTensors Module::named_parameters() const {
  NamedTensors all, out;
  collect("", false, all);
  std::set<const Node*> seen;
  for (auto& entry : all) {
    if (seen.insert(entry.second.node()).second) out.push_back(std::move(entry));
  }
  return out;
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> out;
  for (auto& [name, tensor] : named_parameters()) out.push_back(tensor);
  return out;
}

int64_t Module::num_parameters() const {
  int64_t n = 0;
  for (const auto& [name, tensor] : named_parameters()) n += tensor.numel();
  return n;
}

void Module::find(const Node* parameter, std::vector<Tensor*>& found) {
  for (auto& [name, tensor] : parameters_) {
    if (tensor.node() == parameter) found.push_back(&tensor);
  }
  for (const Child& c : children_) c.module->find(parameter, found);
}

void Module::tie(Tensor& mine, const Tensor& other) {
  if (!mine.defined() || !other.defined()) fail("[tie] a tensor that holds nothing: want two parameters");
  if (mine.node() == other.node()) return;
  if (!(mine.shape() == other.shape()) || mine.dtype() != other.dtype()) {
    fail("[tie] {} {} and {} {}: want one shape and dtype", name_of(mine.dtype()), mine.shape(),
         name_of(other.dtype()), other.shape());
  }
  std::vector<Tensor*> found;
  find(mine.node(), found);
  if (found.empty()) fail("[tie] {} is no parameter of this module: want one of its own", mine.shape());
  // What else holds it, a copy or an optimiser, would go on with the old one.
  if (mine.node()->handles > found.size() + 1) {
    fail("[tie] another handle holds the parameter {}: want the member itself, before others copy it",
         mine.shape());
  }
  for (Tensor* entry : found) *entry = other;
  mine = other;
}

NamedTensors Module::state_dict() const {
  NamedTensors out;
  collect("", true, out);
  return out;
}

void Module::load_state_dict(const NamedTensors& state, bool strict) {
  std::map<std::string, Tensor> given(state.begin(), state.end());
  NamedTensors own = state_dict();
  std::map<const Node*, std::string> first;  // name under which a tied parameter came before
  for (auto& [name, tensor] : own) {
    const auto found = given.find(name);
    if (found == given.end()) fail("[load_state_dict] '{}' {} is missing", name, tensor.shape());
    if (!(found->second.shape() == tensor.shape())) {
      fail("[load_state_dict] '{}' has shape {}: want {}", name, found->second.shape(), tensor.shape());
    }
    if (is_float(tensor.dtype()) != is_float(found->second.dtype())) {
      fail("[load_state_dict] '{}' is {}: want {}", name, name_of(found->second.dtype()),
           name_of(tensor.dtype()));
    }
    const auto [before, is_first] = first.emplace(tensor.node(), name);
    if (!is_first && given.at(before->second).to_bytes() != found->second.to_bytes()) {
      fail("[load_state_dict] '{}' and '{}' differ: want equal values, they are tied", before->second, name);
    }
  }
  if (strict && given.size() > own.size()) {
    for (const auto& [name, tensor] : own) given.erase(name);
    fail("[load_state_dict] '{}' {} is unknown: want only the model's own {} entries", given.begin()->first,
         given.begin()->second.shape(), own.size());
  }
  const NoGrad no_grad;
  for (auto& [name, tensor] : own) tensor.assign(to(given.at(name), tensor.dtype()));
}

void Module::train(bool on) {
  training_ = on;
  for (const Child& c : children_) c.module->train(on);
}

void Module::zero_grad() {
  for (Tensor& t : parameters()) t.zero_grad();
}

void Module::requires_grad_(bool on) {
  for (Tensor& t : parameters()) t.requires_grad_(on);
}

Tensor Module::parameter(const std::string& name, const Shape& shape, const Init& init) {
  const NoGrad no_grad;
  Tensor t = init(shape);
  if (!(t.shape() == shape))
    fail("[Module] the initial value of '{}' has shape {}: want {}", name, t.shape(), shape);
  t.requires_grad_();
  parameters_.emplace_back(name, t);
  return t;
}

Tensor Module::buffer(const std::string& name, const Tensor& value) {
  Tensor t = Tensor::from_bytes(value.to_bytes(), value.dtype(), value.shape());
  if (is_float(t.dtype())) t.requires_grad_().requires_grad_(false);  // a variable, but frozen
  buffers_.emplace_back(name, t);
  return t;
}

}  // namespace reel::nn
