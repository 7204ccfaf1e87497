// While one lives, motifs are found as it says; those that were found before, and meanwhile, are forgotten.
#pragma once

#include "core/motif.h"

namespace reel::tests {

class KeepMotifLimits {
 public:
  explicit KeepMotifLimits(const MotifLimits& limits) { set(limits); }
  ~KeepMotifLimits() { set({}); }
  KeepMotifLimits(const KeepMotifLimits&) = delete;
  KeepMotifLimits& operator=(const KeepMotifLimits&) = delete;

 private:
  static void set(const MotifLimits& limits) {
    plan::motif_limits() = limits;
    Tape::current().forget_motifs();
  }
};

}  // namespace reel::tests
