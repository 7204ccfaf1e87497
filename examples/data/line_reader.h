// A text file read line by line, with errors that name the file and the line.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace reel::examples {

// Records take several times the memory of their text, so that a small bound on it is a bound on them.
inline constexpr std::size_t most_record_bytes = std::size_t{1} << 28;

class LineReader {
 public:
  // Reads the whole file, which may be gzip or zip; throws unless it is UTF-8 text.
  explicit LineReader(std::string path, std::size_t most = most_record_bytes);
  LineReader(const LineReader&) = delete;  // line() looks into text_
  LineReader& operator=(const LineReader&) = delete;

  bool next();  // false after the last line
  std::string_view line() const { return line_; }
  long number() const { return number_; }  // of the line, from 1
  const std::string& path() const { return path_; }

  // Throws "PATH, line N: ...".
  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}, line {}: {}", path_, number_, fmt::format(format, std::forward<Args>(args)...));
  }
  double number_in(std::string_view word) const;  // finite, all of the word; throws otherwise

 private:
  std::string path_, text_;
  std::string_view rest_, line_;
  long number_ = 0;
};

// A stretch of somebody's file as it may stand in a message: short, and without control characters.
std::string quoted(std::string_view text);
std::string_view trimmed(std::string_view text);                // without blanks at both ends
std::vector<std::string_view> words_of(std::string_view text);  // between blanks and tabs
std::vector<std::string_view> fields_of(std::string_view text, char separator);

}  // namespace reel::examples
