#include "optim/adagrad.h"

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program sum = lanes::trace(2, [](const Inputs& x) { return x[0] + x[1] * x[1]; });
const Program descend =
    lanes::trace(3, [](const Inputs& x) { return x[0] - x.f(0) * x[1] / (sqrt(x[2]) + x.f(1)); });
const Program descend_inside =
    lanes::trace(3, [](const Inputs& x) { return x[0] - x.f(0) * x[1] / sqrt(x[2] + x.f(1)); });

}  // namespace

Adagrad::Adagrad(Parameters parameters, AdagradOptions options)
    : Optimizer(std::move(parameters), {.name = "Adagrad",
                                        .lr = options.lr,
                                        .weight_decay = options.weight_decay,
                                        .moments = {"sum"},
                                        .initial = options.initial_accumulator_value}),
      options_(options) {
  check_option("Adagrad", "lr_decay", options.lr_decay);
  check_option("Adagrad", "initial_accumulator_value", options.initial_accumulator_value);
  check_option("Adagrad", "eps", options.eps);
}

void Adagrad::update(const Update& u) {
  const double rate = lr() / (1 + static_cast<double>(u.step - 1) * options_.lr_decay);
  apply(sum, {u.moments[0], u.grad}, u.moments[0]);
  apply(options_.eps_inside_sqrt ? descend_inside : descend, {u.value, u.grad, u.moments[0]}, u.value,
        {rate, options_.eps});
}

}  // namespace reel::optim
