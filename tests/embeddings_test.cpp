// Texts, pairs and likeness of the example embeddings.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "examples/embeddings/corpus.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::examples;

TEST_CASE("embeddings: skip-grams are neighbours within the window, without unknown words") {
  const std::vector<Sentence> text{{"a", "b", "c", "a"}, {"b"}};
  const Symbols words(text);
  const Pairs pairs = skip_grams(text, words, 2);
  std::vector<std::string> found;
  for (size_t k = 0; k < pairs.words.size(); ++k) {
    found.push_back(words.name(pairs.words[k]) + words.name(pairs.neighbours[k]));
  }
  CHECK(found == std::vector<std::string>{"ab", "ac", "ba", "bc", "ba", "ca", "cb", "ca", "ab", "ac"});
  CHECK(skip_grams(text, Symbols(text, 2), 1).words.size() == 2);  // c came once: only a b and b a are left
}

TEST_CASE("embeddings: the nearest word, and the fourth of an analogy") {
  // Two axes: he or she, royal or not. Lengths do not count.
  const Likeness likeness({.words = {"man", "woman", "king", "queen", "far"},
                           .width = 3,
                           .values = {1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 3, 3, -1, -1, -1},
                           .ids = {{"man", 0}, {"woman", 1}, {"king", 2}, {"queen", 3}, {"far", 4}}});
  CHECK(likeness.fourth("man", "king", "woman") == "queen");
  CHECK(likeness.fourth("king", "man", "queen") == "woman");
  CHECK(likeness.nearest("man", 2)[0].word == "king");
  CHECK(likeness.nearest("man", 9).size() == 4);
  CHECK(likeness.cosine("king", "man") == doctest::Approx(std::sqrt(0.5)));
  CHECK(likeness.knows("far"));
  CHECK_FALSE(likeness.knows("near"));
  CHECK(scratch::message_of([&] { likeness.nearest("near", 1); }) == "there is no vector for \"near\"");
}

TEST_CASE("embeddings: made-up sentences hold all words of the analogies") {
  const auto text = made_up_sentences(1, 500);
  CHECK(text == made_up_sentences(1, 500));
  const Symbols words(text);
  for (const auto& section : made_up_analogies()) {
    CHECK(section.questions.size() == 56);
    for (const auto& question : section.questions) {
      for (const std::string& word : question) CHECK(words[word] != 0);
    }
  }
}

TEST_CASE("embeddings: a text's lines as words") {
  const scratch::Folder folder;
  scratch::put(folder / "f", "It's Late, he said.\n\nYes\nÉmile went\n");
  CHECK(read_sentences(folder / "f") ==
        std::vector<Sentence>{{"it's", "late", ",", "he", "said", "."}, {"Émile", "went"}});
  scratch::put(folder / "f", "one\n");
  CHECK(scratch::message_of([&] { read_sentences(folder / "f"); }) ==
        scratch::Contains("no line of two words"));
}

TEST_CASE("word lines: the commonest words") {
  const std::vector<Sentence> text{{"b", "a", "b"}, {"c", "b", "a", "d"}};
  CHECK(only_commonest(text, 2) == std::vector<Sentence>{{"b", "a", "b"}, {"b", "a"}});
  CHECK(only_commonest(text, 3) == std::vector<Sentence>{{"b", "a", "b"}, {"c", "b", "a"}});
}
