// The translation model of Bahdanau, Cho and Bengio (2014): a bidirectional GRU reads the source, a GRU
// writes the target, and additive attention tells it, before each word, where to look.
#pragma once

#include "examples/translate/corpus.h"
#include "reel.h"

namespace reel::examples {

struct TranslatorSizes {
  int64_t source_words, target_words;
  int64_t embedding, hidden, layers;
  double dropout = 0;
};

class Translator : public nn::Module {
 public:
  explicit Translator(const TranslatorSizes& sizes);

  // The mean cross-entropy of the target words, each predicted from the true ones before it (teacher
  // forcing).
  Tensor loss(const Batch& batch) const;

  struct Translation {
    std::vector<int64_t> ids;       // up to </s>, which is not part of it
    std::vector<double> alignment;  // [ids + 1, source length]: where it looked; the last row is for </s>
  };
  // The likeliest word at each step, until </s> or `most` words. Uses only the batch's source side.
  std::vector<Translation> greedy(const Batch& batch, int64_t most) const;

 private:
  // What the encoder leaves to the decoder.
  struct Encoded {
    nn::AdditiveAttention::Memory memory;
    Tensor state;  // [batch, hidden]
  };
  Encoded encode(const Batch& batch) const;

  struct Step {
    Tensor state;    // [batch, hidden]
    Tensor readout;  // [batch, embedding], what the output layer sees
    Tensor weights;  // [batch, source length]
  };
  Step step(const Tensor& word, const Tensor& state, const nn::AdditiveAttention::Memory& memory) const;

  nn::Embedding source_, target_;
  nn::GRU encoder_;
  nn::Linear bridge_;
  nn::AdditiveAttention attention_;
  nn::GRUCell decoder_;
  nn::Linear readout_;
  nn::Dropout dropout_;
  nn::Linear output_;
};

}  // namespace reel::examples
