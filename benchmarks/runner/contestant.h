// Who is measured: a variant of a workload in this process, or a rival's in another.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/workload.h"

namespace reel::bench {

class Contestant {
 public:
  Contestant(std::string variant, std::string dtype) : variant(std::move(variant)), dtype(std::move(dtype)) {}
  virtual ~Contestant() = default;
  // Milliseconds a step, for each of so many steps; none once it has given up.
  virtual std::vector<double> run(int64_t steps) = 0;

  const std::string variant, dtype;
};

// The variant on this many threads. Where lengths differ, times are scaled to a batch of the average number
// of tokens.
std::unique_ptr<Contestant> contestant(const Workload& workload, const Variant& variant, int threads);

// The machine's rate at a large packed product, by oneDNN on this many threads: a step of 1 GFLOP.
std::unique_ptr<Contestant> peak(int threads);

// "hand-bf16" -> "hand", "bf16"
std::pair<std::string, std::string> name_and_dtype(const std::string& variant);

}  // namespace reel::bench
