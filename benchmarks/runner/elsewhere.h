// What is measured in a process of its own: the first step of a variant, and how much memory its steps take.
#pragma once

#include <optional>
#include <string>

namespace reel::bench {

// Calls of 0.3 s before anything is timed: a fresh process runs its first ones on all threads at the speed of
// one.
void warm_up(int threads);

// What a variant is called on the command line: "W3/planned/2".
std::string name_of(const std::string& workload, const std::string& variant, int threads);

// In this process, which does nothing else:
// milliseconds of a step of a structure never seen, with libraries that are warm from another workload;
double first_step(const std::string& name);
// the most that is resident within three steps, less what was before the variant was made, in MB: its weights
// and gradients, packed copies, values and scratch (and the batches drawn, 8 MB in W3).
double peak_memory(const std::string& name);

// This program again, with `flag name`: the number that it prints, none if it fails.
std::optional<double> elsewhere(const std::string& flag, const std::string& name);

}  // namespace reel::bench
