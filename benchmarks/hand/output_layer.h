// logits = h W^T + b and their mean cross-entropy, forwards and backwards in one go, by the members of a
// team.
#pragma once

#include <cstdint>

#include "benchmarks/hand/operand.h"
#include "benchmarks/hand/team.h"

namespace reel::bench::hand {

class OutputLayer {
 public:
  OutputLayer(int64_t vocabulary, int64_t hidden, int members, Type type = Type::f32);

  void resize(int64_t rows);
  // In bf16, before the rows (and a barrier): this member's share of the weight's copy.
  void prepare(const Member& me, const float* weight);
  // Rows [begin, end) of all `rows`: the gradient of the mean loss takes the place of the logits and goes on
  // to dh, which begins at this share's first row. Returns the sum of the losses. h
  // is in the type of the products.
  double rows(const Member& me, Share share, const void* h, float* dh, int64_t ldh, const int64_t* targets,
              const float* weight, const float* bias, int64_t rows);
  // After all rows are done (a barrier): this member's part of the gradients of the weights.
  void weights(const Member& me, const void* h, int64_t ldh, int64_t rows, float* dweight, float* dbias);

 private:
  const Type type_;
  const int64_t vocabulary_, hidden_, ld_;
  Floats logits_, dbias_;
  Operand dlogits_, weight_;
};

}  // namespace reel::bench::hand
