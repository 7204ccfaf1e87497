// Runs kernels: one call at a time, or the steps of a plan.
#pragma once

#include "core/tape.h"

namespace reel::plan {

// Computes one node whose inputs are ready (eager mode).
void run_alone(Node* node);
// The value of a call by itself, from these values of its inputs.
Value compute_alone(const Node& node, std::span<const Value* const> in);

// One call: the pointwise program, or the kernel for the dtypes at hand.
void run_call(const Exec& call);

int64_t scratch_bytes();  // memory this thread holds for running plans

}  // namespace reel::plan
