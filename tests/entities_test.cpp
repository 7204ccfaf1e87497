// The sentences of the example entities.
#include <doctest/doctest.h>

#include <set>

#include "examples/entities/sentences.h"
#include "tests/real_data.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

TEST_CASE("entities: made-up sentences are tagged in IOB2, and most names of the test are new") {
  const TaggedText text = made_up_text(1);
  CHECK(tags_of(text.train) == std::vector<std::string>{"O", "B-company", "B-person", "B-place", "I-company",
                                                        "I-person", "I-place"});
  std::set<std::string> known;
  const auto names = [](const TaggedSentence& s) {
    std::vector<std::string> all;
    for (const Entity& e : entities(s.tags)) {
      std::string name;
      for (size_t t = e.begin; t < e.end; ++t) name += s.words[t] + " ";
      all.push_back(name);
    }
    return all;
  };
  for (const TaggedSentence& s : text.train) {
    REQUIRE(s.words.size() == s.tags.size());
    for (size_t t = 0; t < s.tags.size(); ++t) {  // I- goes on what stands before it
      if (s.tags[t][0] == 'I') CHECK(s.tags.at(t - 1).substr(2) == s.tags[t].substr(2));
    }
    for (const std::string& name : names(s)) known.insert(name);
  }
  double fresh = 0, all = 0;
  for (const TaggedSentence& s : text.test) {
    for (const std::string& name : names(s)) fresh += !known.contains(name), ++all;
  }
  CHECK(all > 200);
  CHECK(fresh / all > 0.3);
  CHECK(make_sentence(1, 5).words == make_sentence(1, 5).words);
  CHECK(make_sentence(1, 5).words != make_sentence(2, 5).words);
}

TEST_CASE("entities: WNUT 2017's parts, and a folder that lacks them") {
  const scratch::Folder folder;
  CHECK(scratch::message_of([&] { wnut17(folder.path.string()); }) ==
        scratch::Contains("wnut17train.conll could not be opened"));
  if (const std::string path = real_data("wnut17"); !path.empty())
    CHECK(tags_of(wnut17(path).test).size() == 13);
}
