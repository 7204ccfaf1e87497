// Sentences in which the verb agrees with a noun far before it, and sentences made wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/word_lines.h"

namespace reel::examples {

// "the dog near the old houses that the women know sleeps": the verb agrees with the first noun, not with
// those between.
Sentence make_agreement(uint64_t seed, uint64_t k);
// The same with the verb in the wrong number ("sleep").
Sentence with_wrong_verb(Sentence sentence);
// Any sentence with two different neighbours in each other's place, which two says `k`; as it was if all its
// words are one.
Sentence with_neighbours_swapped(Sentence sentence, uint64_t k);

}  // namespace reel::examples
