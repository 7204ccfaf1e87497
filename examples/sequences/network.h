// Recurrent layers and a linear output at every step, whatever the cell.
#pragma once

#include <cmath>

#include "reel.h"

namespace reel::examples {

struct SequenceNetwork : nn::Module {
  using nn::Module::Module;
  virtual Tensor operator()(const Tensor& x) const = 0;  // [time, batch, in] -> [time, batch, out]
};

template <class Layers>
struct Network : SequenceNetwork {
  Network(nn::Member at, int64_t in, int64_t hidden, int64_t out, const nn::CellOptions& cell = {})
      : SequenceNetwork(std::move(at)),
        layers({this, "layers"}, in, hidden, {.cell = cell}),
        output({this, "output"}, hidden, out) {}
  Tensor operator()(const Tensor& x) const override { return output(layers(x).output); }

  Layers layers;
  nn::Linear output;
};

// PyTorch's initial values, but forget gates that begin nearly open (Gers, Schmidhuber and Cummins 2000): 1
// is added to their bias.
inline nn::CellOptions open_forget_gates(int64_t hidden) {
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  return {.bias = nn::Bias::one, .init = [=](const Shape& shape) {
            const Tensor value = uniform(shape, -bound, bound);
            if (shape.rank() != 1) return value;
            return value + concat({zeros({hidden}), ones({hidden}), zeros({2 * hidden})}, 0);
          }};
}

}  // namespace reel::examples
