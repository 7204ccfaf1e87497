#include "examples/data/line_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "examples/common/text_file.h"

namespace reel::examples {

LineReader::LineReader(std::string path, std::size_t most)
    : path_(std::move(path)), text_(read_text(path_, most)), rest_(text_) {
  check_utf8(text_, path_);
  if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
}

bool LineReader::next() {
  if (rest_.empty()) return false;
  const std::size_t end = rest_.find('\n');
  line_ = rest_.substr(0, end);
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  ++number_;
  return true;
}

double LineReader::number_in(std::string_view word) const {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  const bool whole = error == std::errc() && end == word.data() + word.size();
  if (!whole || !std::isfinite(value)) wrong("{} is no number: want one like -0.25", quoted(word));
  return value;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t most = 40;
  std::string shown = "\"";
  std::size_t count = 0;
  for (const std::string_view c : utf8_chars(text.substr(0, 4 * most))) {
    if (count++ == most) break;
    const bool control = static_cast<unsigned char>(c[0]) < ' ' || c[0] == 127;
    shown += control ? "?" : c;
  }
  return shown + (shown.size() - 1 < text.size() ? "...\"" : "\"");
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = text.find_first_not_of(" \t"); at != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(" \t", at), text.size());
    words.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(" \t", end);
  }
  return words;
}

std::vector<std::string_view> fields_of(std::string_view text, char separator) {
  std::vector<std::string_view> fields;
  for (std::size_t at = 0;;) {
    const std::size_t end = text.find(separator, at);
    fields.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    if (end == std::string_view::npos) return fields;
    at = end + 1;
  }
}

}  // namespace reel::examples
