// Any cell over any tree, node by node: the planner makes batches of nodes.
#pragma once

#include <span>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace reel::nn {

// A tree, or several: nodes in post-order, each with the positions of its children, which come before it.
struct Tree {
  std::vector<std::vector<int64_t>> children;

  size_t size() const { return children.size(); }
  std::vector<int64_t> roots() const;  // nodes that are nobody's child
  // Throws where a child does not come before its parent, or where a node is a child twice.
  void check() const;
};

// The state of every node: a tree's counterpart of unroll. The cell maps (x, children's states) to State; x
// holds a row [1, in] for each node, undefined where it has none.
template <class Cell>
std::vector<typename Cell::State> walk(const Cell& cell, const Tree& tree, std::span<const Tensor> x) {
  if (x.size() != tree.size()) fail("[walk] {} rows for {} nodes: want one each", x.size(), tree.size());
  tree.check();
  std::vector<typename Cell::State> states;
  states.reserve(tree.size());
  std::vector<typename Cell::State> children;
  for (size_t k = 0; k < tree.size(); ++k) {
    children.clear();
    for (const int64_t child : tree.children[k]) children.push_back(states[static_cast<size_t>(child)]);
    states.push_back(cell(x[k], children));
  }
  return states;
}

}  // namespace reel::nn
