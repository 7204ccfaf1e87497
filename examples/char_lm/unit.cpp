#include "examples/char_lm/unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace reel::examples {

std::vector<double> places_in_word(const std::vector<std::string>& text) {
  std::vector<double> places;
  double place = 0;
  for (const std::string& c : text) {
    places.push_back(place);
    place = c == " " || c == "\n" ? 0 : place + 1;
  }
  return places;
}

Unit closest_unit(const std::vector<double>& h, const std::vector<double>& signal) {
  const std::size_t count = signal.size(), units = count == 0 ? 0 : h.size() / count;
  Unit best{0, 0};
  for (std::size_t unit = 0; unit < units; ++unit) {
    double x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (std::size_t t = 0; t < count; ++t) {
      const double a = h[t * units + unit], b = signal[t];
      x += a, y += b, xx += a * a, yy += b * b, xy += a * b;
    }
    const auto n = static_cast<double>(count);
    const double spread = (n * xx - x * x) * (n * yy - y * y);
    const double r = spread > 0 ? (n * xy - x * y) / std::sqrt(spread) : 0;
    if (std::abs(r) > std::abs(best.correlation)) best = {unit, r};
  }
  return best;
}

ShadedWords shaded_by(const std::vector<std::string>& text, const std::vector<double>& h, const Unit& unit,
                      std::size_t most) {
  ShadedText shaded;
  const std::size_t units = text.empty() ? 0 : h.size() / text.size();
  for (std::size_t t = 0; t < std::min(most, text.size()); ++t) {
    shaded.words.push_back(text[t]);
    shaded.values.push_back(h[t * units + unit.index]);
  }
  return {.title = fmt::format(
              "Hidden unit {}, of all the one that follows the place in the word most (r = {:.2f})",
              unit.index + 1, unit.correlation),
          .low_label = "h = -1",
          .high_label = "1",
          .gap = "",
          .texts = {std::move(shaded)}};
}

}  // namespace reel::examples
