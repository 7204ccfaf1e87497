// Sorting by counting: for keys that are about as many as what is sorted, several times as fast as comparing.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace reel::plan {

// What was there in the order of its keys, 0 to keys - 1, and as it came where these are the same.
template <class T, class Key>
std::vector<T> counted(const std::vector<T>& items, int64_t keys, const Key& key) {
  std::vector<size_t> next(static_cast<size_t>(keys) + 1, 0);
  for (const T& item : items) ++next[static_cast<size_t>(key(item)) + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  std::vector<T> sorted(items.size());
  for (const T& item : items) sorted[next[static_cast<size_t>(key(item))]++] = item;
  return sorted;
}

}  // namespace reel::plan
