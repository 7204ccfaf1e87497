// Recurrent layers and a linear output at every step, whatever the cell.
#pragma once

#include <cmath>

#include "reel.h"

namespace reel::examples {

struct SequenceNetwork : nn::Module {
  using nn::Module::Module;
  // [time, batch, in] -> [time, batch, out]
  virtual Tensor operator()(const Tensor& x, const nn::Valid& valid = {}) const = 0;
};

template <class Layers>
struct Network : SequenceNetwork {
  template <class... More>  // for the cells, see nn::Recurrent
  Network(nn::Member at, int64_t in, int64_t hidden, int64_t out, const nn::RecurrentOptions& options = {},
          double drop = 0, const More&... more)
      : SequenceNetwork(std::move(at)),
        layers({this, "layers"}, in, hidden, options, more...),
        dropout({this, "dropout"}, drop),
        output({this, "output"}, hidden * layers.directions(), out) {}
  Tensor operator()(const Tensor& x, const nn::Valid& valid = {}) const override {
    return output(dropout(layers(x, {}, valid).output));
  }

  Layers layers;
  nn::Dropout dropout;
  nn::Linear output;
};

// PyTorch's initial values, but one of the gates begins nearly open: `by` is added to its bias (for the
// LSTM's forget gate Gers, Schmidhuber and Cummins 2000). One bias a gate.
inline nn::CellOptions open_gate(int64_t hidden, int64_t gates, int64_t gate, double by) {
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  return {.bias = nn::Bias::one, .init = [=](const Shape& shape) {
            const Tensor value = uniform(shape, -bound, bound);
            if (shape.rank() != 1) return value;
            const Tensor before = zeros({gate * hidden}), after = zeros({(gates - gate - 1) * hidden});
            return value + concat({before, full({hidden}, by), after}, 0);
          }};
}
inline nn::CellOptions open_forget_gate(int64_t hidden, double by = 1) { return open_gate(hidden, 4, 1, by); }
inline nn::CellOptions open_update_gate(int64_t hidden, double by = 1) { return open_gate(hidden, 3, 1, by); }

}  // namespace reel::examples
