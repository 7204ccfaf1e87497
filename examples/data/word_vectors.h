// Word vectors in GloVe's text form: a word and its numbers, a line each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "examples/data/symbols.h"

namespace reel::examples {

struct WordVectors {
  std::vector<std::string> words;
  int64_t width = 0;
  std::vector<float> values;  // [words, width]
  std::unordered_map<std::string, int64_t> ids;

  int64_t find(const std::string& word) const;  // -1 where there is none
};

// A first line "COUNT WIDTH", as word2vec writes it, is passed over. Throws, naming file and line, unless all
// lines are of one width and no word comes twice.
WordVectors read_word_vectors(const std::string& path);

// [vocabulary, width]: words that are known with their vectors, the others small and random.
std::vector<double> initial_vectors(const Symbols& vocabulary, const WordVectors& known, uint64_t seed);

}  // namespace reel::examples
