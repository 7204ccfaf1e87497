#include "nn/tree.h"

namespace reel::nn {

void Tree::check() const {
  std::vector<bool> taken(size(), false);
  for (size_t k = 0; k < size(); ++k) {
    for (const int64_t child : children[k]) {
      if (child < 0 || child >= static_cast<int64_t>(k)) {
        fail("[Tree] node {} has child {}: want children before their parent", k, child);
      }
      if (taken[static_cast<size_t>(child)]) fail("[Tree] node {} is a child twice: want a tree", child);
      taken[static_cast<size_t>(child)] = true;
    }
  }
}

std::vector<int64_t> Tree::roots() const {
  std::vector<bool> has_parent(size(), false);
  for (const auto& node : children) {
    for (const int64_t child : node) has_parent.at(static_cast<size_t>(child)) = true;
  }
  std::vector<int64_t> roots;
  for (size_t k = 0; k < size(); ++k) {
    if (!has_parent[k]) roots.push_back(static_cast<int64_t>(k));
  }
  return roots;
}

}  // namespace reel::nn
