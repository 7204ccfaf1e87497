// W6 by hand: biases and ReLU inside the products, heads read where they lie, and the way back sequence by
// sequence, so that what a product makes is still in the cache when the next one reads it. Each thread takes
// its sequences through all layers, forwards and backwards; then all weight gradients.
#include <cmath>
#include <memory>
#include <mutex>

#include "benchmarks/hand/parameters.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/tree_attention_workloads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/transformer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

// A row of scores becomes softmax(scores * scale).
void Softmax(float* row, int64_t n, float scale) {
  float top = row[0];
  for (int64_t i = 1; i < n; ++i) top = std::max(top, row[i]);
  const V shift = set(top * scale);
  each(n, [&](auto at) HWY_ATTR {
    const V x = hn::MulSub(at.load(row), set(scale), shift);
    at.store(hn::Exp(D(), hn::Max(x, set(-87.f))), row);
  });
  V s = hn::Zero(D());  // read again: a part's padding loads as zeros
  each(n, [&](auto at) HWY_ATTR { s = hn::Add(s, at.load(row)); });
  const V factor = set(1 / total(s));
  each(n, [&](auto at) HWY_ATTR { at.store(hn::Mul(at.load(row), factor), row); });
}

// d becomes p (d - sum p d) scale, the gradient of the scores.
void SoftmaxBack(const float* p, float* d, int64_t n, float scale) {
  V s = hn::Zero(D());
  each(n, [&](auto at) HWY_ATTR { s = hn::MulAdd(at.load(p), at.load(d), s); });
  const V mean = set(total(s)), factor = set(scale);
  each(n, [&](auto at)
              HWY_ATTR { at.store(hn::Mul(hn::Mul(at.load(p), factor), hn::Sub(at.load(d), mean)), d); });
}

// y += x + bias
void Residual(float* y, const float* x, const float* bias, int64_t n) {
  each(n, [&](auto at) HWY_ATTR { at.add(hn::Add(at.load(x), at.load(bias)), y); });
}

// d = d where f > 0, else 0; dbias += d
void ReluBack(const float* f, float* d, float* dbias, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V g = hn::IfThenElseZero(hn::Gt(at.load(f), hn::Zero(D())), at.load(d));
    at.store(g, d);
    at.add(g, dbias);
  });
}

// d = y factor; the sum of y^2
double SquareLoss(const float* y, float* d, int64_t n, float factor) {
  V s = hn::Zero(D());
  each(n, [&](auto at) HWY_ATTR {
    const V v = at.load(y);
    s = hn::MulAdd(v, v, s);
    at.store(hn::Mul(v, set(factor)), d);
  });
  return static_cast<double>(total(s));
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench {
namespace expert {

HWY_EXPORT(Softmax);
HWY_EXPORT(SoftmaxBack);
HWY_EXPORT(Residual);
HWY_EXPORT(ReluBack);
HWY_EXPORT(SquareLoss);

namespace {

struct Layer {
  Layer(const TransformerSizes& s, Parameters& all, int64_t l)
      : in_w(get(all, l, "self_attn.in_proj_weight")),
        in_b(get(all, l, "self_attn.in_proj_bias")),
        out_w(get(all, l, "self_attn.out_proj.weight")),
        out_b(get(all, l, "self_attn.out_proj.bias")),
        w1(get(all, l, "linear1.weight")),
        b1(get(all, l, "linear1.bias")),
        w2(get(all, l, "linear2.weight")),
        b2(get(all, l, "linear2.bias")),
        gain1(get(all, l, "norm1.weight")),
        shift1(get(all, l, "norm1.bias")),
        gain2(get(all, l, "norm2.weight")),
        shift2(get(all, l, "norm2.bias")) {
    const int64_t rows = s.batch * s.length;
    for (Floats* f : {&n1, &heads, &y, &n2, &out, &dout, &dy}) *f = Floats(rows * s.width);
    for (Floats* f : {&qkv, &dqkv}) *f = Floats(rows * 3 * s.width);
    for (Floats* f : {&inner, &dinner}) *f = Floats(rows * s.inner);
    p = Floats(rows * s.heads * s.length);
    m1.resize(static_cast<size_t>(rows));
    m2.resize(static_cast<size_t>(rows));
  }
  static Parameter& get(Parameters& all, int64_t l, const char* name) {
    return all[fmt::format("layers.{}.{}", l, name)];
  }

  Parameter &in_w, &in_b, &out_w, &out_b, &w1, &b1, &w2, &b2, &gain1, &shift1, &gain2, &shift2;
  Floats n1, qkv, p, heads, y, n2, inner, out;  // p [batch, heads, length, length]
  Floats dqkv, dy, dinner, dout;                // dout: of the layer's output
  std::vector<Moments> m1, m2;
};

// The gradients of a layer's biases and layer norms, which all rows of a thread add to.
struct Sums {
  explicit Sums(const TransformerSizes& s)
      : in_b(3 * s.width),
        out_b(s.width),
        b1(s.inner),
        b2(s.width),
        gain1(s.width),
        shift1(s.width),
        gain2(s.width),
        shift2(s.width) {}
  void merge(Layer& l) const {
    add(l.in_b.gradient, in_b, in_b.size());
    add(l.out_b.gradient, out_b, out_b.size());
    add(l.b1.gradient, b1, b1.size());
    add(l.b2.gradient, b2, b2.size());
    add(l.gain1.gradient, gain1, gain1.size());
    add(l.shift1.gradient, shift1, shift1.size());
    add(l.gain2.gradient, gain2, gain2.size());
    add(l.shift2.gradient, shift2, shift2.size());
  }
  Floats in_b, out_b, b1, b2, gain1, shift1, gain2, shift2;
};

class Transformer : public Stepper {
 public:
  Transformer(const TransformerSizes& s, const Weights& weights)
      : s_(s), all_(weights), width_(s.width), rows_(s.batch * s.length) {
    for (int64_t l = 0; l < s.layers; ++l) layers_.push_back(std::make_unique<Layer>(s, all_, l));
  }

  double step(int64_t k) override {
    const float* x0 = sequences(s_, k).data();
    for (const auto& l : layers_) {
      for (Parameter* p :
           {&l->in_b, &l->out_b, &l->b1, &l->b2, &l->gain1, &l->shift1, &l->gain2, &l->shift2}) {
        p->gradient.zero();
      }
    }
    double loss = 0;
    std::mutex merging;
    on_threads(s_.batch, [&](int64_t begin, int64_t end) {
      const int64_t from = begin * s_.length, count = (end - begin) * s_.length;
      const float* x = x0;
      for (const auto& l : layers_) {
        forward(*l, x, begin, end);
        x = l->out;
      }
      const auto all = static_cast<float>(rows_ * width_);
      const double part = HWY_DYNAMIC_DISPATCH(SquareLoss)(
          x + from * width_, layers_.back()->dout + from * width_, count * width_, 2 / all);
      for (size_t l = layers_.size(); l-- > 0;)
        backward(l, l > 0 ? layers_[l - 1]->out : x0, begin, end, merging);
      const std::lock_guard lock(merging);
      loss += part / static_cast<double>(all);
    });
    for (const auto& l : layers_) weight_gradients(*l);
    return loss;
  }
  Weights gradients() const override { return all_.gradients(); }

 private:
  void forward(Layer& l, const float* x, int64_t begin, int64_t end);
  void attend(Layer& l, int64_t sequence);
  void attend_back(Layer& l, const float* dheads, float* dp, int64_t sequence);
  float scale() const { return 1 / std::sqrt(static_cast<float>(width_ / s_.heads)); }
  void backward(size_t index, const float* x, int64_t begin, int64_t end, std::mutex& merging);
  void weight_gradients(Layer& l);

  TransformerSizes s_;
  Parameters all_;
  int64_t width_, rows_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

void Transformer::forward(Layer& l, const float* x, int64_t begin, int64_t end) {
  const int64_t n = width_, inner = s_.inner, from = begin * s_.length, count = (end - begin) * s_.length;
  layer_norm(x + from * n, l.gain1.value, l.shift1.value, l.n1 + from * n, &l.m1[static_cast<size_t>(from)],
             count, n);
  linear(count, 3 * n, n, l.n1 + from * n, l.in_w.value, l.in_b.value, false, l.qkv + from * 3 * n);
  for (int64_t sequence = begin; sequence < end; ++sequence) attend(l, sequence);
  const auto times = [&](const Floats& a, const Parameter& w, int64_t k, Floats& c) {
    matmul(count, n, k, a + from * k, {k, 1}, w.value, {1, k}, c + from * n, {n, 1});
  };
  times(l.heads, l.out_w, n, l.y);
  for (int64_t r = from; r < from + count; ++r) {
    HWY_DYNAMIC_DISPATCH(Residual)(l.y + r * n, x + r * n, l.out_b.value, n);
    layer_norm(l.y + r * n, l.gain2.value, l.shift2.value, l.n2 + r * n, &l.m2[static_cast<size_t>(r)], 1, n);
  }
  linear(count, inner, n, l.n2 + from * n, l.w1.value, l.b1.value, true, l.inner + from * inner);
  times(l.inner, l.w2, inner, l.out);
  for (int64_t r = from; r < from + count; ++r) {
    HWY_DYNAMIC_DISPATCH(Residual)(l.out + r * n, l.y + r * n, l.b2.value, n);
  }
}

// The heads of a sequence are columns of its rows of qkv.
void Transformer::attend(Layer& l, int64_t sequence) {
  const int64_t n = width_, t = s_.length, d = n / s_.heads;
  for (int64_t head = 0; head < s_.heads; ++head) {
    const float* q = l.qkv + sequence * t * 3 * n + head * d;
    float* p = l.p + (sequence * s_.heads + head) * t * t;
    sgemm('N', 'T', t, t, d, q, 3 * n, q + n, 3 * n, 0, p, t);
    for (int64_t r = 0; r < t; ++r) HWY_DYNAMIC_DISPATCH(Softmax)(p + r * t, t, scale());
    sgemm('N', 'N', t, d, t, p, t, q + 2 * n, 3 * n, 0, l.heads + sequence * t * n + head * d, n);
  }
}

void Transformer::attend_back(Layer& l, const float* dheads, float* dp, int64_t sequence) {
  const int64_t n = width_, t = s_.length, d = n / s_.heads;
  for (int64_t head = 0; head < s_.heads; ++head) {
    const int64_t at = sequence * t * 3 * n + head * d;
    const float *q = l.qkv + at, *p = l.p + (sequence * s_.heads + head) * t * t, *dy = dheads + head * d;
    float* dq = l.dqkv + at;
    sgemm('T', 'N', t, d, t, p, t, dy, n, 0, dq + 2 * n, 3 * n);
    sgemm('N', 'T', t, t, d, dy, n, q + 2 * n, 3 * n, 0, dp, t);
    for (int64_t r = 0; r < t; ++r) HWY_DYNAMIC_DISPATCH(SoftmaxBack)(p + r * t, dp + r * t, t, scale());
    sgemm('N', 'N', t, d, t, dp, t, q + n, 3 * n, 0, dq, 3 * n);
    sgemm('T', 'N', t, d, t, dp, t, q, 3 * n, 0, dq + n, 3 * n);
  }
}

void Transformer::backward(size_t index, const float* x, int64_t begin, int64_t end, std::mutex& merging) {
  constexpr int64_t kGroup = 2;  // sequences at a time
  Layer& l = *layers_[index];
  const int64_t n = width_, inner = s_.inner, most = kGroup * s_.length;
  Sums sums(s_);
  Floats dn(most * n), dx(most * n), dp(s_.length * s_.length);
  for (int64_t b = begin; b < end; b += kGroup) {
    const int64_t last = std::min(end, b + kGroup), from = b * s_.length, count = (last - b) * s_.length;
    const float* dout = l.dout + from * n;
    float *dinner = l.dinner + from * inner, *dy = l.dy + from * n;
    const auto back = [&](const float* d, int64_t k, const Parameter& w, int64_t columns, float* c) {
      sgemm('N', 'N', count, columns, k, d, k, w.value, columns, 0, c, columns);
    };
    add_rows(sums.b2, dout, count, n, n);
    back(dout, n, l.w2, inner, dinner);
    for (int64_t r = 0; r < count; ++r) {
      HWY_DYNAMIC_DISPATCH(ReluBack)(l.inner + (from + r) * inner, dinner + r * inner, sums.b1, inner);
    }
    back(dinner, inner, l.w1, n, dn);
    std::copy_n(dout, count * n, dy);
    layer_norm_back(l.y + from * n, dn, l.gain2.value, &l.m2[static_cast<size_t>(from)], dy, true, sums.gain2,
                    sums.shift2, count, n);
    add_rows(sums.out_b, dy, count, n, n);
    back(dy, n, l.out_w, n, dn);
    for (int64_t s = b; s < last; ++s) attend_back(l, dn + (s - b) * s_.length * n, dp, s);
    const float* dqkv = l.dqkv + from * 3 * n;
    add_rows(sums.in_b, dqkv, count, 3 * n, 3 * n);
    back(dqkv, 3 * n, l.in_w, n, dn);
    float* to = index > 0 ? layers_[index - 1]->dout + from * n : dx.data();
    std::copy_n(dy, count * n, to);
    layer_norm_back(x + from * n, dn, l.gain1.value, &l.m1[static_cast<size_t>(from)], to, true, sums.gain1,
                    sums.shift1, count, n);
  }
  const std::lock_guard lock(merging);
  sums.merge(l);
}

void Transformer::weight_gradients(Layer& l) {
  const int64_t n = width_;
  weight_gradient(3 * n, n, rows_, l.dqkv, 3 * n, l.n1, n, l.in_w.gradient, n);
  weight_gradient(n, n, rows_, l.dy, n, l.heads, n, l.out_w.gradient, n);
  weight_gradient(s_.inner, n, rows_, l.dinner, s_.inner, l.n2, n, l.w1.gradient, n);
  weight_gradient(n, s_.inner, rows_, l.dout, n, l.inner, s_.inner, l.w2.gradient, s_.inner);
}

}  // namespace
}  // namespace expert

std::unique_ptr<Stepper> hand_transformer(const TransformerSizes& sizes, const Weights& weights) {
  return std::make_unique<expert::Transformer>(sizes, weights);
}

}  // namespace reel::bench
#endif
