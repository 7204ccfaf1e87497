// What all optimisers share: the list of parameters, their moments and step counts, saving and resuming. An
// optimiser itself is its update rule, with PyTorch's names, defaults and order of operations.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/buffer.h"
#include "core/lanes.h"
#include "optim/parameters.h"

namespace reel::optim {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Updates in place every parameter that has a gradient; the others, and their step counts, stay as they
  // are. All gradients are computed before the first parameter changes. What was recorded before reads the
  // old values.
  void step();
  void zero_grad();

  double lr() const { return lr_; }
  void set_lr(double lr);  // throws unless finite and not negative
  const Parameters& parameters() const { return parameters_; }

  // A copy of all that a bit-exact resume needs beside the parameters and the options: "lr", and for each
  // parameter "NAME.step" and, once it has been updated, its moments under PyTorch's names, as
  // "NAME.exp_avg".
  NamedTensors state() const;
  // Takes such a copy back, the learning rate included. Throws, and changes nothing, where an entry is
  // missing, does not belong here, or has another shape or dtype.
  void load_state(const NamedTensors& state);

 protected:
  // One parameter's turn.
  struct Update {
    Array value;                     // written in place
    Array grad;                      // weight decay included, unless it is decoupled
    std::span<const Array> moments;  // written in place
    int64_t step;                    // 1 at the parameter's first
  };
  struct Plan {
    std::string_view name;  // for error sentences
    double lr;
    double weight_decay = 0;           // grad += weight_decay * value before the update
    std::vector<std::string> moments;  // tensors of the parameter's shape, carried from step to step
    double initial = 0;                // what they start from
  };
  Optimizer(Parameters parameters, Plan plan);

  virtual void update(const Update& u) = 0;

  // Throws "[name] option value: want ..." unless low <= value < below.
  static void check_option(std::string_view name, std::string_view option, double value, double low = 0,
                           double below = std::numeric_limits<double>::infinity());

 private:
  struct Slot {
    int64_t step = 0;
    std::vector<Tensor> moments;
  };
  std::vector<Tensor> fresh_moments(const Tensor& parameter) const;

  Parameters parameters_;
  Plan plan_;
  double lr_;
  std::vector<Slot> slots_;
};

// out = program(in...), where `out` may be one of `in`.
void apply(const lanes::Program& program, std::initializer_list<Array> in, const Array& out,
           std::initializer_list<double> scalars = {});

}  // namespace reel::optim
