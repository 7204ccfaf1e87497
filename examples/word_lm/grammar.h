// Sentences in which the verb agrees with a noun far before it.
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

}  // namespace reel::examples
