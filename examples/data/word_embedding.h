// Word vectors that are trained further from known ones.
#pragma once

#include "examples/data/word_vectors.h"
#include "nn/layers.h"
#include "ops/ops.h"

namespace reel::examples {

// Of width known.width, which holds no words where none are known.
struct WordEmbedding : nn::Embedding {
  WordEmbedding(nn::Member at, const Symbols& vocabulary, const WordVectors& known, uint64_t seed)
      : nn::Embedding(std::move(at), vocabulary.size(), known.width) {
    const auto values = initial_vectors(vocabulary, known, seed);
    weight.assign(to(Tensor::from(values, weight.shape()), weight.dtype()));
  }
};

}  // namespace reel::examples
