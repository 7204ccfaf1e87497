// The last line of stdout: `result key=value key=value ...`.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "examples/common/field.h"
#include "examples/common/say.h"

namespace reel::examples {

// Six significant digits, and no exponent where a person would write none.
inline std::string result_number(double x) {
  if (!std::isfinite(x)) return std::isnan(x) ? "nan" : x > 0 ? "inf" : "-inf";
  if (std::abs(x) >= 1e5 && std::abs(x) < 1e15) return fmt::format("{:.0f}", x);
  return fmt::format("{:.6g}", x);
}

// A value is one word: blanks, '%' and control characters become %XX, so that splitting at blanks gives all
// pairs.
inline std::string result_word(const std::string& text) {
  std::string word;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == '%' || byte == 127) {
      word += fmt::format("%{:02X}", byte);
    } else {
      word += c;
    }
  }
  return word;
}

inline std::string result_line(const std::vector<Field>& fields) {
  std::string line = "result";
  for (const Field& field : fields) {
    line += " " + field.key + "=";
    if (const auto* whole = std::get_if<long long>(&field.value)) line += std::to_string(*whole);
    if (const auto* number = std::get_if<double>(&field.value)) line += result_number(*number);
    if (const auto* text = std::get_if<std::string>(&field.value)) line += result_word(*text);
  }
  return line;
}

// print_result({{"loss", loss}, {"chars_per_s", speed}});
inline void print_result(const std::vector<Field>& fields) {
  const std::string line = result_line(fields) + "\n";
  write_out(line);
  if (output_failed() && !output_closed()) fail("The result could not be written to stdout.");
}

}  // namespace reel::examples
