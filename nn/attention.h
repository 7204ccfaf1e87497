// Additive attention (Bahdanau, Cho and Bengio 2014).
#pragma once

#include "nn/layers.h"

namespace reel::nn {

// score(q, k) = v . tanh(W_q q + W_k k); weights = softmax over the positions; context = sum of weights *
// keys.
class AdditiveAttention : public Module {
 public:
  AdditiveAttention(Member at, int64_t query, int64_t key, int64_t width);

  // What is attended to, with W_k k computed once for all queries.
  struct Memory {
    Tensor keys;       // [batch, positions, key]
    Tensor projected;  // [batch, positions, width]
    Tensor mask;       // [batch, positions] bool, true where a position counts; may be undefined
  };
  Memory remember(const Tensor& keys, const Tensor& mask = {}) const;

  struct Attended {
    Tensor context;  // [batch, key]
    Tensor weights;  // [batch, positions]
  };
  Attended operator()(const Tensor& query, const Memory& memory) const;  // query [batch, query]

 private:
  Linear query_, key_;
  Tensor score_;  // v, [width]
};

}  // namespace reel::nn
