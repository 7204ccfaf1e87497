#include "optim/sgd.h"

#include <cmath>

#include "core/error.h"

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program descend = lanes::trace(2, [](const Inputs& x) { return x[0] - x.f(0) * x[1]; });
const Program gather = lanes::trace(2, [](const Inputs& x) { return x[0] * x.f(0) + x[1] * x.f(1); });
const Program look_ahead =
    lanes::trace(3, [](const Inputs& x) { return x[0] - x.f(0) * (x[1] + x.f(1) * x[2]); });

}  // namespace

SGD::SGD(Parameters parameters, SGDOptions options)
    : Optimizer(std::move(parameters),
                {.name = "SGD",
                 .lr = options.lr,
                 .weight_decay = options.weight_decay,
                 .moments = options.momentum != 0 ? std::vector<std::string>{"momentum_buffer"}
                                                  : std::vector<std::string>{}}),
      options_(options) {
  check_option("SGD", "momentum", options.momentum);
  if (!std::isfinite(options.dampening)) fail("[SGD] dampening {}: want a finite number", options.dampening);
  if (options.nesterov && (options.momentum <= 0 || options.dampening != 0)) {
    fail("[SGD] nesterov with momentum {} and dampening {}: want momentum above 0 and no dampening",
         options.momentum, options.dampening);
  }
}

void SGD::update(const Update& u) {
  if (options_.momentum == 0) return apply(descend, {u.value, u.grad}, u.value, {lr()});
  const Array& buffer = u.moments[0];
  const bool first = u.step == 1;
  apply(gather, {buffer, u.grad}, buffer,
        {first ? 0 : options_.momentum, first ? 1 : 1 - options_.dampening});
  if (options_.nesterov)
    return apply(look_ahead, {u.value, u.grad, buffer}, u.value, {lr(), options_.momentum});
  apply(descend, {u.value, buffer}, u.value, {lr()});
}

}  // namespace reel::optim
