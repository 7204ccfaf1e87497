#include "examples/data/symbols.h"

#include "examples/common/text_file.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

Symbols::Symbols(const std::vector<std::vector<std::string>>& texts, long min_count) : names_{"<unk>"} {
  std::map<std::string, long> counts;
  for (const auto& text : texts) {
    for (const std::string& name : text) ++counts[name];
  }
  for (const auto& [name, count] : counts) {
    if (count < min_count) continue;
    ids_.emplace(name, size());
    names_.push_back(name);
  }
}

int64_t Symbols::operator[](const std::string& name) const {
  const auto found = ids_.find(name);
  return found == ids_.end() ? 0 : found->second;
}

std::vector<int64_t> Symbols::ids(const std::vector<std::string>& text) const {
  std::vector<int64_t> result;
  for (const std::string& name : text) result.push_back((*this)[name]);
  return result;
}

std::string Symbols::joined() const {
  std::string text;
  for (const std::string& name : names_) text += name + "\n";
  return text;
}

std::vector<std::string> characters_of(std::string_view text) {
  const auto views = utf8_chars(text);
  return {views.begin(), views.end()};
}

std::vector<std::string> blank_separated(std::string_view text) {
  const auto views = words_of(text);
  return {views.begin(), views.end()};
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

}  // namespace reel::examples
