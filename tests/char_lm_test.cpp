// The look into the hidden state of the example char_lm.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <string_view>

#include "examples/char_lm/tales.h"
#include "examples/char_lm/unit.h"
#include "examples/common/checkpoint.h"
#include "examples/data/symbols.h"
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

namespace {

// What stands between the two, and where `text` goes on after it.
std::string between(std::string_view& text, std::string_view before, std::string_view after) {
  const size_t begin = text.find(before);
  REQUIRE(begin != text.npos);
  const size_t from = begin + before.size(), end = text.find(after, from);
  REQUIRE(end != text.npos);
  const std::string found(text.substr(from, end - from));
  text.remove_prefix(end);
  return found;
}

size_t number(const std::string& words) {  // that the words begin with
  const std::array<std::string, 7> numbers = {"no", "one", "two", "three", "four", "five", "six"};
  const auto found = std::ranges::find(numbers, words.substr(0, words.find(' ')));
  REQUIRE(found != numbers.end());
  return static_cast<size_t>(found - numbers.begin());
}

}  // namespace

TEST_CASE("char_lm: what a tale says once it keeps to") {
  std::set<std::string> trades, endings;
  for (uint64_t k = 0; k < 300; ++k) {
    const Text tale = make_tale(k);
    CAPTURE(tale.text);
    std::string_view rest = tale.text;
    const std::string trade = lower(between(rest, "THE ", " AND"));
    const std::string many = lower(between(rest, "AND THE ", "\n"));
    CHECK(between(rest, "There once was a ", " called").ends_with(" " + trade));
    const std::string name = between(rest, "called ", "."), all = between(rest, name + " had ", ".");
    const size_t count = number(all);
    CHECK(all.ends_with(many));
    const std::string gone = between(rest, "One ", " ran away"), left = between(rest, "and ", " left");
    const std::string fled = gone.substr(gone.find(' ', gone.find(' ') + 1) + 1);  // after "foggy night"
    const size_t here = number(left), away = number(fled);
    CHECK(count == here + away);
    CHECK(left.ends_with(here == 1 ? " was" : many + " were"));
    CHECK((away == 1) == !fled.ends_with(many));
    CHECK(fled.ends_with(between(rest, "my ", "?")));
    const std::string asks = between(rest, "\" ", ".");
    CHECK(asks.ends_with(" " + name + " the " + trade));
    const std::string witness = between(rest, "said the ", "."), saw = between(rest, "I saw ", ".\"");
    CHECK(saw.starts_with(fled + " "));
    const std::string place = saw.substr(saw.rfind(' '));
    CHECK(between(rest, "So ", " and ") == name + " thanked the " + witness);
    CHECK(between(rest, " and ", ",").ends_with(place));
    const std::string he = name.ends_with('a') ? "she" : "he";
    CHECK(between(rest, "there ", ".") == he + " found the " + fled);
    CHECK(rest.starts_with(".\n" + name + " the " + trade + " and the " + all + " "));
    trades.insert(trade);
    endings.insert(std::string(rest));
    // Each choice counted by hand; that of how many ran away depends on how many there were.
    const double among = 6. * 5 * 6 * 5 * static_cast<double>(count - 1) * 8 * 8 * 5 * 5 * 4 * 5 * 5 * 6;
    CHECK(tale.nats == doctest::Approx(std::log(among)));
  }
  CHECK(trades.size() == 6);
  CHECK(endings.size() > 200);
}

TEST_CASE("char_lm: the tales are the same on every machine") {
  const Text tales = make_tales(2000);
  CHECK(text_checksum(tales.text) == "91a1ef87");
  CHECK(tales.text.starts_with(make_tale(0).text + make_tale(1).text));
  CHECK(tales.nats > make_tale(0).nats + make_tale(1).nats);
}
