#include "core/random.h"

#include <cstddef>
#include <tuple>
#include <utility>

namespace reel {

namespace {

thread_local RandomState current;

std::pair<uint32_t, uint32_t> words(uint64_t x) {
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}

// Ten rounds on `lanes` counters side by side, c[word][lane], for the compiler to turn into SIMD.
template <size_t lanes>
void rounds(std::array<std::array<uint32_t, lanes>, 4>& c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < lanes; ++i) {
      const uint64_t product0 = uint64_t{0xD2511F53} * c[0][i], product1 = uint64_t{0xCD9E8D57} * c[2][i];
      c[0][i] = static_cast<uint32_t>(product1 >> 32) ^ c[1][i] ^ key[0];
      c[1][i] = static_cast<uint32_t>(product1);
      c[2][i] = static_cast<uint32_t>(product0 >> 32) ^ c[3][i] ^ key[1];
      c[3][i] = static_cast<uint32_t>(product0);
    }
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  std::array<std::array<uint32_t, 1>, 4> c{{{counter[0]}, {counter[1]}, {counter[2]}, {counter[3]}}};
  rounds(c, key);
  return {c[0][0], c[1][0], c[2][0], c[3][0]};
}

RandomState random_state() { return current; }
void set_random_state(RandomState state) { current = state; }
void manual_seed(uint64_t seed) { current = {seed, 0}; }
RandomState next_random_call() { return {current.seed, current.position++}; }

// Four elements share a counter: [element / 4, 64 bits; position, 64 bits], with the seed as key.
std::array<uint32_t, kWords> random_words(RandomState call, int64_t first) {
  constexpr size_t lanes = kWords / 4;
  std::array<std::array<uint32_t, lanes>, 4> c;
  for (size_t i = 0; i < lanes; ++i) {
    std::tie(c[0][i], c[1][i]) = words(static_cast<uint64_t>(first) / 4 + i);
    std::tie(c[2][i], c[3][i]) = words(call.position);
  }
  const auto [key0, key1] = words(call.seed);
  rounds(c, {key0, key1});
  std::array<uint32_t, kWords> out;
  for (size_t i = 0; i < lanes; ++i) {
    for (size_t word = 0; word < 4; ++word) out[i * 4 + word] = c[word][i];
  }
  return out;
}

}  // namespace reel
