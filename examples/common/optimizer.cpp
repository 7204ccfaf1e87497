#include "examples/common/optimizer.h"

#include "core/error.h"
#include "examples/common/memory_limit.h"
#include "ops/random.h"

namespace reel::examples {

std::unique_ptr<optim::Optimizer> make_optimizer(const std::string& name, const NamedTensors& parameters,
                                                 double lr) {
  const optim::Parameters p(parameters);
  if (name == "sgd") return std::make_unique<optim::SGD>(p, optim::SGDOptions{.lr = lr});
  if (name == "adagrad") {
    return std::make_unique<optim::Adagrad>(
        p, optim::AdagradOptions{.lr = lr, .eps = 1e-8, .eps_inside_sqrt = true});
  }
  if (name == "rmsprop") return std::make_unique<optim::RMSprop>(p, optim::RMSpropOptions{.lr = lr});
  if (name == "adam") return std::make_unique<optim::Adam>(p, optim::AdamOptions{.lr = lr});
  if (name == "adamw") return std::make_unique<optim::AdamW>(p, optim::AdamWOptions{.lr = lr});
  fail("there is no optimiser '{}'", name);
}

Autocast start_engine(const CommonFlags& common) {
  limit_memory();
  set_default_dtype(common.dtype == "f64" ? DType::f64 : DType::f32);
  set_num_threads(common.threads);
  manual_seed(common.seed);
  return Autocast(common.dtype == "bf16");
}

}  // namespace reel::examples
