// Words -> bidirectional LSTM -> mean over the words -> good or bad.
#pragma once

#include <vector>

#include "examples/data/batches.h"
#include "examples/data/word_embedding.h"
#include "reel.h"

namespace reel::examples {

struct WordReader : nn::Module {
  WordReader(const Symbols& vocabulary, const WordVectors& vectors, int64_t hidden, double dropout,
             uint64_t seed)
      : words({this, "words"}, vocabulary, vectors, seed),
        drop({this, "drop"}, dropout),
        lstm({this, "lstm"}, vectors.width, hidden, {.bidirectional = true}),
        output({this, "output"}, 2 * hidden, 2) {}

  Tensor operator()(const Padded& text) const {  // [batch, 2]
    std::vector<double> share;
    for (const int64_t length : text.lengths) share.push_back(1 / static_cast<double>(length));
    const Tensor h = lstm(drop(words(text.x)), {}, {.lengths = text.lengths}).output;  // zero beyond the end
    const auto batch = static_cast<int64_t>(share.size());
    return output(drop(sum(h, 0) * to(Tensor::from(share, {batch, 1}), default_dtype())));
  }

  // What the state at each word says by itself: the log odds of good, [time]. Their mean is what the review
  // is judged by, so these are the words' shares in the verdict.
  std::vector<double> opinions(const std::vector<int64_t>& ids) const {
    const Tensor logits = output(lstm(drop(words(padded({ids}, std::vector<size_t>{0}).x))).output);
    return (select(logits, 2, 1) - select(logits, 2, 0)).to_vector<double>();
  }

  WordEmbedding words;
  nn::Dropout drop;
  nn::LSTM lstm;
  nn::Linear output;
};

}  // namespace reel::examples
