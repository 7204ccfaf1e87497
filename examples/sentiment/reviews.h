// Reviews as labelled trees: made up, or the Stanford Sentiment Treebank's; and what models see of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/symbols.h"
#include "examples/data/trees.h"

namespace reel::examples {

// Review number `k` of this seed, labelled 0 (very negative) to 4 (very positive) at every node. "very" makes
// an adjective stronger and "not" turns it round; after "but" the second half counts.
LabelledTree make_review(uint64_t seed, uint64_t k);

struct Reviews {
  std::vector<LabelledTree> train, dev, test;
};
Reviews made_up_reviews(uint64_t seed);
Reviews read_reviews(const std::string& folder);  // train.txt, dev.txt and test.txt

// A sequence of word ids, and whether it is positive (1) or negative (0).
struct Sentences {
  std::vector<std::vector<int64_t>> words;
  std::vector<int64_t> labels;
};
// The reviews' sentences that are not neutral (label 2); with `phrases` every part of them that is not.
Sentences two_class(const std::vector<LabelledTree>& trees, const Symbols& vocabulary, bool phrases);

Symbols words_of_reviews(const std::vector<LabelledTree>& trees);  // in lower case

}  // namespace reel::examples
