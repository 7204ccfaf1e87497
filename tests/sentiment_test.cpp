// The reviews of the example sentiment, and what a word does to the verdict.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "examples/data/word_vectors.h"
#include "examples/sentiment/reviews.h"
#include "examples/sentiment/word_reader.h"

using namespace reel;
using namespace reel::examples;

TEST_CASE("sentiment: made-up reviews are binary trees of known words, and the same again") {
  std::set<int64_t> labels;
  for (uint64_t k = 0; k < 300; ++k) {
    const LabelledTree review = make_review(1, k);
    CHECK(review.words == make_review(1, k).words);
    CHECK(review.labels.size() == 2 * review.sentence().size() - 1);
    CHECK(review.tree.roots() == std::vector<int64_t>{static_cast<int64_t>(review.labels.size()) - 1});
    for (size_t n = 0; n < review.labels.size(); ++n) {
      REQUIRE((review.labels[n] >= 0 && review.labels[n] <= 4));
      CHECK(review.tree.children[n].size() == (review.words[n].empty() ? 2 : 0));
      if (review.words[n] == "awful") CHECK(review.labels[n] == 0);
    }
    labels.insert(review.label());
  }
  CHECK(labels.size() == 5);
}

TEST_CASE("sentiment: sentences of two classes, whole or by phrases, without what is neutral") {
  // (4 (2 The) (3 (1 not) (0 BAD))), and a neutral one
  LabelledTree review{{{{}, {}, {}, {1, 2}, {0, 3}}}, {2, 1, 0, 3, 4}, {"The", "not", "BAD", "", ""}};
  LabelledTree neutral{{{{}}}, {2}, {"so"}};
  const Symbols words = words_of_reviews({review, neutral});
  CHECK(words.joined() == "<unk>\nbad\nnot\nso\nthe\n");
  const Sentences whole = two_class({review, neutral}, words, false);
  CHECK(whole.words == std::vector<std::vector<int64_t>>{{4, 2, 1}});
  CHECK(whole.labels == std::vector<int64_t>{1});
  const Sentences phrases = two_class({review, neutral}, words, true);
  CHECK(phrases.words == std::vector<std::vector<int64_t>>{{2}, {1}, {2, 1}, {4, 2, 1}});
  CHECK(phrases.labels == std::vector<int64_t>{0, 0, 1, 1});
}

TEST_CASE("sentiment: the phrases of a tree that leans to the left") {
  // (3 (1 (0 (0 a) (2 b)) (2 c)) (2 d)): the leftmost leaf is three levels down
  const LabelledTree left{
      {{{}, {}, {0, 1}, {}, {2, 3}, {}, {4, 5}}}, {0, 2, 0, 2, 1, 2, 3}, {"a", "b", "", "c", "", "d", ""}};
  const Sentences phrases = two_class({left}, words_of_reviews({left}), true);
  CHECK(phrases.words == std::vector<std::vector<int64_t>>{{1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}});
  CHECK(phrases.labels == std::vector<int64_t>{0, 0, 0, 1});
}

TEST_CASE("sentiment: words start from the vectors that are known") {
  const Symbols words(std::vector<std::vector<std::string>>{{"a", "b"}});
  WordVectors known{.words = {"c", "b"}, .width = 2, .values = {3, 4, 5, 6}, .ids = {{"c", 0}, {"b", 1}}};
  const auto values = initial_vectors(words, known, 1);
  REQUIRE(values.size() == 6);
  CHECK(values[4] == 5);
  CHECK(values[5] == 6);
  for (size_t k = 0; k < 4; ++k) CHECK(std::abs(values[k]) < 0.5);
}

TEST_CASE("sentiment: a word's influence is what its absence changes") {
  manual_seed(3);
  const Symbols words(std::vector<std::vector<std::string>>{{"a", "b", "c"}});
  const WordVectors none{.words = {}, .width = 5, .values = {}, .ids = {}};
  WordReader reader(words, none, 4, 0.5, 1);
  reader.eval();
  const NoGrad no_grad;
  const auto log_odds = [&](const std::vector<int64_t>& text) {
    const auto logits = reader(padded({text}, std::vector<size_t>{0})).to_vector<double>();
    return logits[1] - logits[0];
  };
  const auto [whole, of_word] = reader.influence({1, 2, 3, 1});
  CHECK(whole == doctest::Approx(log_odds({1, 2, 3, 1})).epsilon(1e-4));
  REQUIRE(of_word.size() == 4);
  const std::vector<std::vector<int64_t>> without{{2, 3, 1}, {1, 3, 1}, {1, 2, 1}, {1, 2, 3}};
  for (size_t t = 0; t < 4; ++t) {
    CHECK(of_word[t] == doctest::Approx(whole - log_odds(without[t])).epsilon(1e-3));
    CHECK(std::abs(of_word[t]) > 1e-4);
  }
}
