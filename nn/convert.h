// Weights of recurrent layers in the conventions of ONNX and Keras, to ours and back. Ours is PyTorch's.
//
//            gates of an LSTM   of a GRU   weights                            biases
//   here     i, f, g, o         r, z, n    [gates hidden, in]                 two, [gates hidden]
//   ONNX     i, o, f, c         z, r, h    [directions, gates hidden, in]     two, one behind the other
//   Keras    i, f, c, o         z, r, h    [in, gates hidden]                 one; GRU reset_after: [2, ..]
//
// What the other side cannot say is refused with a sentence; nothing is dropped silently.
#pragma once

#include <string>
#include <vector>

#include "nn/cells.h"
#include "nn/peephole_lstm.h"
#include "nn/recurrent.h"

namespace reel::nn {

enum class CellKind { rnn, lstm, gru };

// One layer, in our convention.
struct LayerWeights {
  struct Direction {
    Tensor weight_ih, weight_hh;        // [gates hidden, in], [gates hidden, hidden]
    Tensor bias_ih = {}, bias_hh = {};  // [gates hidden], or undefined
    Tensor weight_ch = {};  // [3 hidden]: peepholes of i, f, o (PeepholeLSTMCell, form graves), or undefined
  };
  CellKind kind = CellKind::lstm;
  std::vector<Direction> directions = {};  // forward, or forward and reverse
  bool reset_after = true;                 // of a GRU
  std::string activation = "tanh";         // of an RNN: tanh, relu, sigmoid or linear
  Merge merge = Merge::concat;             // of two directions

  // How a cell must be made to compute the same: Recurrent<..>({}, in, hidden, {.cell = w.cell()}).
  CellOptions cell() const;
  // What load_state_dict takes, for layer `layer` of cells made so; these are PyTorch's own by default.
  // Throws where cells so made compute something else (of an activation that is set it believes the name).
  NamedTensors state_dict(const CellOptions& target = {}, int64_t layer = 0) const;
};

// What a state dict does not say of the cells that it belongs to.
struct LayerSource {
  CellOptions cell = {};
  std::string activation = {};    // the name of an RNN's cell.activation, where that is set
  PeepholeOptions peephole = {};  // of a PeepholeLSTMCell; ONNX knows form graves, by units, with tanh
  int64_t layer = 0;
  std::string prefix = {};  // of the names: "encoder.lstm."
};
LayerWeights weights_of(CellKind kind, const NamedTensors& state, const LayerSource& source = {});

// A node RNN, GRU or LSTM of ONNX (opset 7 on; `layout` concerns the data alone): its weights and attributes,
// with their defaults.
struct OnnxLayer {
  std::string op_type;                // RNN, GRU, LSTM
  Tensor W, R;                        // [directions, gates hidden, in], [.., hidden]
  Tensor B = {};                      // [directions, 2 gates hidden], or undefined
  Tensor P = {};                      // LSTM: [directions, 3 hidden] for i, o, f, or undefined
  std::string direction = "forward";  // forward, reverse, bidirectional
  // For each direction; empty: Sigmoid and Tanh, as in the textbooks.
  std::vector<std::string> activations = {};
  bool linear_before_reset = false;  // GRU: our reset_after
  bool input_forget = false;         // LSTM: f = 1 - i
  double clip = 0;                   // 0: none
};
LayerWeights from_onnx(const OnnxLayer& layer);
OnnxLayer to_onnx(const LayerWeights& weights);

// A layer SimpleRNN, LSTM or GRU of Keras, or Bidirectional around one.
struct KerasLayer {
  std::string class_name;  // SimpleRNN, LSTM, GRU
  // get_weights(): kernel, recurrent_kernel, with use_bias bias; then the backward one's.
  std::vector<Tensor> weights = {};
  bool bidirectional = false;
  std::string merge_mode = "concat";
  std::string activation = "tanh", recurrent_activation = "sigmoid";
  bool use_bias = true;
  bool reset_after = true;  // GRU
  bool go_backwards = false;
};
LayerWeights from_keras(const KerasLayer& layer);
KerasLayer to_keras(const LayerWeights& weights);

}  // namespace reel::nn
