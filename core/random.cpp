#include "core/random.h"

#include <utility>

namespace reel {

namespace {

thread_local RandomState current;

std::pair<uint32_t, uint32_t> multiply(uint32_t a, uint32_t b) {  // high word, low word
  const uint64_t product = uint64_t{a} * b;
  return {static_cast<uint32_t>(product >> 32), static_cast<uint32_t>(product)};
}

std::pair<uint32_t, uint32_t> words(uint64_t x) {
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const auto [high0, low0] = multiply(0xD2511F53, c[0]);
    const auto [high1, low1] = multiply(0xCD9E8D57, c[2]);
    c = {high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return c;
}

RandomState random_state() { return current; }
void set_random_state(RandomState state) { current = state; }
void manual_seed(uint64_t seed) { current = {seed, 0}; }
RandomState next_random_call() { return {current.seed, current.position++}; }

std::array<uint32_t, 4> random_words(RandomState call, uint64_t block) {
  const auto [block0, block1] = words(block);
  const auto [position0, position1] = words(call.position);
  const auto [key0, key1] = words(call.seed);
  return philox({block0, block1, position0, position1}, {key0, key1});
}

}  // namespace reel
