#include "optim/optimizer.h"

#include <cmath>
#include <map>

#include "core/error.h"
#include "core/kernels/pointwise.h"
#include "core/tape.h"

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program constant = lanes::trace(0, [](const Inputs& x) { return x.f(0); });
const Program decayed = lanes::trace(2, [](const Inputs& x) { return x[0] + x[1] * x.f(0); });

Tensor copied(const Tensor& t) { return Tensor::from_bytes(t.to_bytes(), t.dtype(), t.shape()); }

// Entries of a saved state, each taken once.
class Entries {
 public:
  explicit Entries(const NamedTensors& state) {
    for (const auto& [name, tensor] : state) {
      if (!left_.emplace(name, &tensor).second) fail("[load_state] \"{}\" comes twice: want it once", name);
    }
  }

  const Tensor& take(const std::string& name, DType dtype, const Shape& shape) {
    const auto found = left_.find(name);
    if (found == left_.end()) fail("[load_state] \"{}\" is missing: want {} {}", name, name_of(dtype), shape);
    const Tensor& tensor = *found->second;
    if (!tensor.defined()) fail("[load_state] \"{}\" is undefined: want {} {}", name, name_of(dtype), shape);
    if (tensor.dtype() != dtype || !(tensor.shape() == shape)) {
      fail("[load_state] \"{}\" is {} {}: want {} {}", name, name_of(tensor.dtype()), tensor.shape(),
           name_of(dtype), shape);
    }
    left_.erase(found);
    return tensor;
  }

  void want_none_left() const {
    if (!left_.empty())
      fail("[load_state] \"{}\" belongs to no parameter of this optimiser", left_.begin()->first);
  }

 private:
  std::map<std::string_view, const Tensor*> left_;
};

double checked_lr(std::string_view name, double lr) {
  if (!(std::isfinite(lr) && lr >= 0))
    fail("[{}] a learning rate of {}: want a finite one, not negative", name, lr);
  return lr;
}

}  // namespace

void apply(const Program& program, std::initializer_list<Array> in, const Array& out,
           std::initializer_list<double> scalars) {
  run_pointwise(program, {in.begin(), in.size()}, out, {scalars.begin(), scalars.size()});
}

Optimizer::Optimizer(Parameters parameters, Plan plan)
    : parameters_(std::move(parameters)),
      plan_(std::move(plan)),
      lr_(checked_lr(plan_.name, plan_.lr)),
      slots_(parameters_.size()) {
  if (parameters_.empty()) fail("[{}] an empty list of parameters: want at least one", plan_.name);
  check_option(plan_.name, "weight_decay", plan_.weight_decay);
}

void Optimizer::check_option(std::string_view name, std::string_view option, double value, double low,
                             double below) {
  if (!(value >= low && value < below)) {
    fail("[{}] {} {}: want at least {} and less than {}", name, option, value, low, below);
  }
}

void Optimizer::set_lr(double lr) { lr_ = checked_lr(plan_.name, lr); }

void Optimizer::zero_grad() {
  for (size_t k = 0; k < parameters_.size(); ++k) Tensor(parameters_[k]).zero_grad();
}

std::vector<Tensor> Optimizer::fresh_moments(const Tensor& parameter) const {
  std::vector<Tensor> moments;
  for (size_t k = 0; k < plan_.moments.size(); ++k) {
    moments.emplace_back(Tape::current().leaf(parameter.dtype(), parameter.shape()));
    apply(constant, {}, evaluated(moments.back()), {plan_.initial});
  }
  return moments;
}

void Optimizer::step() {
  struct Gradient {
    size_t parameter;
    Array array;
    Buffer held;  // where it is a parameter's own memory, that parameter moves elsewhere (see writable)
  };
  std::vector<Gradient> gradients;
  for (size_t k = 0; k < parameters_.size(); ++k) {
    const Tensor grad = parameters_[k].grad();
    if (!grad.defined()) continue;
    const Array array = evaluated(grad);
    gradients.push_back({k, array, checked(grad, plan_.name, {})->value->buffer});
  }
  for (const Gradient& g : gradients) {
    Slot& slot = slots_[g.parameter];
    if (slot.step == 0) slot.moments = fresh_moments(parameters_[g.parameter]);
    std::vector<Array> moments;
    for (const Tensor& moment : slot.moments) moments.push_back(evaluated(moment));

    Update u{writable(parameters_[g.parameter]), g.array, moments, ++slot.step};
    Buffer room;
    if (plan_.weight_decay != 0) {
      room = Buffer(static_cast<size_t>(u.value.shape.numel()) * size_of(u.value.dtype));
      u.grad = {room.data(), u.value.dtype, u.value.shape, row_major(u.value.shape)};
      apply(decayed, {g.array, u.value}, u.grad, {plan_.weight_decay});
    }
    update(u);
  }
}

NamedTensors Optimizer::state() const {
  NamedTensors state{{"lr", Tensor::from(std::span(&lr_, 1), {})}};
  for (size_t k = 0; k < parameters_.size(); ++k) {
    const std::string& name = parameters_.name(k);
    state.emplace_back(name + ".step", Tensor::from(std::span(&slots_[k].step, 1), {}));
    for (size_t m = 0; m < slots_[k].moments.size(); ++m) {
      state.emplace_back(fmt::format("{}.{}", name, plan_.moments[m]), copied(slots_[k].moments[m]));
    }
  }
  return state;
}

void Optimizer::load_state(const NamedTensors& state) {
  Entries entries(state);
  const double lr = checked_lr(plan_.name, entries.take("lr", DType::f64, {}).item());
  std::vector<Slot> slots(parameters_.size());
  for (size_t k = 0; k < parameters_.size(); ++k) {
    const std::string& name = parameters_.name(k);
    slots[k].step = entries.take(name + ".step", DType::i64, {}).to_vector<int64_t>()[0];
    if (slots[k].step < 0) fail("[load_state] \"{}.step\" is {}: want 0 or more", name, slots[k].step);
    if (slots[k].step == 0) continue;
    for (const std::string& moment : plan_.moments) {
      slots[k].moments.push_back(copied(
          entries.take(fmt::format("{}.{}", name, moment), parameters_[k].dtype(), parameters_[k].shape())));
    }
  }
  entries.want_none_left();
  lr_ = lr;
  slots_ = std::move(slots);
}

}  // namespace reel::optim
