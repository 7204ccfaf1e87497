// Plans by structure, and the two ways of running what is pending.
#pragma once

#include <memory>

#include "core/plan/plan.h"

namespace reel::plan {

// The plan of this structure; made where it is new.
std::shared_ptr<const Plan> find_plan(Pending& pending, bool rewritten = false);
void plan_found(const Plan& plan);

// After a backward() that passed through all pending nodes: those on its way forget their inputs.
void release_history(Tape& tape, const Pending& now);

}  // namespace reel::plan
