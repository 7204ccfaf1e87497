// Linear, Embedding, LayerNorm, Dropout: the plain layers, initialised as PyTorch's.
#pragma once

#include <optional>

#include "nn/module.h"

namespace reel::nn {

// y[.., out] = x[.., in] weight^T + bias. weight [out, in], bias [out]; both U(-1/sqrt(in), 1/sqrt(in)).
class Linear : public Module {
 public:
  Linear(Member at, int64_t in, int64_t out, bool with_bias = true);
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;  // bias is undefined where there is none
};

// Rows of weight [entries, width] by id: ids [..] of i64 -> [.., width]. N(0, 1); the row of padding_idx is
// zero and stays so.
class Embedding : public Module {
 public:
  Embedding(Member at, int64_t entries, int64_t width, int64_t padding_idx = -1);
  Tensor operator()(const Tensor& ids) const;

  Tensor weight;

 private:
  int64_t padding_idx_;
};

// y = (x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016).
class LayerNorm : public Module {
 public:
  LayerNorm(Member at, int64_t width, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;

 private:
  double eps_;
};

// In training, zero with probability p and scaled by 1 / (1 - p) otherwise; the identity in evaluation. With
// one mask for all of an axis, time's, it is variational dropout (Gal and Ghahramani 2016).
class Dropout : public Module {
 public:
  Dropout(Member at, double p, std::optional<int64_t> shared_axis = {});
  Tensor operator()(const Tensor& x) const;
  double p() const { return p_; }

 private:
  double p_;
  std::optional<int64_t> shared_axis_;
};

}  // namespace reel::nn
