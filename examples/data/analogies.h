// Analogy questions as word2vec's questions-words.txt has them: ": section", then four words a line, of which
// the fourth is to the third as the second is to the first.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace reel::examples {

struct AnalogySection {
  std::string name;
  std::vector<std::array<std::string, 4>> questions;
};

std::vector<AnalogySection> read_analogies(const std::string& path);  // throws, naming file and line

}  // namespace reel::examples
