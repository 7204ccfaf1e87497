#include "nn/transformer.h"

#include <cmath>

#include "nn/init.h"
#include "ops/ops.h"

namespace reel::nn {

MultiheadAttention::MultiheadAttention(Member at, int64_t width, int64_t heads, double dropout)
    : Module(std::move(at)),
      heads_(heads),
      out_proj_({this, "out_proj"}, width, width),
      dropout_({this, "dropout"}, dropout) {
  if (heads < 1 || width % heads != 0) {
    fail("[MultiheadAttention] {} heads for a width of {}: want a number that divides it", heads, width);
  }
  in_proj_weight = parameter("in_proj_weight", {3 * width, width}, init::xavier_uniform());
  in_proj_bias = parameter("in_proj_bias", {3 * width}, init::constant(0));
  init::fill(out_proj_.bias, init::constant(0));
}

Tensor MultiheadAttention::operator()(const Tensor& x, const Tensor& mask) const {
  const auto [q, k, v] = split<3>(matmul(x, transpose(in_proj_weight, 0, 1)) + in_proj_bias);
  return attend(q, k, v, mask);
}

Tensor MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const Tensor& mask) const {
  const auto w = split<3>(in_proj_weight, 0);
  const auto b = split<3>(in_proj_bias);
  const auto project = [&](const Tensor& x, size_t k) { return matmul(x, transpose(w[k], 0, 1)) + b[k]; };
  return attend(project(query, 0), project(key, 1), project(value, 2), mask);
}

Tensor MultiheadAttention::by_head(const Tensor& x) const {
  return transpose(reshape(x, {x.size(0), x.size(1), heads_, x.size(2) / heads_}), 1, 2);
}

Tensor MultiheadAttention::attend(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& mask) const {
  const int64_t width = q.size(2);
  const double scale = 1 / std::sqrt(static_cast<double>(width / heads_));
  Tensor scores = matmul(by_head(q), transpose(by_head(k), 2, 3)) * scale;  // [batch, heads, queries, keys]
  if (mask.defined()) {
    if (mask.dtype() != DType::boolean || !(mask.shape() == Shape{k.size(0), k.size(1)})) {
      fail("[MultiheadAttention] a mask of {} {}: want bool [{}, {}]", name_of(mask.dtype()), mask.shape(),
           k.size(0), k.size(1));
    }
    scores = where(unsqueeze(unsqueeze(mask, 1), 1), scores, -1e9);
  }
  const Tensor heads = matmul(dropout_(softmax(scores, -1)), by_head(v));
  return out_proj_(reshape(transpose(heads, 1, 2), {q.size(0), q.size(1), width}));
}

TransformerEncoderLayer::TransformerEncoderLayer(Member at, int64_t width, const EncoderLayerOptions& o)
    : Module(std::move(at)),
      norm_first_(o.norm_first),
      activation_(o.activation),
      self_attn_({this, "self_attn"}, width, o.heads, o.dropout),
      linear1_({this, "linear1"}, width, o.feed_forward),
      linear2_({this, "linear2"}, o.feed_forward, width),
      norm1_({this, "norm1"}, width),
      norm2_({this, "norm2"}, width),
      dropout_({this, "dropout"}, o.dropout),
      dropout1_({this, "dropout1"}, o.dropout),
      dropout2_({this, "dropout2"}, o.dropout) {}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const Tensor& mask) const {
  if (norm_first_) {
    const Tensor y = x + dropout1_(self_attn_(norm1_(x), mask));
    return y + feed_forward(norm2_(y));
  }
  const Tensor y = norm1_(x + dropout1_(self_attn_(x, mask)));
  return norm2_(y + feed_forward(y));
}

Tensor TransformerEncoderLayer::feed_forward(const Tensor& x) const {
  const Tensor inner = linear1_(x);
  return dropout2_(linear2_(dropout_(activation_ == FeedForward::gelu ? gelu(inner) : relu(inner))));
}

}  // namespace reel::nn
