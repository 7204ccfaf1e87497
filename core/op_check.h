// Everything that must hold for an op, checked on its samples: the loop behind `./run gradcheck` and the
// tests.
#pragma once

#include <string>
#include <vector>

#include "core/gradcheck.h"
#include "core/op.h"

namespace reel {

struct OpReport {
  int64_t samples = 0;
  int64_t checks = 0;  // comparisons made, derivatives included
  double first = 0;    // worst relative error of a first derivative (bound 1e-6)
  double second = 0;   // of a second derivative (1e-5)
  double kernel = 0;   // f32 kernel against f64 reference, relative to the largest entry (1e-5)
  double planned = 0;  // planned against eager, values and gradients, in f32 (1e-6)
  int64_t kinks = 0;   // points without a derivative, passed over
  bool differentiable = false;
  std::vector<std::string> problems;  // a sentence each
};

// Derivatives of at most `elements` entries of each input, drawn at random; 0: of all.
OpReport check(const Op& op, int64_t elements = 60);

}  // namespace reel
