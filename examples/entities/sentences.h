// Tagged sentences for the example entities: made up, or WNUT 2017's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/conll.h"

namespace reel::examples {

// Sentence number `k` of this seed: names of persons, places and companies, made of syllables, so that those
// of the test were never seen; what they are shows in the words around them.
TaggedSentence make_sentence(uint64_t seed, uint64_t k);

struct TaggedText {
  std::vector<TaggedSentence> train, dev, test;
};
TaggedText made_up_text(uint64_t seed);
// wnut17train.conll, emerging.dev.conll and emerging.test.annotated.
TaggedText wnut17(const std::string& folder);

}  // namespace reel::examples
