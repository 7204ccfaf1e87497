#include "examples/data/name_lists.h"

#include <algorithm>
#include <filesystem>

#include "examples/common/text_file.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

NameLists read_name_lists(const std::string& folder, std::size_t most) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".txt") files.push_back(it->path());
  }
  if (error) fail("{} could not be read as a folder: {}", folder, error.message());
  if (files.size() < 2) {
    fail("{} holds {} .txt files: want at least two, one a class", folder, files.size());
  }
  std::ranges::sort(files);
  NameLists lists;
  for (const fs::path& file : files) {
    LineReader in(file.string());
    const auto label = static_cast<int64_t>(lists.classes.size());
    lists.classes.push_back(file.stem().string());
    const std::size_t before = lists.names.size();
    while (in.next()) {
      const std::string_view name = trimmed(in.line());
      if (name.empty()) continue;
      if (utf8_chars(name).size() > most) in.wrong("{}: want at most {} characters", quoted(name), most);
      lists.names.emplace_back(name);
      lists.labels.push_back(label);
    }
    if (lists.names.size() == before) fail("{} holds no name: want one a line", in.path());
  }
  return lists;
}

}  // namespace reel::examples
