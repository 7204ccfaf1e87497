// logits = h W^T + b and their mean cross-entropy, forwards and backwards in one go, by the members of a
// team.
#pragma once

#include <cstdint>

#include "benchmarks/hand/onednn.h"
#include "benchmarks/hand/team.h"

namespace reel::bench::hand {

class OutputLayer {
 public:
  OutputLayer(int64_t vocabulary, int64_t hidden, int members);

  void resize(int64_t rows) { logits_.resize(rows * ld_); }
  // Rows [begin, end) of all `rows`: the gradient of the mean loss takes the place of the logits and goes on
  // to dh, which begins at this share's first row. Returns the sum of the losses.
  double rows(const Member& me, Share share, const float* h, float* dh, int64_t ldh, const int64_t* targets,
              const float* weight, const float* bias, int64_t rows);
  // After all rows are done (a barrier): this member's part of the gradients of the weights.
  void weights(const Member& me, const float* h, int64_t ldh, int64_t rows, float* dweight, float* dbias);

 private:
  const int64_t vocabulary_, hidden_, ld_;
  Floats logits_, dbias_;
};

}  // namespace reel::bench::hand
