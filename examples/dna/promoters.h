// Made-up DNA, and the rule by which a polymerase finds a promoter in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/conll.h"

namespace reel::examples {

// The bases' tags: O, B-minus35, I-minus35, B-minus10, I-minus10. A bacterial promoter is two motifs, each
// with at most one other base: TTGACA, and 15 to 19 bases behind it TATAAT (Hawley and McClure 1983,
// simplified). One without the other is none.
std::vector<std::string> annotated(const std::string& dna);

// Sequence number `k` of this seed: promoters, and what only looks like them: single motifs, and pairs that
// are too near to each other or too far apart.
TaggedSentence make_dna(uint64_t seed, uint64_t k);

}  // namespace reel::examples
