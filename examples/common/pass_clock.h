// How long a pass over the data takes to learn from, without what is judged and saved in between.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace reel::examples {

class PassClock {
 public:
  explicit PassClock(long steps_per_pass) : steps_per_pass_(steps_per_pass) {}

  void add(double seconds) {  // of one step
    since_ += seconds;
    if (++steps_ != steps_per_pass_) return;
    passes_.push_back(since_);
    since_ = 0;
    steps_ = 0;
  }

  // The median of the whole passes, which a machine that is busy for a while disturbs least; before the first
  // is over what it would take, and NaN where nothing is known.
  double seconds() const {
    if (steps_per_pass_ <= 0) return NAN;
    if (passes_.empty()) return since_ / static_cast<double>(steps_) * static_cast<double>(steps_per_pass_);
    std::vector<double> sorted = passes_;
    std::ranges::sort(sorted);
    return (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
  }

 private:
  long steps_per_pass_, steps_ = 0;
  double since_ = 0;
  std::vector<double> passes_;
};

}  // namespace reel::examples
