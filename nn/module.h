// Modules: things with parameters. A member declared is a member registered; there is no second list to keep:
//
//   struct Classifier : nn::Module {
//     nn::Embedding words{{this, "words"}, 5000, 64};
//     nn::LSTM lstm{{this, "lstm"}, 64, 128};
//     nn::Linear output{{this, "output"}, 128, 5};
//   };
//
// Parameters carry PyTorch's names: "lstm.weight_ih_l0", "output.bias".
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace reel::nn {

class Module;

// Where a module hangs: {this, "name"} for a member, {} for one that stands alone. An empty name adds no
// level to the parameters' names.
struct Member {
  Module* parent = nullptr;
  std::string name = {};
};

class Module {
 public:
  explicit Module(Member at = {});
  virtual ~Module();
  Module(const Module&) = delete;  // parents know their members by address
  Module& operator=(const Module&) = delete;

  // Own parameters in the order of their declaration, then the members'. Tied ones come once.
  NamedTensors named_parameters() const;
  std::vector<Tensor> parameters() const;
  int64_t num_parameters() const;  // elements

  // From now on `mine`, a parameter of this module or a member, is `other`: weight tying, one variable under
  // two names, whose gradients add up. tie(output.weight, words.weight), in the constructor.
  void tie(Tensor& mine, const Tensor& other);

  // Parameters and buffers under PyTorch's keys, tied ones under each. The tensors are the module's own, not
  // copies.
  NamedTensors state_dict() const;
  // Takes values over. Throws, before anything is changed, where a shape or dtype differs, a key is missing,
  // or tied values differ; also, when strict, where a key is unknown.
  void load_state_dict(const NamedTensors& state, bool strict = true);

  void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }
  void zero_grad();
  void requires_grad_(bool on);  // freezes or thaws all parameters

 protected:
  // A parameter of this shape in the default dtype, with the values that `init` makes.
  using Init = std::function<Tensor(const Shape&)>;
  Tensor parameter(const std::string& name, const Shape& shape, const Init& init);
  // State that is saved but not trained.
  Tensor buffer(const std::string& name, const Tensor& value);

 private:
  void collect(const std::string& prefix, bool buffers, NamedTensors& out) const;
  void find(const Node* parameter, std::vector<Tensor*>& found);
  struct Child {
    std::string name;
    Module* module;
  };
  Module* parent_ = nullptr;
  std::vector<Child> children_;
  NamedTensors parameters_, buffers_;
  bool training_ = true;
};

}  // namespace reel::nn
