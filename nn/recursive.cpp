#include "nn/recursive.h"

#include <cmath>

#include "ops/ops.h"

namespace reel::nn {

RecursiveCell::RecursiveCell(Member at, int64_t in, int64_t hidden, const RecursiveOptions& options)
    : Module(std::move(at)),
      options_(options),
      inner_([this](const Tensors& children) -> Tensors { return {equations({}, children)}; }),
      with_x_(
          [this](const Tensors& all) -> Tensors { return {equations(all[0], std::span(all).subspan(1))}; }) {
  const int64_t n = options.children;
  if (n < 0) fail("[RecursiveCell] children {}: want how many a node may have, or 0 for any number", n);
  if (!options.project && in != hidden) {
    fail("[RecursiveCell] leaves of {} units in a tree of {}: want as many, or project", in, hidden);
  }
  const double bound = hidden > 0 ? 1 / std::sqrt(static_cast<double>(hidden)) : 0;
  const init::Init init = options.init ? options.init : init::uniform(-bound, bound);
  weight_hh = parameter("weight_hh", {hidden, (n == 0 ? 1 : n) * hidden}, init);
  if (options.project) weight_ih = parameter("weight_ih", {hidden, in}, init);
  bias = parameter("bias", {hidden}, init);
}

Tensor RecursiveCell::operator()(const Tensor& x, std::span<const State> children) const {
  const auto count = static_cast<int64_t>(children.size());
  if (!x.defined() && count == 0) fail("[RecursiveCell] a node with neither x nor children: want one");
  if (options_.children > 0 && count > options_.children) {
    fail("[RecursiveCell] a node with {} children: want at most {}", count, options_.children);
  }
  Tensors in(children.begin(), children.end());
  if (!x.defined()) return inner_(in)[0];
  if (!options_.project && count == 0) return x;
  if (!options_.project) fail("[RecursiveCell] an inner node with an x: want project for that");
  in.insert(in.begin(), x);
  return with_x_(in)[0];
}

Tensor RecursiveCell::equations(const Tensor& x, std::span<const State> children) const {
  Tensor a = bias;
  if (x.defined()) a = matmul(x, transpose(weight_ih, 0, 1)) + a;
  if (!children.empty()) {
    Tensor h = children[0];
    if (options_.children > 0) {
      h = concat(children, -1);
    } else {
      for (const Tensor& child : children.subspan(1)) h = h + child;
    }
    // Children that are missing multiply nothing.
    const Tensor w = h.size(1) < weight_hh.size(1) ? slice(weight_hh, 1, 0, h.size(1)) : weight_hh;
    a = matmul(h, transpose(w, 0, 1)) + a;
  }
  return options_.activation ? options_.activation(a) : tanh(a);
}

}  // namespace reel::nn
