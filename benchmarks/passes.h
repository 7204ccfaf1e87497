// The variants "planned-PASS": planned without one of the planner's passes.
#pragma once

#include "benchmarks/workload.h"

namespace reel::bench {

// The names that can be switched off; empty as long as the planner has no such switch.
const std::vector<std::string>& switchable_passes();

// The workload's variants, and after each "planned" the same without each pass.
std::vector<Variant> with_ablations(const Workload& workload);

}  // namespace reel::bench
