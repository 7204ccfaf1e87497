// The main function of an example: flags, Ctrl-C, the engine, and then what the example does.
#pragma once

#include <functional>
#include <string>

#include "examples/common/flags.h"
#include "examples/common/interrupt.h"
#include "examples/common/optimizer.h"

namespace reel::examples {

// Settings have `common` and `declare(flags)`. `adjust` sees them before the engine starts, and what was
// given: defaults that depend on others, flags that exclude each other (WrongFlag).
template <class Settings>
int run_program(
    int argc, const char* const* argv, const char* name, const char* about, int (*run)(const Settings&),
    const std::function<void(Settings&, const Flags&)>& adjust = [](Settings&, const Flags&) {}) {
  Flags flags(name, about);
  Settings settings;
  settings.declare(flags);
  return run_main(argc, argv, flags, [&] {
    adjust(settings, flags);
    catch_interrupts();
    const auto precision = start_engine(settings.common);
    return run(settings);
  });
}

// For programs of several tasks, each of which has a model of its own.
inline void want_one_task(const std::string& task, const Flags& flags) {
  const bool one_file = flags.given("--resume") || flags.given("--load") || flags.given("--save");
  if (task == "all" && one_file) throw WrongFlag("--load, --save and --resume want one --task.");
}

}  // namespace reel::examples
