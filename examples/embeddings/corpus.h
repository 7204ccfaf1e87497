// What word vectors are learnt from and judged by: a text, and analogies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "examples/data/analogies.h"
#include "examples/data/symbols.h"
#include "examples/data/word_lines.h"
#include "examples/data/word_vectors.h"

namespace reel::examples {

// Sentences about kings and queens, men and women, boys and girls ..: who it is shows in what they wear, do
// and own, and in "he" and "she".
std::vector<Sentence> made_up_sentences(uint64_t seed, int64_t count);
std::vector<AnalogySection> made_up_analogies();  // "man woman king queen"

// Pairs of a word and one of its neighbours, at most `window` away.
struct Pairs {
  std::vector<int64_t> words, neighbours;
};
Pairs skip_grams(const std::vector<Sentence>& text, const Symbols& vocabulary, int64_t window);

// Words by likeness: vectors scaled to length 1, so that a product is the cosine.
class Likeness {
 public:
  explicit Likeness(WordVectors vectors);

  struct Neighbour {
    std::string word;
    double cosine;
  };
  std::vector<Neighbour> nearest(const std::string& word, std::size_t count) const;
  // The word whose vector is nearest to b - a + c, other than these three; all must be known.
  std::string fourth(const std::string& a, const std::string& b, const std::string& c) const;
  double cosine(const std::string& a, const std::string& b) const;
  bool knows(const std::string& word) const { return vectors_.find(word) >= 0; }

 private:
  std::vector<Neighbour> nearest(const std::vector<float>& to, const std::vector<std::string>& but,
                                 std::size_t count) const;
  std::vector<float> vector(const std::string& word) const;
  WordVectors vectors_;
};

}  // namespace reel::examples
