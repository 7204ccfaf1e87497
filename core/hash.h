// Hashes of structure, and things of which equal ones are one.
#pragma once

#include <bit>
#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace reel {

inline uint64_t mix(uint64_t h, uint64_t word) {
  h = (h ^ word) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}
inline uint64_t hash_of(std::span<const uint64_t> words) {
  uint64_t lane[4] = {words.size(), 1, 2, 3};  // which need not wait for each other
  size_t k = 0;
  for (; k + 4 <= words.size(); k += 4) {
    for (size_t i = 0; i < 4; ++i) lane[i] = mix(lane[i], words[k + i]);
  }
  for (; k < words.size(); ++k) lane[0] = mix(lane[0], words[k]);
  return mix(mix(lane[0], lane[1]), mix(lane[2], lane[3]));
}

// Numbers of things, found by the things' hashes; `same` compares with one that is known. Grows with what is
// in it: most graphs have few things that are looked for.
class Table {
 public:
  Table() : slots_(64, Slot{}) {}
  // The number of the equal thing that is known; else this is, from now on.
  template <class Same>
  int32_t find(uint64_t hash, int32_t mine, const Same& same) {
    for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      Slot& slot = slots_[at];
      if (slot.number < 0) {
        slot = {hash, mine};
        if (++used_ * 2 > slots_.size()) grow();
        return mine;
      }
      if (slot.hash == hash && same(slot.number)) return slot.number;
    }
  }

 private:
  struct Slot {
    uint64_t hash = 0;
    int32_t number = -1;
  };
  void grow() {
    std::vector<Slot> before(slots_.size() * 4, Slot{});
    before.swap(slots_);
    for (const Slot& slot : before) {
      if (slot.number < 0) continue;
      size_t at = slot.hash & (slots_.size() - 1);
      while (slots_[at].number >= 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
  }
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

// Things that stay where they are, found by hash; not more than `most`.
template <class T>
class Interned {
 public:
  explicit Interned(size_t most) : most_(most) {}
  template <class Same>
  T* find(uint64_t hash, const Same& same) {
    const auto [first, last] = index_.equal_range(hash);
    for (auto it = first; it != last; ++it) {
      if (same(*it->second)) return it->second;
    }
    return nullptr;
  }
  T* add(uint64_t hash) {  // null where there are too many
    if (all_.size() >= most_) return nullptr;
    return index_.emplace(hash, &all_.emplace_back())->second;
  }

 private:
  size_t most_;
  std::list<T> all_;
  std::unordered_multimap<uint64_t, T*> index_;
};

}  // namespace reel
