// Random bits: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011), a function from a counter and a key to four words. A number depends on nothing but the seed, the
// call that draws it and the element's index, so it is the same under any number of threads, in any order,
// and when computed again.
#pragma once

#include <array>
#include <cstdint>

namespace reel {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The generator of this thread: its seed, and how many calls have drawn from it. A call takes the position it
// finds when it is recorded.
struct RandomState {
  uint64_t seed = 0;
  uint64_t position = 0;
  bool operator==(const RandomState&) const = default;
};
RandomState random_state();
void set_random_state(RandomState state);  // to continue a run where it was saved
void manual_seed(uint64_t seed);           // begins again at position 0; threads start with seed 0
RandomState next_random_call();            // the state that a call shall draw with; the position moves on

// The words of elements first, first + 1, .. of the call that drew at this state; `first` is a multiple of
// kWords.
inline constexpr int64_t kWords = 128;  // are made at a time
std::array<uint32_t, kWords> random_words(RandomState call, int64_t first);

}  // namespace reel
