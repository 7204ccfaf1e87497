// What was made lately, found by hash; the longest unused go first.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

namespace reel::plan {

// How many are worth keeping follows from use: few, until something is asked for again that was kept too
// briefly. A program whose structures never come again (new trees at every step) would gain nothing from
// hundreds of plans, and pay for walking through their memory.
template <class T>
class Recent {
 public:
  explicit Recent(size_t most) : most_(most) {}

  // The latest from now on; null where there is none.
  template <class Same>
  T* find(uint64_t hash, const Same& same) {
    for (auto [it, end] = index_.equal_range(hash); it != end; ++it) {
      if (!same(it->second->thing)) continue;
      order_.splice(order_.begin(), order_, it->second);
      return &order_.front().thing;
    }
    if (dropped(hash) == hash) room_ = std::min(most_, 2 * room_);
    return nullptr;
  }
  T& keep(uint64_t hash, T thing) {
    order_.push_front({hash, std::move(thing)});
    index_.emplace(hash, order_.begin());
    return order_.front().thing;
  }

  size_t size() const { return order_.size(); }
  bool crowded() const { return order_.size() > room_; }
  T& oldest() { return order_.back().thing; }
  void drop_oldest() {
    const auto last = std::prev(order_.end());
    dropped(last->hash) = last->hash;
    for (auto [it, end] = index_.equal_range(last->hash); it != end; ++it) {
      if (it->second != last) continue;
      index_.erase(it);
      break;
    }
    order_.pop_back();
  }

 private:
  struct Entry {
    uint64_t hash;
    T thing;
  };
  using Order = std::list<Entry>;
  uint64_t& dropped(uint64_t hash) { return dropped_[hash % dropped_.size()]; }

  size_t most_, room_ = 16;
  Order order_;
  std::unordered_multimap<uint64_t, typename Order::iterator> index_;
  std::array<uint64_t, 4096> dropped_{};  // hashes
};

}  // namespace reel::plan
