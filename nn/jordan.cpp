#include "nn/jordan.h"

#include <cmath>

#include "core/error.h"
#include "ops/ops.h"

namespace reel::nn {

JordanCell::JordanCell(Member at, int64_t in, int64_t hidden, const CellOptions& options,
                       const OutputOptions& output)
    : GatedWeights(std::move(at), in, hidden, 1, options, output.size),
      activation_(options.activation),
      output_activation_(output.activation) {
  if (output.size < 0)
    fail("[JordanCell] an output of size {}: want at least 1, or 0 for hidden", output.size);
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  const int64_t size = weight_hh.size(1);
  weight_hy = parameter("weight_hy" + options.suffix, {size, hidden}, init);
  if (options.bias != Bias::none) bias_hy = parameter("bias_hy" + options.suffix, {size}, init);
}

Tensor JordanCell::operator()(const Tensor& x, const Tensor& y, const Tensor& drop) const {
  const Tensor a = from_input(x) + from_hidden(y, drop);
  const Tensor z = matmul(activation_ ? activation_(a) : tanh(a), transpose(weight_hy, 0, 1));
  const Tensor next = bias_hy.defined() ? z + bias_hy : z;
  return output_activation_ ? output_activation_(next) : next;
}

}  // namespace reel::nn
