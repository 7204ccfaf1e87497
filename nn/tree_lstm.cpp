#include "nn/tree_lstm.h"

#include <array>
#include <cmath>

#include "ops/ops.h"

namespace reel::nn {

TreeLSTMCell::TreeLSTMCell(Member at, int64_t in, int64_t hidden, const TreeLSTMOptions& options)
    : Module(std::move(at)), hidden_(hidden), options_(options), once_([this](const Tensors& in) -> Tensors {
        const size_t first = in.size() % 2;  // x comes first, if there is one
        std::vector<State> children;
        for (size_t k = first; k < in.size(); k += 2) children.push_back({.h = in[k], .c = in[k + 1]});
        const State state = equations(first > 0 ? in[0] : Tensor(), children);
        return {state.h, state.c};
      }) {
  const int64_t n = options.children;
  if (n < 0) fail("[TreeLSTMCell] children {}: want how many a node may have, or 0 for any number", n);
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  weight_ih = parameter("weight_ih", {(options.inner_input ? 4 : 3) * hidden, in}, init);
  weight_hh = parameter("weight_hh", {(3 + n) * hidden, (n == 0 ? 1 : n) * hidden}, init);
  if (n == 0) weight_fh = parameter("weight_fh", {hidden, hidden}, init);
  bias = parameter("bias", {4 * hidden}, init);
}

LSTMState TreeLSTMCell::operator()(const Tensor& x, std::span<const State> children) const {
  std::array<Tensor, 5> few;  // enough for most trees
  Tensors many;
  const size_t count = (x.defined() ? 1 : 0) + 2 * children.size();
  if (count == 0) fail("[TreeLSTMCell] a node with neither x nor children: want one");
  if (count > few.size()) many.resize(count);
  const std::span<Tensor> in(many.empty() ? few.data() : many.data(), count);
  size_t next = 0;
  if (x.defined()) in[next++] = x;
  for (const State& child : children) {
    in[next++] = child.h;
    in[next++] = child.c;
  }
  std::array<Tensor, 2> out;
  once_.call(in, out);
  return {.h = std::move(out[0]), .c = std::move(out[1])};
}

LSTMState TreeLSTMCell::equations(const Tensor& x, std::span<const State> children) const {
  const int64_t h3 = 3 * hidden_;
  Gates gates = from_children(children);
  Tensor iou = slice(bias, 0, 0, h3), f = slice(bias, 0, h3, 4 * hidden_);
  if (x.defined() && children.empty()) {
    iou = matmul(x, transpose(slice(weight_ih, 0, 0, h3), 0, 1)) + iou;
  } else if (x.defined()) {
    if (!options_.inner_input) fail("[TreeLSTMCell] an inner node with an x: want inner_input for that");
    const Tensor from_x = matmul(x, transpose(weight_ih, 0, 1)) + bias;
    iou = slice(from_x, -1, 0, h3);
    f = slice(from_x, -1, h3, 4 * hidden_);
  }
  if (gates.iou.defined()) iou = gates.iou + iou;
  const auto [i, o, u] = split<3>(iou);
  Tensor c = sigmoid(i) * tanh(u);
  for (size_t k = 0; k < children.size(); ++k) c = c + sigmoid(gates.f[k] + f) * children[k].c;
  return {.h = sigmoid(o) * tanh(c), .c = c};
}

TreeLSTMCell::Gates TreeLSTMCell::from_children(std::span<const State> children) const {
  if (children.empty()) return {};
  return options_.children == 0 ? from_sum(children) : from_all(children);
}

TreeLSTMCell::Gates TreeLSTMCell::from_all(std::span<const State> children) const {
  const auto count = static_cast<int64_t>(children.size());
  if (count > options_.children) {
    fail("[TreeLSTMCell] a node with {} children: want at most {}", count, options_.children);
  }
  std::vector<Tensor> h;
  for (const State& child : children) h.push_back(child.h);
  // Children that are missing multiply nothing, and nobody asks for their forget gates.
  Tensor u = slice(weight_hh, 0, 0, (3 + count) * hidden_);
  if (count < options_.children) u = slice(u, 1, 0, count * hidden_);
  const Tensor all = matmul(concat(h, -1), transpose(u, 0, 1));
  Gates gates{slice(all, -1, 0, 3 * hidden_), {}};
  for (int64_t k = 3; k < 3 + count; ++k) {
    gates.f.push_back(slice(all, -1, k * hidden_, (k + 1) * hidden_));
  }
  return gates;
}

TreeLSTMCell::Gates TreeLSTMCell::from_sum(std::span<const State> children) const {
  Tensor total = children[0].h;
  for (const State& child : children.subspan(1)) total = total + child.h;
  Gates gates{matmul(total, transpose(weight_hh, 0, 1)), {}};
  for (const State& child : children) gates.f.push_back(matmul(child.h, transpose(weight_fh, 0, 1)));
  return gates;
}

}  // namespace reel::nn
