// Tables in CSV (RFC 4180) or TSV.
#pragma once

#include <string>
#include <vector>

namespace reel::examples {

struct Table {
  std::string path;
  std::vector<std::string> header;             // empty where none was asked for
  std::vector<std::vector<std::string>> rows;  // of one width
  std::vector<long> line;                      // where each row begins

  std::size_t column(const std::string& name) const;         // throws, with the names there are
  double number(std::size_t row, std::size_t column) const;  // finite; throws, naming file, line and column
};

// The separator is a tab where the first line has one, else a comma. Fields may be quoted, with "" for a
// quote, and then hold separators and line ends. Blank lines are passed over. Throws, naming file and line,
// at quotes that do not match and rows of another width.
Table read_table(const std::string& path, bool header = true);

}  // namespace reel::examples
