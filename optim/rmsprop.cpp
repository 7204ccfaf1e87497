#include "optim/rmsprop.h"

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program mean_square =
    lanes::trace(2, [](const Inputs& x) { return x[0] * x.f(0) + x.f(1) * x[1] * x[1]; });
const Program mean = lanes::trace(2, [](const Inputs& x) { return x[0] + (x[1] - x[0]) * x.f(0); });
const Program direction = lanes::trace(2, [](const Inputs& x) { return x[0] / (sqrt(x[1]) + x.f(0)); });
const Program centered_direction =
    lanes::trace(3, [](const Inputs& x) { return x[0] / (sqrt(x[1] - x[2] * x[2]) + x.f(0)); });
const Program gather = lanes::trace(2, [](const Inputs& x) { return x[0] * x.f(0) + x[1]; });
const Program descend = lanes::trace(2, [](const Inputs& x) { return x[0] - x.f(0) * x[1]; });

std::vector<std::string> moments_of(const RMSpropOptions& options) {
  std::vector<std::string> moments{"square_avg"};
  if (options.momentum > 0) moments.emplace_back("momentum_buffer");
  if (options.centered) moments.emplace_back("grad_avg");
  return moments;
}

}  // namespace

RMSprop::RMSprop(Parameters parameters, RMSpropOptions options)
    : Optimizer(std::move(parameters), {.name = "RMSprop",
                                        .lr = options.lr,
                                        .weight_decay = options.weight_decay,
                                        .moments = moments_of(options)}),
      options_(options) {
  check_option("RMSprop", "alpha", options.alpha);
  check_option("RMSprop", "eps", options.eps);
  check_option("RMSprop", "momentum", options.momentum);
}

void RMSprop::update(const Update& u) {
  const double alpha = options_.alpha;
  const Array& square = u.moments[0];
  const Array& last = u.moments.back();
  const Buffer room(static_cast<size_t>(u.value.shape.numel()) * size_of(u.value.dtype));
  const Array d{room.data(), u.value.dtype, u.value.shape, row_major(u.value.shape)};

  apply(mean_square, {square, u.grad}, square, {alpha, 1 - alpha});
  if (options_.centered) {
    apply(mean, {last, u.grad}, last, {1 - alpha});
    apply(centered_direction, {u.grad, square, last}, d, {options_.eps});
  } else {
    apply(direction, {u.grad, square}, d, {options_.eps});
  }
  if (options_.momentum > 0) {
    apply(gather, {u.moments[1], d}, u.moments[1], {options_.momentum});
    apply(descend, {u.value, u.moments[1]}, u.value, {lr()});
  } else {
    apply(descend, {u.value, d}, u.value, {lr()});
  }
}

}  // namespace reel::optim
