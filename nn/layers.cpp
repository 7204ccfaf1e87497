#include "nn/layers.h"

#include <cmath>

#include "core/error.h"
#include "core/structural.h"
#include "nn/init.h"
#include "ops/ops.h"

namespace reel::nn {

namespace {
double bound(int64_t in) { return in > 0 ? 1 / std::sqrt(static_cast<double>(in)) : 0; }
}  // namespace

Linear::Linear(Member at, int64_t in, int64_t out, bool with_bias) : Module(std::move(at)) {
  weight = parameter("weight", {out, in}, init::uniform(-bound(in), bound(in)));
  if (with_bias) bias = parameter("bias", {out}, init::uniform(-bound(in), bound(in)));
}

Tensor Linear::operator()(const Tensor& x) const {
  const Tensor y = matmul(x, transpose(weight, 0, 1));
  return bias.defined() ? y + bias : y;
}

Embedding::Embedding(Member at, int64_t entries, int64_t width, int64_t padding_idx)
    : Module(std::move(at)), padding_idx_(padding_idx) {
  if (padding_idx >= entries)
    fail("[Embedding] padding_idx {}: want one of the {} entries, or -1", padding_idx, entries);
  weight = parameter("weight", {entries, width}, [&](const Shape& shape) {
    const Tensor rows = normal(shape, 0, 1);
    if (padding_idx < 0) return rows;
    return concat(
        {slice(rows, 0, 0, padding_idx), zeros({1, width}), slice(rows, 0, padding_idx + 1, entries)}, 0);
  });
}

Tensor Embedding::operator()(const Tensor& ids) const {
  return padding_idx_ < 0 ? embedding(weight, ids) : embedding(weight, ids, padding_idx_);
}

LayerNorm::LayerNorm(Member at, int64_t width, double eps) : Module(std::move(at)), eps_(eps) {
  weight = parameter("weight", {width}, init::constant(1));
  bias = parameter("bias", {width}, init::constant(0));
}

Tensor LayerNorm::operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps_); }

Dropout::Dropout(Member at, double p, std::optional<int64_t> shared_axis)
    : Module(std::move(at)), p_(p), shared_axis_(shared_axis) {
  if (!(p >= 0 && p < 1)) fail("[Dropout] p {}: want 0 <= p < 1", p);
}

Tensor Dropout::operator()(const Tensor& x) const {
  if (!shared_axis_ || !training() || p_ == 0) return dropout(x, p_, training());
  Shape shape = x.shape();
  shape[static_cast<int>(axis_of(x, *shared_axis_, "Dropout"))] = 1;
  return x * dropout(full(shape, 1, x.dtype()), p_);
}

}  // namespace reel::nn
