#include "examples/word_lm/grammar.h"

#include <array>
#include <utility>

#include "core/error.h"
#include "examples/data/dice.h"

namespace reel::examples {

namespace {

struct Pair {
  const char *one, *many;
};
constexpr std::array<Pair, 8> nouns = {{{"dog", "dogs"},
                                        {"house", "houses"},
                                        {"woman", "women"},
                                        {"child", "children"},
                                        {"king", "kings"},
                                        {"tree", "trees"},
                                        {"horse", "horses"},
                                        {"friend", "friends"}}};
constexpr std::array<Pair, 6> verbs = {{{"sleeps", "sleep"},
                                        {"waits", "wait"},
                                        {"sings", "sing"},
                                        {"falls", "fall"},
                                        {"smiles", "smile"},
                                        {"stands", "stand"}}};
constexpr std::array<Pair, 3> relations = {{{"knows", "know"}, {"sees", "see"}, {"likes", "like"}}};
constexpr std::array adjectives = {"old", "small", "quiet", "young"};
constexpr std::array prepositions = {"near", "behind", "with"};

void add_noun(Sentence& sentence, bool many, Dice& dice) {
  sentence.emplace_back("the");
  if (dice.coin()) sentence.emplace_back(dice.pick(adjectives));
  const Pair& noun = dice.pick(nouns);
  sentence.emplace_back(many ? noun.many : noun.one);
}

}  // namespace

Sentence make_agreement(uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  Sentence sentence;
  const bool many = dice.coin();
  add_noun(sentence, many, dice);
  if (dice.coin()) {
    sentence.emplace_back(dice.pick(prepositions));
    add_noun(sentence, dice.coin(), dice);
  }
  if (dice.coin()) {
    const bool others = dice.coin();
    sentence.emplace_back("that");
    add_noun(sentence, others, dice);
    const Pair& relation = dice.pick(relations);
    sentence.emplace_back(others ? relation.many : relation.one);
  }
  const Pair& verb = dice.pick(verbs);
  sentence.emplace_back(many ? verb.many : verb.one);
  return sentence;
}

Sentence with_wrong_verb(Sentence sentence) {
  for (const Pair& verb : verbs) {
    if (sentence.back() == verb.one) {
      sentence.back() = verb.many;
      return sentence;
    }
    if (sentence.back() == verb.many) {
      sentence.back() = verb.one;
      return sentence;
    }
  }
  fail("the sentence ends in \"{}\": want one of the grammar's verbs", sentence.back());
}

Sentence with_neighbours_swapped(Sentence sentence, uint64_t k) {
  std::vector<size_t> places;
  for (size_t t = 0; t + 1 < sentence.size(); ++t) {
    if (sentence[t] != sentence[t + 1]) places.push_back(t);
  }
  if (places.empty()) return sentence;
  const size_t at = Dice(0, k).pick(places);
  std::swap(sentence[at], sentence[at + 1]);
  return sentence;
}

}  // namespace reel::examples
