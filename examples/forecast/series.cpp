#include "examples/forecast/series.h"

#include <cmath>

#include "core/error.h"
#include "examples/data/dice.h"
#include "examples/data/table.h"

namespace reel::examples {

std::vector<double> mackey_glass(std::size_t count, uint64_t seed) {
  constexpr std::size_t per_unit = 10, delay = 17 * per_unit, per_value = 3 * per_unit, settling = 300;
  const double first = Dice(seed, 0).within(0.5, 1.3);
  std::vector<double> x(delay + 1, first), values;
  for (std::size_t k = 0; values.size() < count; ++k) {  // Euler's method, ten steps a unit of time
    const double before = x[x.size() - 1 - delay], now = x.back();
    x.push_back(now + (0.2 * before / (1 + std::pow(before, 10)) - 0.1 * now) / per_unit);
    if (k % per_value == 0 && k / per_value >= settling) values.push_back(x.back());
  }
  return values;
}

TimeSeries::TimeSeries(const std::vector<double>& values, std::size_t least, const std::string& where) {
  const std::size_t first = values.size() * 4 / 5;
  if (values.size() - first < least) {
    fail("{}: {} values: want at least {}, a fifth of which is kept for the test", where, values.size(),
         5 * least);
  }
  double sum = 0, squares = 0;
  for (std::size_t t = 0; t < first; ++t) sum += values[t];
  mean = sum / static_cast<double>(first);
  for (std::size_t t = 0; t < first; ++t) squares += (values[t] - mean) * (values[t] - mean);
  deviation = std::sqrt(squares / static_cast<double>(first));
  if (!(deviation > 0) || !std::isfinite(deviation)) {
    fail("{}: values with a deviation of {}: want some that differ", where, deviation);
  }
  for (std::size_t t = 0; t < values.size(); ++t) {
    (t < first ? train : test).push_back((values[t] - mean) / deviation);
  }
}

std::vector<double> read_column(const std::string& path, const std::string& name) {
  const Table table = read_table(path);
  const std::size_t column = name.empty() ? table.header.size() - 1 : table.column(name);
  std::vector<double> values;
  for (std::size_t row = 0; row < table.rows.size(); ++row) values.push_back(table.number(row, column));
  return values;
}

}  // namespace reel::examples
