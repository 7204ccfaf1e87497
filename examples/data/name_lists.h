// A folder of lists, one file a class: names/Greek.txt holds Greek names, a line each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reel::examples {

struct NameLists {
  std::vector<std::string> classes;  // the files' names without .txt, sorted
  std::vector<std::string> names;    // in the order of the files; blanks at the ends are dropped
  std::vector<int64_t> labels;       // the class of each name
};

// Throws, naming what was wrong, unless there are at least two .txt files, each of UTF-8 text with at least
// one name of at most `most` characters a line.
NameLists read_name_lists(const std::string& folder, std::size_t most = 100);

}  // namespace reel::examples
