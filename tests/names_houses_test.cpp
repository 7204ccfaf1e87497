// The data of the examples names and houses.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "examples/data/symbols.h"
#include "examples/houses/lives.h"
#include "examples/names/lists.h"

using namespace reel::examples;

TEST_CASE("names: every so-many-th of a language is held out, and nothing is on both sides") {
  const NameSplit split = split_names({.classes = {"A", "B"},
                                       .names = {"a", "b", "b", "c", "d", "e", "a", "f", "g"},
                                       .labels = {0, 0, 0, 0, 0, 1, 1, 1, 1}},
                                      2);
  CHECK(split.test.names == std::vector<std::string>{"b", "d", "a", "g"});
  CHECK(split.test.labels == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(split.train.names == std::vector<std::string>{"a", "c", "e", "f"});
  CHECK(split.train.labels == std::vector<int64_t>{0, 0, 1, 1});
}

TEST_CASE("names: the embedded lists hold forty names of each language, all different") {
  const NameLists all = embedded_names();
  CHECK(all.classes.size() == 6);
  for (int64_t label = 0; label < 6; ++label)
    CHECK(std::count(all.labels.begin(), all.labels.end(), label) == 40);
  CHECK(std::set<std::string>(all.names.begin(), all.names.end()).size() == all.names.size());
}

TEST_CASE("symbols: ids in the order of their texts, 0 for what is unknown or rare") {
  const Symbols symbols({{"b", "a", "b"}, {"c", "b", "a"}}, 2);
  CHECK(symbols.size() == 3);
  CHECK(symbols.ids({"a", "b", "c", "d"}) == std::vector<int64_t>{1, 2, 0, 0});
  CHECK(symbols.name(2) == "b");
  CHECK(symbols.joined() == "<unk>\na\nb\n");
  CHECK(characters_of("né") == std::vector<std::string>{"n", "é"});
  CHECK(blank_separated(" of  Pyke ") == std::vector<std::string>{"of", "Pyke"});
}

TEST_CASE("houses: the word that tells does tell, and the same number gives the same life") {
  int tellers[3] = {0, 0, 0};
  for (uint64_t k = 0; k < 500; ++k) {
    for (const bool marital : {false, true}) {
      const Life life = make_life(1, k, marital);
      CHECK(life.words == make_life(1, k, marital).words);
      REQUIRE(life.telling < life.words.size());
      ++tellers[static_cast<int>(life.teller)];
      const std::string& word = life.words[life.telling];
      if (life.teller == Teller::name) {
        CHECK(life.telling == 1);
        CHECK(word == house_name(life.house));
      }
      if (life.teller == Teller::home) CHECK(life.telling == life.words.size() - 1);
      if (life.teller == Teller::spouse) {
        CHECK(marital);
        CHECK((word == "unmarried" || word == house_name(life.house)));
      }
    }
  }
  for (const int count : tellers) CHECK(count > 150);
}
