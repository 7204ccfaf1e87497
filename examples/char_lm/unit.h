// A look into the hidden state: the unit that follows the place in the word, over a piece of the text.
#pragma once

#include <string>
#include <vector>

#include "examples/common/svg.h"

namespace reel::examples {

// How many letters stand between each character and the last blank or line end.
std::vector<double> places_in_word(const std::vector<std::string>& text);

struct Unit {
  std::size_t index;
  double correlation;  // with what is looked for
};
// Of the columns of h [signal.size(), units] the one that goes most with the signal, or most against it. A
// constant correlates with nothing.
Unit closest_unit(const std::vector<double>& h, const std::vector<double>& signal);

// The first `most` characters shaded by that unit.
ShadedWords shaded_by(const std::vector<std::string>& text, const std::vector<double>& h, const Unit& unit,
                      std::size_t most);

}  // namespace reel::examples
