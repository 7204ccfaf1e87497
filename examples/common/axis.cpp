// Owns nice numbers: ranges, ticks and their labels.
#include "examples/common/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

namespace reel::examples {
namespace {

constexpr double beyond =
    1e300;  // larger values would overflow in the arithmetic here; they count as infinite

// 10⁻⁴, for what would be a row of zeros.
std::string power_of_ten(int exponent) {
  constexpr std::string_view digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char c : std::to_string(std::abs(exponent))) text += digits[c - '0'];
  return text;
}

// 2345.0 with 1 decimal -> "2,345.0".
std::string grouped(double value, int decimals) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  const std::size_t first = text.front() == '-' ? 1 : 0;
  for (std::size_t at = std::min(text.find('.'), text.size()); at > first + 3;) text.insert(at -= 3, 1, ',');
  return text;
}

// A tick on an axis with steps of `step`, whose largest is `largest`.
std::string linear_label(double value, double step, double largest) {
  if (largest >= 1e9 || largest < 1e-3) return value == 0 ? "0" : fmt::format("{:.3g}", value);
  if (largest >= 1e6) return value == 0 ? "0" : fmt::format("{:.6g}M", value / 1e6);
  return grouped(value, std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 9));
}

std::string log_label(int mantissa, int exponent) {
  if (exponent >= -3 && exponent <= 5)
    return grouped(mantissa * std::pow(10, exponent), std::max(0, -exponent));
  const std::string power = power_of_ten(exponent);
  return mantissa == 1 ? power : fmt::format("{}·{}", mantissa, power);
}

double nice_step(double range, int wanted) {
  const double rough = range / std::max(1, wanted);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power * 1.0001) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::vector<Tick> nice_ticks(double low, double high, int wanted) {
  const double step = nice_step(high - low, wanted);
  const double first = std::ceil(low / step - 1e-6), last = std::floor(high / step + 1e-6);
  const double largest = std::max(std::abs(low), std::abs(high));
  std::vector<Tick> ticks;
  for (double i = first; i <= last && ticks.size() < 50; ++i) {
    const double value = i == 0 ? 0 : i * step;  // no "-0"
    ticks.push_back({value, linear_label(value, step, largest)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high, int wanted) {
  const int first = static_cast<int>(std::floor(std::log10(low))),
            last = static_cast<int>(std::ceil(std::log10(high)));
  const double decades = std::log10(high) - std::log10(low);
  if (decades < 1) return nice_ticks(low, high, wanted);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / wanted)));
  std::vector<Tick> ticks;
  for (int exponent = first; exponent <= last; ++exponent) {
    for (const int mantissa : {1, 2, 5}) {
      const double value = mantissa * std::pow(10, exponent);
      const bool wanted_here = mantissa == 1 ? exponent % every == 0 : 2.5 * decades <= wanted;
      if (wanted_here && value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
        ticks.push_back({value, log_label(mantissa, exponent)});
      }
    }
  }
  return ticks;
}

Axis::Axis(const std::vector<double>& values, bool log, double air) : log_(log) {
  for (const double value : values) {
    if (!shows(value)) continue;
    low_ = empty_ ? value : std::min(low_, value);
    high_ = empty_ ? value : std::max(high_, value);
    empty_ = false;
  }
  if (empty_) {
    low_ = log ? 0.1 : 0, high_ = 1;
    return;
  }
  const double size = std::max(std::abs(low_), std::abs(high_));
  if (log) {
    const double factor = high_ / low_ < 1.0001 ? 2 : std::pow(high_ / low_, air);
    low_ /= factor, high_ *= factor;
  } else {
    const bool flat = high_ - low_ <= 1e-9 * size || size < 1 / beyond;
    const double margin = flat ? (size < 1 / beyond ? 1 : 0.1 * size) : air * (high_ - low_);
    low_ -= margin, high_ += margin;
  }
}

bool Axis::shows(double value) const {
  return std::abs(value) < beyond && (!log_ || value > 1 / beyond);  // false for NaN
}

double Axis::place(double value) const {
  return log_ ? (std::log(value) - std::log(low_)) / (std::log(high_) - std::log(low_))
              : (value - low_) / (high_ - low_);
}

std::vector<Tick> Axis::ticks(int wanted) const {
  return log_ ? log_ticks(low_, high_, wanted) : nice_ticks(low_, high_, wanted);
}

}  // namespace reel::examples
