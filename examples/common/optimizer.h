// What the common flags choose: the optimiser by name, threads, dtype and seed.
#pragma once

#include <memory>
#include <string>

#include "examples/common/flags.h"
#include "optim/optim.h"

namespace reel::examples {

// "sgd", "adagrad" (epsilon 1e-8 inside the root, as the minimal character RNN has it), "rmsprop", "adam" or
// "adamw".
std::unique_ptr<optim::Optimizer> make_optimizer(const std::string& name, const NamedTensors& parameters,
                                                 double lr);

// Seed, threads and dtype; to be called before the model is made. With bf16, products are computed in it
// while the result lives.
[[nodiscard]] Autocast start_engine(const CommonFlags& common);

}  // namespace reel::examples
