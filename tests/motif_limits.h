// While one lives, motifs are found as it says.
#pragma once

#include "core/motif.h"

namespace reel::tests {

class KeepMotifLimits {
 public:
  explicit KeepMotifLimits(const MotifLimits& limits) { plan::motif_limits() = limits; }
  ~KeepMotifLimits() { plan::motif_limits() = {}; }
  KeepMotifLimits(const KeepMotifLimits&) = delete;
  KeepMotifLimits& operator=(const KeepMotifLimits&) = delete;
};

}  // namespace reel::tests
