// The user's cell that README.md shows: it knows of the library what the page says, and no more.
#pragma once

#include "reel.h"

namespace reel::tests {

struct MinimalGatedUnit : nn::Module {  // f = sigmoid(W [h, x]), h' = (1 - f) h + f tanh(U [f h, x])
  using State = Tensor;
  nn::Linear forget, candidate;
  MinimalGatedUnit(nn::Member at, int64_t in, int64_t hidden, const nn::CellOptions& o = {})
      : Module(std::move(at)),
        forget({this, "forget" + o.suffix}, in + hidden, hidden),
        candidate({this, "candidate" + o.suffix}, in + hidden, hidden) {}
  Tensor operator()(const Tensor& x, const Tensor& h) const {
    const Tensor f = sigmoid(forget(concat({h, x}, -1)));
    return h + f * (tanh(candidate(concat({f * h, x}, -1))) - h);
  }
  Tensor initial(int64_t batch) const { return zeros({batch, forget.weight.size(0)}); }
};

}  // namespace reel::tests
