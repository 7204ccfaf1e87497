// The sentences of the example word_lm, and its model.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "examples/word_lm/grammar.h"
#include "examples/word_lm/model.h"
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

TEST_CASE("word_lm: two neighbours swapped") {
  std::set<Sentence> all;
  for (uint64_t k = 0; k < 50; ++k) {
    all.insert(with_neighbours_swapped({"a", "b", "b", "c"}, k));
    CHECK(with_neighbours_swapped({"a", "b", "b", "c"}, k) ==
          with_neighbours_swapped({"a", "b", "b", "c"}, k));
  }
  CHECK(all == std::set<Sentence>{{"b", "a", "b", "c"}, {"a", "b", "c", "b"}});
  CHECK(with_neighbours_swapped({"a", "a"}, 1) == Sentence{"a", "a"});
}

namespace {

const Symbols two_words(std::vector<std::vector<std::string>>{{"a", "b"}});
constexpr Ending endings[] = {Ending::eos, Ending::bernoulli, Ending::length};

// Sentences of <unk>, a and b, with so many words at most.
std::vector<Sentence> sentences_up_to(size_t most) {
  std::vector<Sentence> all{{}};
  for (size_t k = 0; k < all.size(); ++k) {
    for (const char* word : {"<unk>", "a", "b"}) {
      Sentence longer = all[k];
      longer.emplace_back(word);
      if (longer.size() <= most) all.push_back(longer);
    }
  }
  return all;
}

void favour_unknown(LanguageModel& model, double bias) {
  std::vector<double> all(static_cast<size_t>(model.output.bias.size(0)), 0);
  all[0] = bias;
  model.output.bias.assign(to(Tensor::from(all, model.output.bias.shape()), default_dtype()));
}

long unknown_written(const LanguageModel& model, long& words) {
  std::mt19937_64 random(3);
  long unknown = 0;
  words = 0;
  for (int k = 0; k < 300; ++k) {
    for (const std::string& word : model.sample(random, 20)) unknown += word == "<unk>", ++words;
  }
  return unknown;
}

}  // namespace

TEST_CASE("word_lm: however a sentence ends, P is one over all sentences") {
  for (const Ending ending : endings) {
    manual_seed(7);
    LanguageModel model(two_words, ending, {.hidden = 6, .longest = 6});
    model.eval();
    const NoGrad no_grad;
    // An end so likely that hardly any sentence is longer than six words.
    if (ending == Ending::eos)
      model.output.bias.assign(Tensor::from(std::vector<float>{0, 0.5, -0.5, 4}, {4}));
    if (ending == Ending::bernoulli) model.stop->bias.assign(full({1}, 3));
    model.count_lengths({{"a"}, {"b"}, {"a", "b"}, {}});
    if (ending == Ending::length) {
      CHECK(std::exp(model.lengths.to_vector<double>()[1]) == doctest::Approx(3.0 / 11));
      CHECK(model.left->weight.to_vector<double>() == std::vector<double>(7 * 6, 0));
      nn::init::fill(model.left->weight, nn::init::normal(0, 1));  // as if it had learnt
    }
    double sum = 0, one_by_one = 0, together = 0;
    const auto all = sentences_up_to(6);
    std::vector<size_t> rows;
    for (size_t k = 0; k < all.size(); ++k) {
      rows.push_back(k);
      sum += std::exp(model.log_probability(all[k]));
      one_by_one -= model.log_probability(all[k]);
    }
    together = model.nats(all, rows).item();
    CHECK(sum == doctest::Approx(1).epsilon(1e-4));
    CHECK(together == doctest::Approx(one_by_one).epsilon(1e-4));
    const Sentence too_long(7, "a");
    CHECK((model.log_probability(too_long) == -INFINITY) == (ending == Ending::length));
  }
}

TEST_CASE("word_lm: what is written is as likely as the model says") {
  for (const Ending ending : endings) {
    manual_seed(7);
    LanguageModel model(two_words, ending, {.hidden = 6, .longest = 3});
    model.eval();
    const NoGrad no_grad;
    model.output.weight.assign(6 * model.output.weight);  // so that it matters what came before
    favour_unknown(model, -30);                           // then P is that of sentences without it
    if (model.left) nn::init::fill(model.left->weight, nn::init::normal(0, 6));
    if (model.stop) model.stop->bias.assign(full({1}, -1));
    std::mt19937_64 random(5);
    constexpr int samples = 4000;
    std::map<Sentence, double> share;
    for (int k = 0; k < samples; ++k) share[model.sample(random, 20)] += 1.0 / samples;
    for (const Sentence& sentence : {Sentence{}, Sentence{"a"}, Sentence{"b"}, Sentence{"b", "a"}}) {
      const double p = std::exp(model.log_probability(sentence));
      CHECK(std::abs(share[sentence] - p) < 4 * std::sqrt(p * (1 - p) / samples));
    }
  }
}

TEST_CASE("word_lm: <unk> is never written, even where it is all but certain") {
  for (const Ending ending : endings) {
    for (const double favour : {0.0, 5.0, 200.0}) {  // beyond 100 the others' probabilities are zero in f32
      manual_seed(7);
      LanguageModel model(two_words, ending, {.hidden = 6, .longest = 10});
      model.eval();
      const NoGrad no_grad;
      favour_unknown(model, favour);
      long words = 0;
      CHECK(unknown_written(model, words) == 0);
      CHECK(words > 100);
    }
  }
}

TEST_CASE("word_lm: endings by name, and a model of no words") {
  CHECK(ending_named("length") == Ending::length);
  CHECK(scratch::message_of([] { ending_named("never"); }) ==
        scratch::Contains("want eos, bernoulli or length"));
  const Symbols none(std::vector<std::vector<std::string>>{});
  CHECK(scratch::message_of([&] { LanguageModel(none, Ending::eos, {.hidden = 2}); }) ==
        scratch::Contains("no words"));
}
