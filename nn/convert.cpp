#include "nn/convert.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "core/error.h"
#include "ops/ops.h"

namespace reel::nn {

namespace {

int64_t gates_of(CellKind kind) { return kind == CellKind::lstm ? 4 : kind == CellKind::gru ? 3 : 1; }

const char* name_of(CellKind kind) {
  return kind == CellKind::lstm ? "LSTM" : kind == CellKind::gru ? "GRU" : "RNN";
}

// Blocks of rows in another order: block k of the result is block order[k].
Tensor reordered(const Tensor& t, const std::vector<int64_t>& order) {
  if (!t.defined() || std::is_sorted(order.begin(), order.end())) return t;
  const int64_t rows = t.size(0) / static_cast<int64_t>(order.size());
  std::vector<Tensor> blocks;
  for (const int64_t k : order) blocks.push_back(slice(t, 0, k * rows, (k + 1) * rows));
  return concat(blocks, 0);
}

using Order = std::vector<int64_t>;
const Order kSwapped{1, 0, 2};    // z, r, n and r, z, n, either way
const Order kPeepholes{0, 2, 1};  // i, o, f and i, f, o, either way
Order from_onnx_order(CellKind kind) {
  return kind == CellKind::lstm ? Order{0, 2, 3, 1} : kind == CellKind::gru ? kSwapped : Order{0};
}
Order to_onnx_order(CellKind kind) {
  return kind == CellKind::lstm ? Order{0, 3, 1, 2} : kind == CellKind::gru ? kSwapped : Order{0};
}
Order keras_order(CellKind kind) {
  return kind == CellKind::lstm ? Order{0, 1, 2, 3} : kind == CellKind::gru ? kSwapped : Order{0};
}

void want_shape(const char* who, const char* name, const Tensor& t, const Shape& shape) {
  if (!t.defined()) fail("[{}] no {}: want {}", who, name, shape);
  if (!(t.shape() == shape)) fail("[{}] {} {}: want {}", who, name, t.shape(), shape);
}

bool all_zero(const Tensor& t) { return sum(abs(t)).item() == 0; }

Tensor biases_or_zeros(const Tensor& bias, const LayerWeights::Direction& d) {
  return bias.defined() ? bias : full({d.weight_ih.size(0)}, 0, d.weight_ih.dtype());
}

// b_ih + b_hh, where a layer has room for one; undefined where there is none.
Tensor joint_bias(const char* who, const LayerWeights& w, const LayerWeights::Direction& d) {
  if (!d.bias_hh.defined()) return d.bias_ih;
  if (w.kind == CellKind::gru && w.reset_after) {
    const int64_t hidden = d.weight_hh.size(1);
    if (!all_zero(slice(d.bias_hh, 0, 2 * hidden, 3 * hidden))) {
      fail("[{}] a GRU whose reset gate scales a bias of its own: want two biases", who);
    }
  }
  return d.bias_ih.defined() ? d.bias_ih + d.bias_hh : d.bias_hh;
}

bool known_activation(const std::string& name) {
  return name == "tanh" || name == "relu" || name == "sigmoid" || name == "linear";
}

void check_layer(const char* who, const LayerWeights& w) {
  if (w.directions.empty() || w.directions.size() > 2) {
    fail("[{}] {} directions: want one or two", who, w.directions.size());
  }
  if (!known_activation(w.activation)) {
    fail("[{}] an RNN with '{}': want tanh, relu, sigmoid or linear", who, w.activation);
  }
  for (const auto& d : w.directions) {
    if (!d.weight_ih.defined() || d.weight_ih.dim() != 2) fail("[{}] no weight_ih [gates hidden, in]", who);
    const int64_t gates = gates_of(w.kind), hidden = d.weight_ih.size(0) / gates;
    const Shape bias{gates * hidden};
    want_shape(who, "weight_ih", d.weight_ih, {gates * hidden, w.directions[0].weight_ih.size(1)});
    want_shape(who, "weight_hh", d.weight_hh, {gates * hidden, hidden});
    if (d.bias_ih.defined()) want_shape(who, "bias_ih", d.bias_ih, bias);
    if (d.bias_hh.defined()) want_shape(who, "bias_hh", d.bias_hh, bias);
    if (d.weight_ch.defined()) want_shape(who, "weight_ch", d.weight_ch, {3 * hidden});
    if (d.weight_ch.defined() && w.kind != CellKind::lstm) fail("[{}] peepholes: want an LSTM for them", who);
  }
}

}  // namespace

// ---- Ours ----

CellOptions LayerWeights::cell() const {
  CellOptions options{.reset_after = reset_after};
  if (activation == "relu") options.activation = [](const Tensor& a) { return relu(a); };
  if (activation == "sigmoid") options.activation = [](const Tensor& a) { return sigmoid(a); };
  if (activation == "linear") options.activation = [](const Tensor& a) { return a; };
  return options;
}

NamedTensors LayerWeights::state_dict(const CellOptions& target, int64_t layer) const {
  const char* who = "state_dict";
  check_layer(who, *this);
  if (kind == CellKind::gru && target.reset_after != reset_after) {
    fail("[{}] a GRU whose reset gate acts {} the product: want cells with reset_after = {}{}", who,
         reset_after ? "after" : "before", reset_after, reset_after ? "" : ", which PyTorch has not");
  }
  if (target.proj_size > 0) fail("[{}] cells with a projection: want none, these weights have none", who);
  if (kind == CellKind::rnn && (activation == "tanh") == static_cast<bool>(target.activation)) {
    fail("[{}] an RNN with {}: want cells with that activation", who, activation);
  }
  NamedTensors out;
  for (size_t k = 0; k < directions.size(); ++k) {
    const Direction& d = directions[k];
    const std::string suffix = fmt::format("_l{}{}", layer, k == 1 ? "_reverse" : "");
    out.emplace_back("weight_ih" + suffix, d.weight_ih);
    out.emplace_back("weight_hh" + suffix, d.weight_hh);
    if (target.bias == Bias::two) {
      out.emplace_back("bias_ih" + suffix, biases_or_zeros(d.bias_ih, d));
      out.emplace_back("bias_hh" + suffix, biases_or_zeros(d.bias_hh, d));
    } else if (target.bias == Bias::one) {
      out.emplace_back("bias_ih" + suffix, biases_or_zeros(joint_bias(who, *this, d), d));
    } else if ((d.bias_ih.defined() && !all_zero(d.bias_ih)) ||
               (d.bias_hh.defined() && !all_zero(d.bias_hh))) {
      fail("[{}] weights with biases: want cells with them", who);
    }
    if (d.weight_ch.defined()) out.emplace_back("weight_ch" + suffix, d.weight_ch);
  }
  return out;
}

LayerWeights weights_of(CellKind kind, const NamedTensors& state, const LayerSource& source) {
  const char* who = "weights_of";
  if (source.cell.activation && source.activation.empty()) {
    fail("[{}] an RNN with an activation of its own: want its name", who);
  }
  const std::map<std::string, Tensor> all(state.begin(), state.end());
  LayerWeights out{.kind = kind,
                   .reset_after = source.cell.reset_after,
                   .activation = source.activation.empty() ? "tanh" : source.activation};
  for (const char* direction : {"", "_reverse"}) {
    const auto find = [&](const char* name) {
      const auto found = all.find(fmt::format("{}{}_l{}{}", source.prefix, name, source.layer, direction));
      return found == all.end() ? Tensor() : found->second;
    };
    const Tensor weight_ih = find("weight_ih"), weight_ch = find("weight_ch");
    if (*direction && !weight_ih.defined()) break;
    if (find("weight_hr").defined()) {
      fail("[{}] an LSTM with a projection: want one without, neither ONNX nor Keras has it", who);
    }
    const PeepholeOptions& peephole = source.peephole;
    if (weight_ch.defined() &&
        (peephole.form != Peephole::graves || peephole.full || !peephole.output_tanh)) {
      fail("[{}] peepholes of another kind: want form graves, by units, with the output's tanh", who);
    }
    out.directions.push_back({.weight_ih = weight_ih,
                              .weight_hh = find("weight_hh"),
                              .bias_ih = find("bias_ih"),
                              .bias_hh = find("bias_hh"),
                              .weight_ch = weight_ch});
  }
  check_layer(who, out);
  return out;
}

// ---- ONNX ----

namespace {

CellKind kind_of(const char* who, const std::string& name, const char* rnn) {
  if (name == "LSTM") return CellKind::lstm;
  if (name == "GRU") return CellKind::gru;
  if (name != rnn) fail("[{}] a layer '{}': want {}, GRU or LSTM", who, name, rnn);
  return CellKind::rnn;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The RNN's activation; those of gated cells must be the textbooks'.
std::string onnx_activation(const OnnxLayer& layer, CellKind kind, size_t directions) {
  const std::vector<std::string> usual = kind == CellKind::lstm
                                             ? std::vector<std::string>{"sigmoid", "tanh", "tanh"}
                                         : kind == CellKind::gru ? std::vector<std::string>{"sigmoid", "tanh"}
                                                                 : std::vector<std::string>{"tanh"};
  if (layer.activations.empty()) return "tanh";
  if (layer.activations.size() != usual.size() * directions) {
    fail("[from_onnx] {} activations: want {}, {} for each direction", layer.activations.size(),
         usual.size() * directions, usual.size());
  }
  for (size_t k = 0; k < layer.activations.size(); ++k) {
    const std::string name = lower(layer.activations[k]);
    if (kind != CellKind::rnn && name != usual[k % usual.size()]) {
      fail("[from_onnx] activation {} of a {} is {}: want {}", k, layer.op_type, layer.activations[k],
           usual[k % usual.size()]);
    }
    if (name != lower(layer.activations[0]) && kind == CellKind::rnn) {
      fail("[from_onnx] an RNN with {} and {}: want one activation", layer.activations[0],
           layer.activations[k]);
    }
  }
  const std::string name = lower(layer.activations[0]);
  if (kind != CellKind::rnn) return "tanh";
  if (name != "tanh" && name != "relu" && name != "sigmoid") {
    fail("[from_onnx] an RNN with {}: want Tanh, Relu or Sigmoid", layer.activations[0]);
  }
  return name;
}

}  // namespace

LayerWeights from_onnx(const OnnxLayer& layer) {
  const char* who = "from_onnx";
  const CellKind kind = kind_of(who, layer.op_type, "RNN");
  if (layer.clip != 0) fail("[{}] clip {}: want none, ours do not clip inside", who, layer.clip);
  if (layer.input_forget) fail("[{}] input_forget: want an LSTM with a forget gate of its own", who);
  if (layer.direction != "forward" && layer.direction != "bidirectional") {
    fail("[{}] direction '{}': want forward or bidirectional; for reverse, flip x", who, layer.direction);
  }
  const int64_t directions = layer.direction == "bidirectional" ? 2 : 1, gates = gates_of(kind);
  if (!layer.R.defined() || layer.R.dim() != 3) fail("[{}] no R [directions, gates hidden, hidden]", who);
  if (!layer.W.defined() || layer.W.dim() != 3) fail("[{}] no W [directions, gates hidden, in]", who);
  const int64_t hidden = layer.R.size(2), rows = gates * hidden;
  want_shape(who, "R", layer.R, {directions, rows, hidden});
  want_shape(who, "W", layer.W, {directions, rows, layer.W.size(2)});
  if (layer.B.defined()) want_shape(who, "B", layer.B, {directions, 2 * rows});
  if (layer.P.defined()) want_shape(who, "P", layer.P, {directions, 3 * hidden});
  if (layer.P.defined() && kind != CellKind::lstm) fail("[{}] peepholes P: want an LSTM for them", who);

  LayerWeights out{.kind = kind,
                   .reset_after = kind != CellKind::gru || layer.linear_before_reset,
                   .activation = onnx_activation(layer, kind, static_cast<size_t>(directions))};
  const Order order = from_onnx_order(kind);
  for (int64_t k = 0; k < directions; ++k) {
    LayerWeights::Direction d{.weight_ih = reordered(select(layer.W, 0, k), order),
                              .weight_hh = reordered(select(layer.R, 0, k), order)};
    if (layer.B.defined()) {
      const Tensor b = select(layer.B, 0, k);
      d.bias_ih = reordered(slice(b, 0, 0, rows), order);
      d.bias_hh = reordered(slice(b, 0, rows, 2 * rows), order);
    }
    if (layer.P.defined()) d.weight_ch = reordered(select(layer.P, 0, k), kPeepholes);
    out.directions.push_back(std::move(d));
  }
  return out;
}

OnnxLayer to_onnx(const LayerWeights& w) {
  const char* who = "to_onnx";
  check_layer(who, w);
  const bool both = w.directions.size() == 2;
  if (both && w.merge != Merge::concat) {
    fail("[{}] two directions summed: want them side by side, as ONNX has them", who);
  }
  if (w.activation == "linear") fail("[{}] an RNN without an activation: want one that ONNX has", who);
  std::vector<Tensor> W, R, B, P;
  const Order order = to_onnx_order(w.kind);
  for (const auto& d : w.directions) {
    W.push_back(reordered(d.weight_ih, order));
    R.push_back(reordered(d.weight_hh, order));
    B.push_back(concat(
        {reordered(biases_or_zeros(d.bias_ih, d), order), reordered(biases_or_zeros(d.bias_hh, d), order)},
        0));
    if (d.weight_ch.defined()) P.push_back(reordered(d.weight_ch, kPeepholes));
  }
  if (!P.empty() && P.size() != W.size()) fail("[{}] peepholes in one direction: want both or none", who);
  OnnxLayer out{.op_type = name_of(w.kind), .W = stack(W, 0), .R = stack(R, 0), .B = stack(B, 0)};
  if (!P.empty()) out.P = stack(P, 0);
  if (both) out.direction = "bidirectional";
  if (w.kind == CellKind::rnn && w.activation != "tanh") {
    out.activations.assign(w.directions.size(), w.activation == "relu" ? "Relu" : "Sigmoid");
  }
  out.linear_before_reset = w.kind == CellKind::gru && w.reset_after;
  return out;
}

// ---- Keras ----

LayerWeights from_keras(const KerasLayer& layer) {
  const char* who = "from_keras";
  const CellKind kind = kind_of(who, layer.class_name, "SimpleRNN");
  if (layer.go_backwards) fail("[{}] go_backwards: want a forward layer; flip x", who);
  if (kind != CellKind::rnn && layer.recurrent_activation != "sigmoid") {
    fail("[{}] recurrent_activation '{}': want sigmoid", who, layer.recurrent_activation);
  }
  const bool usable = kind == CellKind::rnn ? known_activation(layer.activation) : layer.activation == "tanh";
  if (!usable) {
    fail("[{}] activation '{}' of a {}: want {}", who, layer.activation, layer.class_name,
         kind == CellKind::rnn ? "tanh, relu, sigmoid or linear" : "tanh");
  }
  if (layer.bidirectional && layer.merge_mode != "concat" && layer.merge_mode != "sum") {
    fail("[{}] merge_mode '{}': want concat or sum", who, layer.merge_mode);
  }
  const size_t each = layer.use_bias ? 3 : 2, directions = layer.bidirectional ? 2 : 1;
  if (layer.weights.size() != each * directions) {
    fail("[{}] {} weights: want {}", who, layer.weights.size(), each * directions);
  }
  LayerWeights out{.kind = kind,
                   .reset_after = kind != CellKind::gru || layer.reset_after,
                   .activation = kind == CellKind::rnn ? layer.activation : "tanh",
                   .merge = layer.merge_mode == "sum" ? Merge::sum : Merge::concat};
  const Order order = keras_order(kind);
  for (size_t k = 0; k < directions; ++k) {
    const Tensor* w = &layer.weights[k * each];
    if (!w[0].defined() || w[0].dim() != 2 || !w[1].defined() || w[1].dim() != 2) {
      fail("[{}] no kernel [in, gates hidden] and recurrent_kernel [hidden, gates hidden]", who);
    }
    const int64_t hidden = w[1].size(0), rows = gates_of(kind) * hidden;
    want_shape(who, "kernel", w[0], {w[0].size(0), rows});
    want_shape(who, "recurrent_kernel", w[1], {hidden, rows});
    LayerWeights::Direction d{.weight_ih = reordered(transpose(w[0], 0, 1), order),
                              .weight_hh = reordered(transpose(w[1], 0, 1), order)};
    const bool two = kind == CellKind::gru && layer.reset_after;
    if (layer.use_bias) {
      want_shape(who, "bias", w[2], two ? Shape{2, rows} : Shape{rows});
      d.bias_ih = reordered(two ? select(w[2], 0, 0) : w[2], order);
      if (two) d.bias_hh = reordered(select(w[2], 0, 1), order);
    }
    out.directions.push_back(std::move(d));
  }
  return out;
}

KerasLayer to_keras(const LayerWeights& w) {
  const char* who = "to_keras";
  check_layer(who, w);
  const Order order = keras_order(w.kind);
  KerasLayer out{.class_name = w.kind == CellKind::rnn ? "SimpleRNN" : name_of(w.kind)};
  for (const auto& d : w.directions) {
    if (d.weight_ch.defined()) fail("[{}] an LSTM with peepholes: want one without, Keras has none", who);
    out.weights.push_back(transpose(reordered(d.weight_ih, order), 0, 1));
    out.weights.push_back(transpose(reordered(d.weight_hh, order), 0, 1));
    const Tensor two[] = {reordered(biases_or_zeros(d.bias_ih, d), order),
                          reordered(biases_or_zeros(d.bias_hh, d), order)};
    const bool apart = w.kind == CellKind::gru && w.reset_after;
    out.weights.push_back(apart ? stack(two, 0) : two[0] + two[1]);
  }
  out.bidirectional = w.directions.size() == 2;
  out.merge_mode = w.merge == Merge::sum ? "sum" : "concat";
  if (w.kind == CellKind::rnn) out.activation = w.activation;
  out.reset_after = w.reset_after;
  return out;
}

}  // namespace reel::nn
