#include "examples/entities/sentences.h"

#include <array>

#include "examples/data/dice.h"
#include "examples/data/symbols.h"

namespace reel::examples {

namespace {

// PERSON, PLACE and COMPANY stand for names; the same name may be any of them.
constexpr std::array patterns = {
    "yesterday PERSON went to PLACE by train",    "PERSON said that COMPANY will open a shop in PLACE",
    "shares of COMPANY fell after PERSON left",   "it rained in PLACE all week",
    "the mayor of PLACE met PERSON on Monday",    "COMPANY hired PERSON , who was born in PLACE",
    "they sold the old house and moved to PLACE", "according to PERSON the talks with COMPANY failed",
    "nobody knows why the train was late again",  "I bought it from COMPANY when I lived in PLACE"};
constexpr std::array beginnings = {"Bar", "Kel", "Mor", "Tan", "Vil", "Os",
                                   "Ran", "Sel", "Dor", "Lin", "Gar", "Pel"};
constexpr std::array ends = {"ada", "on", "ia", "berg", "eth", "ov", "ida", "in", "ara", "um", "elle", "ik"};

void add_name(TaggedSentence& sentence, const std::string& type, Dice& dice) {
  const int64_t words = 1 + dice.below(2);
  for (int64_t k = 0; k < words; ++k) {
    sentence.words.push_back(std::string(dice.pick(beginnings)) + dice.pick(ends));
    sentence.tags.push_back((k == 0 ? "B-" : "I-") + type);
  }
}

}  // namespace

TaggedSentence make_sentence(uint64_t seed, uint64_t k) {
  Dice dice(seed, k);
  TaggedSentence sentence;
  for (const std::string& word : blank_separated(dice.pick(patterns))) {
    if (word == "PERSON") {
      add_name(sentence, "person", dice);
    } else if (word == "PLACE") {
      add_name(sentence, "place", dice);
    } else if (word == "COMPANY") {
      add_name(sentence, "company", dice);
    } else {
      sentence.words.push_back(word);
      sentence.tags.emplace_back("O");
    }
  }
  return sentence;
}

TaggedText made_up_text(uint64_t seed) {
  TaggedText text;
  for (uint64_t k = 0; k < 1000; ++k) text.train.push_back(make_sentence(seed, k));
  for (uint64_t k = 0; k < 200; ++k) text.dev.push_back(make_sentence(seed, (uint64_t{1} << 40) + k));
  for (uint64_t k = 0; k < 300; ++k) text.test.push_back(make_sentence(seed, (uint64_t{2} << 40) + k));
  return text;
}

TaggedText wnut17(const std::string& folder) {
  return {read_conll(folder + "/wnut17train.conll"), read_conll(folder + "/emerging.dev.conll"),
          read_conll(folder + "/emerging.test.annotated")};
}

}  // namespace reel::examples
