#include "examples/common/confusion.h"

namespace reel::examples {

double accuracy(const std::vector<int64_t>& guessed, const std::vector<int64_t>& truth) {
  double right = 0;
  for (std::size_t k = 0; k < truth.size(); ++k) right += guessed[k] == truth[k];
  return right / static_cast<double>(truth.size());
}

HeatMap confusion(const std::string& title, const std::vector<std::string>& classes,
                  const std::vector<int64_t>& guessed, const std::vector<int64_t>& truth) {
  HeatMap map{.title = title,
              .row_label = "true",
              .column_label = "guessed",
              .value_label = "share",
              .rows = classes,
              .columns = classes,
              .values = std::vector<double>(classes.size() * classes.size()),
              .low = 0,
              .high = 1};
  std::vector<double> count(classes.size());
  for (const int64_t label : truth) ++count[static_cast<std::size_t>(label)];
  for (std::size_t k = 0; k < truth.size(); ++k) {
    const auto row = static_cast<std::size_t>(truth[k]), column = static_cast<std::size_t>(guessed[k]);
    map.values[row * classes.size() + column] += 1 / count[row];
  }
  return map;
}

}  // namespace reel::examples
