// Distinct strings (words, characters) and their ids.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace reel::examples {

// Id 0 stands for what is unknown; the others are in the order of their texts.
class Symbols {
 public:
  Symbols() = default;
  explicit Symbols(const std::vector<std::vector<std::string>>& texts, long min_count = 1);

  int64_t size() const { return static_cast<int64_t>(names_.size()); }
  int64_t operator[](const std::string& name) const;  // 0 where there is none
  const std::string& name(int64_t id) const { return names_[static_cast<std::size_t>(id)]; }
  std::vector<int64_t> ids(const std::vector<std::string>& text) const;
  std::string joined() const;  // a line each, for a model's metadata

 private:
  std::vector<std::string> names_;
  std::map<std::string, int64_t, std::less<>> ids_;
};

std::vector<std::string> characters_of(std::string_view text);    // code points
std::vector<std::string> blank_separated(std::string_view text);  // at blanks

std::string lower(std::string text);  // ASCII letters only

}  // namespace reel::examples
