// Where the time went: REEL_EXPLAIN=1 prints it when the program ends, REEL_TRACE=file.json writes what ran
// when.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "core/plan/plan.h"

namespace reel::plan::explain {

enum class Phase : uint8_t { structure, rewrite, differentiate, plan, run, count };

bool on();  // either of the two

// Measures a scope, if anybody wants to know.
class Scope {
 public:
  explicit Scope(Phase phase) : phase_(phase), on_(on()) {
    if (on_) start_ = std::chrono::steady_clock::now();
  }
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Phase phase_;
  bool on_;
  std::chrono::steady_clock::time_point start_;
};

// `share`: of the rows that the step was planned for, where it runs for a level of a recurrence.
void step_ran(const Plan& plan, const Step& step, std::chrono::steady_clock::time_point start,
              std::chrono::steady_clock::time_point end, std::optional<double> share = {});

}  // namespace reel::plan::explain
