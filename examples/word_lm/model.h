// A language model of words, whose sentences end in one of three ways.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "examples/data/symbols.h"
#include "examples/data/word_lines.h"
#include "reel.h"

namespace reel::examples {

// How a model says that a sentence is over (Goodfellow, Bengio and Courville 2016, 10.2.3). In each P sums to
// one over all sentences w_1 .. w_n, so that their perplexities compare:
//   eos        a last word, <EOS>:        P = prod P(w_t | before) P(<EOS> | all)
//   bernoulli  an output of its own:      P = prod (1 - s_t) P(w_t | before) s_(n+1), s = P(stop | before)
//   length     n first, then the words:   P = P(n) prod P(w_t | before, n - t + 1 words are left)
enum class Ending { eos, bernoulli, length };
Ending ending_named(const std::string& name);

struct LanguageModel : nn::Module {
  struct Sizes {
    int64_t hidden, layers = 1;
    double dropout = 0;
    int64_t longest = 60;  // of the lengths that can be drawn
  };
  LanguageModel(const Symbols& vocabulary, Ending ends, const Sizes& sizes);

  // P(n) as often as sentences of n words are in this text; each length counts once more, so that none is
  // impossible.
  void count_lengths(const std::vector<Sentence>& text);
  // -log P of these sentences, in nats.
  Tensor nats(const std::vector<Sentence>& text, const std::vector<size_t>& rows) const;
  double log_probability(const Sentence& sentence) const;
  // Word by word; <unk> is drawn again. At most so many words.
  Sentence sample(std::mt19937_64& random, size_t most = 60) const;

  const Symbols& known;  // row 0 of `words` and `output` is <unk>, the one after the last is <EOS>
  Ending ending;
  int64_t longest;
  nn::Embedding words;
  nn::Dropout drop;
  nn::LSTM lstm;
  nn::Linear output;
  std::unique_ptr<nn::Linear> stop;     // bernoulli
  std::unique_ptr<nn::Embedding> left;  // length: vectors of how many words are left
  Tensor lengths;                       // length: log P(n), [longest + 1]

 private:
  int64_t end() const { return known.size(); }  // the id of <EOS>, from which the first word follows
};

}  // namespace reel::examples
