// The scale of an axis: which numbers it shows, how they are written, and where a value falls.
#pragma once

#include <string>
#include <vector>

namespace reel::examples {

struct Tick {
  double value;
  std::string label;
};

// Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them, within [low, high].
std::vector<Tick> nice_ticks(double low, double high, int wanted);
// Powers of ten, with 2 and 5 between them where they are few.
std::vector<Tick> log_ticks(double low, double high, int wanted);

class Axis {
 public:
  // The range covers `values` with a little air; values that cannot be shown are passed over.
  Axis(const std::vector<double>& values, bool log, double air);

  bool shows(double value) const;    // finite, and positive on a log axis
  double place(double value) const;  // 0 at the low end, 1 at the high end
  std::vector<Tick> ticks(int wanted) const;
  bool empty() const { return empty_; }  // there was no value to show

 private:
  bool log_, empty_ = true;
  double low_ = 0, high_ = 1;
};

}  // namespace reel::examples
