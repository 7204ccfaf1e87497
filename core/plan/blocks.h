// Memory in the making: blocks whose distance from each other is not known yet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace reel::plan {

// Blocks of memory whose distance from each other is fixed by and by: a union-find with offsets, and for each
// cluster the stretches that are taken.
class Blocks {
 public:
  struct Spot {
    int32_t cluster;
    int64_t offset;
  };

  int32_t add(int64_t bytes, bool leaf) {
    parent_.push_back(static_cast<int32_t>(parent_.size()));
    offset_.push_back(0);
    leaf_.push_back(leaf);
    taken_.emplace_back();
    if (bytes > 0) taken_.back()[0] = bytes;
    return parent_.back();
  }

  Spot find(int32_t block) {
    int64_t offset = 0;
    while (parent_[at(block)] != block) {
      offset += offset_[at(block)];
      block = parent_[at(block)];
    }
    return {block, offset};
  }

  bool leaf(int32_t cluster) const { return leaf_[at(cluster)]; }

  // Whether [begin, end) of the cluster is free.
  bool free(int32_t cluster, int64_t begin, int64_t end) const {
    const auto& taken = taken_[at(cluster)];
    auto next = taken.lower_bound(begin);
    if (next != taken.end() && next->first < end) return false;
    return next == taken.begin() || std::prev(next)->second <= begin;
  }
  void take(int32_t cluster, int64_t begin, int64_t end) { taken_[at(cluster)][begin] = end; }

  // Whether cluster `b` fits into `a` with its start at `shift`.
  bool fits(int32_t a, int32_t b, int64_t shift) const {
    return std::all_of(taken_[at(b)].begin(), taken_[at(b)].end(), [&](const auto& stretch) {
      return free(a, stretch.first + shift, stretch.second + shift);
    });
  }
  void unite(int32_t a, int32_t b, int64_t shift) {
    parent_[at(b)] = a;
    offset_[at(b)] = shift;
    for (const auto& [begin, end] : taken_[at(b)]) taken_[at(a)][begin + shift] = end + shift;
    taken_[at(b)].clear();
  }

  // Unites them though both take [begin, end) of b; false, and nothing done, where they meet elsewhere.
  bool lay_over(int32_t a, int32_t b, int64_t shift, int64_t begin, int64_t end) {
    std::map<int64_t, int64_t> rest;
    for (const auto& [from, to] : taken_[at(b)]) {
      if (from < begin) rest[from] = std::min(to, begin);
      if (to > end) rest[std::max(from, end)] = to;
    }
    std::swap(taken_[at(b)], rest);
    if (fits(a, b, shift)) {
      unite(a, b, shift);
      return true;
    }
    std::swap(taken_[at(b)], rest);
    return false;
  }

  // From the first byte taken to the last.
  std::pair<int64_t, int64_t> extent(int32_t cluster) const {
    const auto& taken = taken_[at(cluster)];
    if (taken.empty()) return {0, 0};
    return {taken.begin()->first, std::prev(taken.end())->second};
  }
  void stretches(int32_t cluster, int64_t shift, std::vector<std::pair<int64_t, int64_t>>& out) const {
    for (const auto& [begin, end] : taken_[at(cluster)]) out.emplace_back(begin + shift, end + shift);
  }

 private:
  static size_t at(int32_t k) { return static_cast<size_t>(k); }
  std::vector<int32_t> parent_;
  std::vector<int64_t> offset_;  // from the parent's start
  std::vector<bool> leaf_;
  std::vector<std::map<int64_t, int64_t>> taken_;  // begin to end, of clusters
};

}  // namespace reel::plan
