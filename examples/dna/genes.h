// Made-up DNA, and the rule by which it is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/conll.h"

namespace reel::examples {

// The bases' tags: O, B-promoter, I-promoter, B-gene, I-gene. From left to right, a gene is ATG and all bases
// to the first stop codon (TAA, TAG, TGA) in its frame; it is read only behind a promoter, TATAAT with at
// most one other base, that ends 5 to 9 bases before. A promoter without a gene is none.
std::vector<std::string> annotated(const std::string& dna);

// Sequence number `k` of this seed: genes behind promoters, and things that only look like them.
TaggedSentence make_dna(uint64_t seed, uint64_t k);

}  // namespace reel::examples
