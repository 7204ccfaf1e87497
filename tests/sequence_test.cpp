// Random programs as sequence models are written: planned, by all passes and without each of them, equals eager.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tests/random_sequence.h"

using namespace reel;
using tests::RandomSequence;
using tests::Rows;

namespace {

// Memory starts as NaNs, so that a value read too early or too late shows.
[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

const char* const kPlans[] = {"",           "-prune", "-batch", "-accumulate",
                              "-fuse",      "-place", "none",   "-batch,-accumulate",
                              "none,batch", "none,accumulate,place"};

// The largest difference, relative to each value's largest element.
double distance(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    if (a[k].size() != b[k].size()) return INFINITY;
    double largest = 1e-2;
    for (double x : b[k]) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < a[k].size(); ++i) {
      const double d = std::fabs(a[k][i] - b[k][i]) / largest;
      if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
    }
  }
  return worst;
}

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

int seeds(int usual) {
  const char* more = std::getenv("REEL_TEST_SEEDS");
  return more ? std::atoi(more) : usual;
}

}  // namespace

TEST_CASE("sequences: planned, also without each pass, equals eager, values and gradients") {
  const uint64_t before = tape_stats().live_nodes;
  for (uint64_t seed = 0, last = static_cast<uint64_t>(seeds(300)); seed < last; ++seed) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Rows want = at_once(seed, dtype);
      REQUIRE(want.size() >= 16);
      for (const char* passes : kPlans) {
        const double d = distance(planned(seed, dtype, passes), want);
        CHECK_MESSAGE(d <= tolerance(dtype), "seed " << seed << ", " << std::string(name_of(dtype)) << ", passes '"
                                                     << std::string(passes) << "': relative difference " << d);
      }
    }
  }
  CHECK(tape_stats().live_nodes == before);
}

TEST_CASE("sequences: a plan found again takes the numbers of this run, not of the one it was made for") {
  for (uint64_t seed = 1000, last = seed + static_cast<uint64_t>(seeds(150)); seed < last; ++seed) {
    (void)planned(seed, DType::f64, "");
    const uint64_t built = tape_stats().plans_built;
    const double d = distance(planned(seed, DType::f64, "", 1), at_once(seed, DType::f64, 1));
    CHECK_MESSAGE(d <= 1e-9, "seed " << seed << ": relative difference " << d);
    CHECK(tape_stats().plans_built == built);
  }
}
