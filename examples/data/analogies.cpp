#include "examples/data/analogies.h"

#include "examples/data/line_reader.h"

namespace reel::examples {

std::vector<AnalogySection> read_analogies(const std::string& path) {
  LineReader in(path);
  std::vector<AnalogySection> sections;
  std::size_t questions = 0;
  while (in.next()) {
    const std::string_view line = trimmed(in.line());
    if (line.empty()) continue;
    if (line.starts_with(':')) {
      const std::string_view name = trimmed(line.substr(1));
      if (name.empty()) in.wrong("a section without a name: want \": NAME\"");
      sections.push_back({std::string(name), {}});
      continue;
    }
    const auto words = words_of(line);
    if (words.size() != 4) in.wrong("{} has {} words; want four", quoted(line), words.size());
    if (sections.empty()) in.wrong("{} before any section: want \": NAME\" first", quoted(line));
    auto& question = sections.back().questions.emplace_back();
    for (std::size_t k = 0; k < 4; ++k) question[k] = words[k];
    ++questions;
  }
  if (questions == 0) fail("{} holds no questions: want \": NAME\", then four words a line", path);
  return sections;
}

}  // namespace reel::examples
