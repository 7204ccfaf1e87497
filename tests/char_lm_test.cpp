// The look into the hidden state of the example char_lm.
#include <doctest/doctest.h>

#include <cmath>

#include "examples/char_lm/unit.h"
#include "tests/scratch.h"

using namespace reel::examples;
using reel::scratch::Contains;

TEST_CASE("char_lm: places in the word") {
  CHECK(places_in_word({"a", "b", " ", "\n", "c", "d", "\n", "e"}) ==
        std::vector<double>{0, 1, 2, 0, 0, 1, 2, 0});
  CHECK(places_in_word({}).empty());
}

TEST_CASE("char_lm: the unit that goes most with a signal, or against it") {
  const std::vector<double> signal{0, 1, 2, 3};
  // columns: constant, half with it, against it but for a constant, noise
  const std::vector<double> h{7, 0, 5, 1, 7, 1, 4, -1, 7, 1, 3, 1, 7, 2, 2, -1};
  const Unit unit = closest_unit(h, signal);
  CHECK(unit.index == 2);
  CHECK(unit.correlation == doctest::Approx(-1));
  CHECK(closest_unit(h, {1, 1, 1, 1}).correlation == 0);
  CHECK(closest_unit({}, {}).correlation == 0);
  const ShadedWords picture = shaded_by({"a", "b", "\n", "c"}, h, unit, 3);
  CHECK(picture.texts[0].values == std::vector<double>{5, 4, 3});
  CHECK(picture.texts[0].words == std::vector<std::string>{"a", "b", "\n"});
  CHECK(shaded_words(picture) == Contains("Hidden unit 3"));
}
