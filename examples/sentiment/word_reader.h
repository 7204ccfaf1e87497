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

  // The log odds of good, and by how much they would be less without the word, of each word of the text,
  // which has at least two.
  struct Influence {
    double log_odds;
    std::vector<double> of_word;
  };
  Influence influence(const std::vector<int64_t>& ids) const {
    std::vector<std::vector<int64_t>> texts{ids};
    std::vector<size_t> rows{0};
    for (size_t t = 0; t < ids.size(); ++t) {
      rows.push_back(texts.size());
      texts.push_back(ids);
      texts.back().erase(texts.back().begin() + static_cast<std::ptrdiff_t>(t));
    }
    const Tensor logits = (*this)(padded(texts, rows));
    const auto log_odds = (select(logits, 1, 1) - select(logits, 1, 0)).to_vector<double>();
    Influence result{log_odds[0], {}};
    for (size_t t = 1; t < log_odds.size(); ++t) result.of_word.push_back(log_odds[0] - log_odds[t]);
    return result;
  }

  WordEmbedding words;
  nn::Dropout drop;
  nn::LSTM lstm;
  nn::Linear output;
};

}  // namespace reel::examples
