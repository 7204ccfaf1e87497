// Random programs as sequence models are written: planned, by all passes and without each of them, equals
// eager.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <iterator>

#include "tests/least_looked_up.h"
#include "tests/motif_limits.h"
#include "tests/random_sequence.h"

using namespace reel;
using tests::distance;
using tests::RandomSequence;
using tests::Rows;

namespace {

// Memory starts as NaNs, so that a value read too early or too late shows.
[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

const char* const kPlans[] = {"",
                              "-prune",
                              "-batch",
                              "-recur",
                              "-split",
                              "-recompute",
                              "-accumulate",
                              "-fuse",
                              "-place",
                              "-loss",
                              "-lookup",
                              "none",
                              "-batch,-accumulate",
                              "none,batch",
                              "none,accumulate,place"};

Rows planned(uint64_t seed, DType dtype, const char* passes, uint64_t salt = 0) {
  set_plan_passes(passes);
  Rows rows = RandomSequence(seed, dtype, salt).run();
  set_plan_passes("");
  return rows;
}
Rows at_once(uint64_t seed, DType dtype, uint64_t salt = 0) {
  const Eager eager;
  return RandomSequence(seed, dtype, salt).run();
}

double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-9 : 3e-4; }

// REEL_TEST_SEEDS=5000: so many programs, each by all plans.
const char* const more_seeds = std::getenv("REEL_TEST_SEEDS");
uint64_t seeds(uint64_t usual) { return more_seeds ? std::strtoull(more_seeds, nullptr, 10) : usual; }

}  // namespace

TEST_CASE("sequences: planned, also without each pass, equals eager, values and gradients") {
  const tests::KeepLeastLookedUp any(0);
  const uint64_t before = tape_stats().live_nodes;
  constexpr size_t kAll = std::size(kPlans);
  for (uint64_t seed = 0; seed < seeds(300); ++seed) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Rows want = at_once(seed, dtype);
      REQUIRE(want.size() >= 16);
      // All passes, and a few of the other plans in turn.
      for (size_t k = 0; k < (more_seeds ? kAll : dtype == DType::f64 ? 4 : 2); ++k) {
        const char* passes = k == 0 ? "" : kPlans[more_seeds ? k : 1 + (seed * 3 + k) % (kAll - 1)];
        const double d = distance(planned(seed, dtype, passes), want);
        CHECK_MESSAGE(d <= tolerance(dtype), "seed " << seed << ", " << std::string(name_of(dtype))
                                                     << ", passes '" << std::string(passes)
                                                     << "': relative difference " << d);
      }
    }
  }
  CHECK(tape_stats().live_nodes == before);
}

TEST_CASE("sequences: a plan found again takes the numbers of this run, not of the one it was made for") {
  const tests::KeepMotifLimits none_new(
      {.pending = ~size_t{0}});  // one found in a first run would make a second plan
  for (uint64_t seed = 1000, last = seed + seeds(150); seed < last; ++seed) {
    (void)planned(seed, DType::f64, "");
    const uint64_t built = tape_stats().plans_built;
    const double d = distance(planned(seed, DType::f64, "", 1), at_once(seed, DType::f64, 1));
    CHECK_MESSAGE(d <= 1e-9, "seed " << seed << ": relative difference " << d);
    CHECK(tape_stats().plans_built == built);
  }
}
