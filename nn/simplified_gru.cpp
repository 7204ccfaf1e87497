#include "nn/simplified_gru.h"

#include "ops/ops.h"

namespace reel::nn {

SimplifiedGRUCell::SimplifiedGRUCell(Member at, int64_t in, int64_t hidden, const CellOptions& options)
    : GatedWeights(std::move(at), in, hidden, 2, options) {}

Tensor SimplifiedGRUCell::operator()(const Tensor& x, const Tensor& c, const Tensor& drop) const {
  const auto [u, candidate] = split<2>(from_input(x) + from_hidden(c, drop));
  return c + sigmoid(u) * (tanh(candidate) - c);
}

}  // namespace reel::nn
