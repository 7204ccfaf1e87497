// Labelled binary trees in Penn Treebank brackets, one a line, as the Stanford Sentiment Treebank has them:
//   (3 (2 It) (4 (2 's) (4 lovely)))
#pragma once

#include <string>
#include <vector>

#include "nn/tree_lstm.h"

namespace reel::examples {

struct LabelledTree {
  nn::Tree tree;                   // nodes in post-order; the last one is the root
  std::vector<int64_t> labels;     // of every node
  std::vector<std::string> words;  // of leaves; empty for the others

  std::vector<std::string> sentence() const;
  int64_t label() const { return labels.back(); }
};

// Labels are 0 to classes - 1; an inner node has two children. Throws, naming file, line and column.
std::vector<LabelledTree> read_trees(const std::string& path, int64_t classes = 5);

}  // namespace reel::examples
