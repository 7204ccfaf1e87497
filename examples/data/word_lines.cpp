#include "examples/data/word_lines.h"

#include <algorithm>
#include <map>
#include <set>

#include "examples/data/line_reader.h"
#include "examples/data/symbols.h"

namespace reel::examples {

std::vector<Sentence> read_sentences(const std::string& path) {
  LineReader in(path);
  std::vector<Sentence> text;
  while (in.next()) {
    std::string line;
    for (const char c : lower(std::string(in.line()))) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & 0x80) != 0;
      line += letter || c == '\'' ? std::string(1, c) : std::string(" ") + c + " ";
    }
    Sentence words = blank_separated(line);
    if (words.size() > 1) text.push_back(std::move(words));
  }
  if (text.empty()) fail("{} holds no line of two words", path);
  return text;
}

std::vector<Sentence> only_commonest(std::vector<Sentence> text, std::size_t most) {
  std::map<std::string, long> counts;
  for (const Sentence& sentence : text) {
    for (const std::string& word : sentence) ++counts[word];
  }
  std::vector<std::pair<long, std::string>> ranked;
  for (const auto& [word, count] : counts) ranked.emplace_back(-count, word);
  std::ranges::sort(ranked);
  std::set<std::string> kept;
  for (std::size_t k = 0; k < std::min(most, ranked.size()); ++k) kept.insert(ranked[k].second);
  for (Sentence& sentence : text) {
    std::erase_if(sentence, [&](const std::string& word) { return !kept.contains(word); });
  }
  return text;
}

}  // namespace reel::examples
