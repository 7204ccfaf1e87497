// The text that char_lm learns where it is given none: tales by a small grammar, whose entropy is known.
#pragma once

#include <cstdint>
#include <string>

namespace reel::examples {

struct Text {
  std::string text;
  double nats;  // -log of the probability of this text, which no model can undercut in the long run
};

// "THE MILLER AND THE GEESE": names, trades, places and numbers come back sentences later, some ran away and
// the others are counted, quotes are closed. Tale `k` is the same on every machine.
Text make_tale(uint64_t k);
Text make_tales(uint64_t count);

}  // namespace reel::examples
