// Made-up lives of people of Westeros, word by word, and the word that tells whose house they belong to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reel::examples {

inline constexpr int house_count = 6;
const char* house_name(int64_t house);

enum class Teller { name, home, spouse };  // which word gives the house away

struct Life {
  std::vector<std::string> words;
  int64_t house;
  Teller teller;
  std::size_t telling;  // the position of that word
};

// Person number `k` of this seed. The surname tells in half of all cases ("Arya Stark"); else it is one that
// all houses share ("Snow"), and the home tells ("of Winterfell"). With marital status, at the end of the
// text, those who have wed belong to the house they married into, unless their name tells already.
Life make_life(uint64_t seed, uint64_t k, bool marital);

}  // namespace reel::examples
