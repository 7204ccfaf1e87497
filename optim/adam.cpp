#include "optim/adam.h"

#include <cmath>

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program mean = lanes::trace(2, [](const Inputs& x) { return x[0] + (x[1] - x[0]) * x.f(0); });
const Program mean_square =
    lanes::trace(2, [](const Inputs& x) { return x[0] * x.f(0) + x.f(1) * x[1] * x[1]; });
// scalars: what decoupled decay keeps, lr / (1 - b1^t), sqrt(1 - b2^t), eps
const Program descend = lanes::trace(
    3, [](const Inputs& x) { return x[0] * x.f(0) - x.f(1) * x[1] / (sqrt(x[2]) / x.f(2) + x.f(3)); });

}  // namespace

Adam::Adam(std::string_view name, Parameters parameters, AdamOptions options, double decoupled_weight_decay)
    : Optimizer(std::move(parameters), {.name = name,
                                        .lr = options.lr,
                                        .weight_decay = options.weight_decay,
                                        .moments = {"exp_avg", "exp_avg_sq"}}),
      options_(options),
      decoupled_(decoupled_weight_decay) {
  check_option(name, "betas[0]", options.betas[0], 0, 1);
  check_option(name, "betas[1]", options.betas[1], 0, 1);
  check_option(name, "eps", options.eps);
  check_option(name, "weight_decay", decoupled_weight_decay);
}

Adam::Adam(Parameters parameters, AdamOptions options) : Adam("Adam", std::move(parameters), options, 0) {}

AdamW::AdamW(Parameters parameters, AdamWOptions options)
    : Adam("AdamW", std::move(parameters), {.lr = options.lr, .betas = options.betas, .eps = options.eps},
           options.weight_decay) {}

void Adam::update(const Update& u) {
  const auto [b1, b2] = options_.betas;
  const auto t = static_cast<double>(u.step);
  const Array &m = u.moments[0], &v = u.moments[1];
  apply(mean, {m, u.grad}, m, {1 - b1});
  apply(mean_square, {v, u.grad}, v, {b2, 1 - b2});
  apply(descend, {u.value, m, v}, u.value,
        {1 - lr() * decoupled_, lr() / (1 - std::pow(b1, t)), std::sqrt(1 - std::pow(b2, t)), options_.eps});
}

}  // namespace reel::optim
