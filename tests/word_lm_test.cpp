// The sentences of the example word_lm.
#include <doctest/doctest.h>

#include <algorithm>

#include "examples/word_lm/grammar.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

TEST_CASE("word_lm: the verb agrees with the first noun") {
  const std::vector<std::string> many = {"dogs",  "houses", "women",  "children",
                                         "kings", "trees",  "horses", "friends"};
  const std::vector<std::string> adjectives = {"old", "small", "quiet", "young"};
  int attractors = 0;
  for (uint64_t k = 0; k < 300; ++k) {
    const Sentence s = make_agreement(1, k), wrong = with_wrong_verb(s);
    CHECK(s == make_agreement(1, k));
    REQUIRE(s[0] == "the");
    const std::string& noun = std::ranges::count(adjectives, s[1]) > 0 ? s[2] : s[1];
    const bool plural = std::ranges::count(many, noun) > 0;
    CHECK(s.back().ends_with('s') == !plural);
    CHECK(wrong.back().ends_with('s') == plural);
    CHECK(wrong.size() == s.size());
    CHECK(with_wrong_verb(wrong) == s);
    for (size_t t = 3; t < s.size(); ++t) attractors += !plural && std::ranges::count(many, s[t]) > 0;
  }
  CHECK(attractors > 30);  // nouns of the other number stand between
  CHECK(scratch::message_of([] { with_wrong_verb({"the", "dog"}); }) == scratch::Contains("ends in \"dog\""));
}
