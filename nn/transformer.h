// Multi-head attention and the Transformer's encoder layer (Vaswani et al. 2017), with PyTorch's parameters.
#pragma once

#include "nn/layers.h"

namespace reel::nn {

// heads of softmax(Q K^T / sqrt(width / heads)) V side by side, projected. in_proj_weight [3 width, width]
// holds the projections of query, key and value, one below the other.
class MultiheadAttention : public Module {
 public:
  MultiheadAttention(Member at, int64_t width, int64_t heads, double dropout = 0);

  // query [batch, queries, width], key and value [batch, keys, width]; mask [batch, keys] bool, true where a
  // key counts (the opposite of PyTorch's), may be undefined: all.
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const Tensor& mask = {}) const;
  Tensor operator()(const Tensor& x, const Tensor& mask = {}) const;  // of x to itself, one projection

  Tensor in_proj_weight, in_proj_bias;

 private:
  Tensor by_head(const Tensor& x) const;  // [batch, time, width] -> [batch, heads, time, width / heads]
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) const;

  int64_t heads_;
  Linear out_proj_;
  Dropout dropout_;
};

enum class FeedForward { relu, gelu };

struct EncoderLayerOptions {
  int64_t heads = 8;
  int64_t feed_forward = 2048;
  double dropout = 0.1;
  FeedForward activation = FeedForward::relu;
  bool norm_first = false;
};

// norm_first:  x = x + A(norm1(x)); x = x + F(norm2(x))       (pre-norm)
// else:        x = norm1(x + A(x)); x = norm2(x + F(x))       (post-norm)
// A is self-attention, F linear2(activation(linear1(x))).
class TransformerEncoderLayer : public Module {
 public:
  TransformerEncoderLayer(Member at, int64_t width, const EncoderLayerOptions& options = {});
  Tensor operator()(const Tensor& x, const Tensor& mask = {}) const;  // x [batch, time, width], mask as above

 private:
  Tensor feed_forward(const Tensor& x) const;

  bool norm_first_;
  FeedForward activation_;
  MultiheadAttention self_attn_;
  Linear linear1_, linear2_;
  LayerNorm norm1_, norm2_;
  Dropout dropout_, dropout1_, dropout2_;
};

}  // namespace reel::nn
