#include "examples/data/trees.h"

#include <algorithm>
#include <charconv>

#include "examples/data/line_reader.h"

namespace reel::examples {

namespace {

// Reads one line. Open brackets are kept in a list, not on the stack: a line may nest as deep as it is long.
class TreeParser {
 public:
  TreeParser(const LineReader& in, int64_t classes) : in_(in), text_(in.line()), classes_(classes) {}

  LabelledTree parse() {
    for (skip_blanks(); at_ < text_.size(); skip_blanks()) {
      if (done_) wrong("more text after the tree's last bracket: want one tree a line");
      if (text_[at_] == '(') {
        open();
      } else if (text_[at_] == ')') {
        close();
      } else {
        leaf(atom());
      }
    }
    if (!done_) wrong("{} brackets are still open at the end of the line", open_.size());
    return std::move(tree_);
  }

 private:
  struct Open {
    int64_t label;
    std::string word;
    std::vector<int64_t> children;
  };

  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    in_.wrong("column {}: {}", at_ + 1, fmt::format(format, std::forward<Args>(args)...));
  }

  void skip_blanks() { at_ = std::min(text_.find_first_not_of(" \t", at_), text_.size()); }

  std::string_view atom() {
    const std::size_t end = std::min(text_.find_first_of("() \t", at_), text_.size());
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    return word;
  }

  void open() {
    ++at_;
    skip_blanks();
    const std::string_view word = atom();
    int64_t label = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), label);
    if (error != std::errc() || end != word.data() + word.size() || label < 0 || label >= classes_) {
      wrong("the label {}: want a bracket to begin with one of 0 to {}", quoted(word), classes_ - 1);
    }
    open_.push_back({label, {}, {}});
  }

  void leaf(std::string_view word) {
    if (open_.empty()) wrong("{} outside of brackets: want (LABEL ...)", quoted(word));
    if (!open_.back().word.empty() || !open_.back().children.empty()) {
      wrong("{}: want (LABEL WORD) or (LABEL TREE TREE)", quoted(word));
    }
    open_.back().word = word;
  }

  void close() {
    if (open_.empty()) wrong("a bracket closes that was never opened");
    Open node = std::move(open_.back());
    open_.pop_back();
    const std::size_t children = node.children.size();
    if (node.word.empty() ? children != 2 : children != 0) {
      wrong("a node with {} children{}: want (LABEL WORD) or (LABEL TREE TREE)", children,
            node.word.empty() ? " and no word" : " and a word");
    }
    if (open_.empty()) {
      done_ = true;
    } else {
      open_.back().children.push_back(static_cast<int64_t>(tree_.labels.size()));
    }
    tree_.tree.children.push_back(std::move(node.children));
    tree_.labels.push_back(node.label);
    tree_.words.push_back(std::move(node.word));
    ++at_;
  }

  const LineReader& in_;
  std::string_view text_;
  int64_t classes_;
  std::size_t at_ = 0;
  bool done_ = false;
  std::vector<Open> open_;
  LabelledTree tree_;
};

}  // namespace

std::vector<std::string> LabelledTree::sentence() const {
  std::vector<std::string> leaves;
  for (const std::string& word : words) {
    if (!word.empty()) leaves.push_back(word);
  }
  return leaves;
}

std::vector<LabelledTree> read_trees(const std::string& path, int64_t classes) {
  LineReader in(path);
  std::vector<LabelledTree> trees;
  while (in.next()) {
    if (!trimmed(in.line()).empty()) trees.push_back(TreeParser(in, classes).parse());
  }
  if (trees.empty()) fail("{} holds no tree: want (LABEL TREE TREE), one a line", path);
  return trees;
}

}  // namespace reel::examples
