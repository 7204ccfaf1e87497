// While one lives, recurrences look up rows of small tables themselves from so many bytes on.
#pragma once

#include <utility>

#include "core/plan/graph.h"

namespace reel::tests {

class KeepLeastLookedUp {
 public:
  explicit KeepLeastLookedUp(int64_t bytes) : before_(std::exchange(plan::least_bytes_looked_up(), bytes)) {}
  ~KeepLeastLookedUp() { plan::least_bytes_looked_up() = before_; }
  KeepLeastLookedUp(const KeepLeastLookedUp&) = delete;
  KeepLeastLookedUp& operator=(const KeepLeastLookedUp&) = delete;

 private:
  int64_t before_;
};

}  // namespace reel::tests
