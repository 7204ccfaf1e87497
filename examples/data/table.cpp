#include "examples/data/table.h"

#include <charconv>
#include <cmath>

#include "examples/common/text_file.h"
#include "examples/data/line_reader.h"

namespace reel::examples {

namespace {

class TableParser {
 public:
  TableParser(std::string_view text, const std::string& path) : text_(text), path_(path) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
    separator_ = text_.substr(0, text_.find('\n')).find('\t') != std::string_view::npos ? '\t' : ',';
  }

  bool next(std::vector<std::string>& row) {
    row.clear();
    while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) line_ += text_[at_++] == '\n';
    if (at_ >= text_.size()) return false;
    begin_ = line_;
    do {
      row.push_back(peek() == '"' ? quoted_field() : plain_field());
    } while (take(separator_));
    take('\r');
    if (at_ < text_.size() && !take('\n')) wrong(line_, "a field goes on after its closing quote");
    ++line_;
    return true;
  }
  long line() const { return begin_; }  // where the row began

 private:
  template <class... Args>
  [[noreturn]] void wrong(long line, fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}, line {}: {}", path_, line, fmt::format(format, std::forward<Args>(args)...));
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\n'; }
  bool take(char c) {
    const bool is = at_ < text_.size() && text_[at_] == c;
    at_ += is;
    return is;
  }

  std::string plain_field() {
    const std::size_t begin = at_;
    while (peek() != separator_ && peek() != '\n') {
      if (peek() == '"' && separator_ == ',') {
        wrong(line_, "a quote inside of {}: want the whole field in quotes",
              quoted(text_.substr(begin, text_.find_first_of("\r\n", begin) - begin)));
      }
      ++at_;
    }
    std::string_view field = text_.substr(begin, at_ - begin);
    if (field.ends_with('\r') && peek() == '\n') field.remove_suffix(1);
    return std::string(field);
  }

  std::string quoted_field() {
    const long opened = line_;
    std::string field;
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) wrong(opened, "a quote opens here and never closes");
      if (text_[at_] == '"') {
        ++at_;
        if (peek() != '"' || at_ >= text_.size()) return field;
      }
      line_ += text_[at_] == '\n';
      field += text_[at_];
    }
  }

  std::string_view text_;
  const std::string& path_;
  char separator_;
  std::size_t at_ = 0;
  long line_ = 1, begin_ = 1;
};

}  // namespace

std::size_t Table::column(const std::string& name) const {
  std::string names;
  for (std::size_t k = 0; k < header.size(); ++k) {
    if (header[k] == name) return k;
    names += (k > 0 ? ", " : "") + header[k].substr(0, 40);
  }
  fail("{}, line 1: there is no column {}; the columns are {}", path, quoted(name), quoted(names));
}

double Table::number(std::size_t row, std::size_t column) const {
  const std::string_view field = trimmed(rows[row][column]);
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value)) {
    fail("{}, line {}, column {}: {} is no number", path, line[row], column + 1, quoted(field));
  }
  return value;
}

Table read_table(const std::string& path, bool header) {
  const std::string text = read_text(path, most_record_bytes);
  check_utf8(text, path);
  TableParser parser(text, path);
  Table table{.path = path, .header = {}, .rows = {}, .line = {}};
  std::size_t width = 0;
  for (std::vector<std::string> row; parser.next(row);) {
    if (width == 0) width = row.size();
    if (row.size() != width) {
      fail("{}, line {}: {} fields; want {}, as in the rows before", path, parser.line(), row.size(), width);
    }
    if (header && table.header.empty()) {
      table.header = std::move(row);
    } else {
      table.rows.push_back(std::move(row));
      table.line.push_back(parser.line());
    }
  }
  if (table.rows.empty()) fail("{} holds no rows{}", path, header ? " after its header" : "");
  return table;
}

}  // namespace reel::examples
