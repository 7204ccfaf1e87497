#include "benchmarks/hand/rows.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

double CrossEntropyRow(float* row, const float* bias, int64_t target, int64_t n, float scale, float* dbias) {
  V top = set(-1e30f);
  each(n, [&](auto at) HWY_ATTR {
    const V x = hn::Add(at.load(row), at.load(bias));
    at.store(x, row);
    if constexpr (sizeof(at) == sizeof(Full)) top = hn::Max(top, x);
  });
  float largest = hn::GetLane(hn::MaxOfLanes(D(), top));
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t i = n - n % lanes; i < n; ++i) largest = std::max(largest, row[i]);
  const float at_target = row[target];
  V sum = hn::Zero(D());
  float tail = 0;
  each(n, [&](auto at) HWY_ATTR {
    const V e = hn::Exp(D(), hn::Max(hn::Sub(at.load(row), set(largest)), set(-87.f)));
    at.store(e, row);
    if constexpr (sizeof(at) == sizeof(Full)) {
      sum = hn::Add(sum, e);
    } else {
      for (size_t k = 0; k < at.count; ++k) tail += row[at.i + static_cast<int64_t>(k)];
    }
  });
  const float all = total(sum) + tail;
  const V factor = set(scale / all);
  row[target] -= all;
  each(n, [&](auto at) HWY_ATTR {
    const V d = hn::Mul(at.load(row), factor);
    at.store(d, row);
    at.add(d, dbias);
  });
  return std::log(static_cast<double>(all)) + static_cast<double>(largest) - static_cast<double>(at_target);
}

Moments MomentsOf(const float* x, int64_t n) {
  V s = hn::Zero(D());
  each(n, [&](auto at) HWY_ATTR { s = hn::Add(s, at.load(x)); });
  const float mean = total(s) / static_cast<float>(n);
  V q = hn::Zero(D()), q2 = q;
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const V d = hn::Sub(hn::LoadU(D(), x + i), set(mean)),
            e = hn::Sub(hn::LoadU(D(), x + i + lanes), set(mean));
    q = hn::MulAdd(d, d, q);
    q2 = hn::MulAdd(e, e, q2);
  }
  float squares = total(hn::Add(q, q2));
  for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<float>(n) + 1e-5f)};
}

void LayerNormRow(const float* x, const float* gain, const float* shift, float* y, Moments m, int64_t n) {
  const V mean = set(m.mean), inverse = set(m.inverse);
  each(n, [&](auto at) HWY_ATTR {
    at.store(hn::MulAdd(hn::Mul(hn::Sub(at.load(x), mean), inverse), at.load(gain), at.load(shift)), y);
  });
}

// dx = inverse (d - mean(d) - x^ mean(d x^)), d = dy gain, x^ the normalised x
void LayerNormRowBack(const float* x, const float* dy, const float* gain, Moments m, float* dx,
                      bool add_to_dx, float* dgain, float* dshift, int64_t n) {
  const V mean = set(m.mean), inverse = set(m.inverse);
  V s1 = hn::Zero(D()), s2 = s1;
  each(n, [&](auto at) HWY_ATTR {
    const V dyi = at.load(dy), d = hn::Mul(dyi, at.load(gain));
    const V hat = hn::Mul(hn::Sub(at.load(x), mean), inverse);
    s1 = hn::Add(s1, d);
    s2 = hn::MulAdd(d, hat, s2);
    at.add(hn::Mul(dyi, hat), dgain);
    if (dshift != nullptr) at.add(dyi, dshift);
  });
  const V a = set(total(s1) / static_cast<float>(n)), b = set(total(s2) / static_cast<float>(n));
  each(n, [&](auto at) HWY_ATTR {
    const V hat = hn::Mul(hn::Sub(at.load(x), mean), inverse);
    const V d = hn::Mul(at.load(dy), at.load(gain));
    const V g = hn::Mul(inverse, hn::Sub(d, hn::MulAdd(hat, b, a)));
    add_to_dx ? at.add(g, dx) : at.store(g, dx);
  });
}

void AddTo(float* to, const float* from, int64_t n) {
  each(n, [&](auto at) HWY_ATTR { at.add(at.load(from), to); });
}

void AddRows(float* to, const float* rows, int64_t count, int64_t stride, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    V s = at.load(to);
    for (int64_t r = 0; r < count; ++r) s = hn::Add(s, at.load(rows + r * stride));
    at.store(s, to);
  });
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench::expert {

HWY_EXPORT(CrossEntropyRow);
HWY_EXPORT(MomentsOf);
HWY_EXPORT(LayerNormRow);
HWY_EXPORT(LayerNormRowBack);
HWY_EXPORT(AddTo);
HWY_EXPORT(AddRows);

double cross_entropy(float* logits, const float* bias, const int64_t* targets, int64_t rows, int64_t classes,
                     float scale, float* dbias) {
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum +=
        HWY_DYNAMIC_DISPATCH(CrossEntropyRow)(logits + r * classes, bias, targets[r], classes, scale, dbias);
  }
  return sum;
}

Moments moments(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(MomentsOf)(x, n); }

void layer_norm(const float* x, const float* gain, const float* shift, float* y, Moments* kept, int64_t rows,
                int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    kept[r] = moments(x + r * n, n);
    HWY_DYNAMIC_DISPATCH(LayerNormRow)(x + r * n, gain, shift, y + r * n, kept[r], n);
  }
}

void layer_norm_back(const float* x, const float* dy, const float* gain, const Moments* kept, float* dx,
                     bool add_to_dx, float* dgain, float* dshift, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    HWY_DYNAMIC_DISPATCH(LayerNormRowBack)
    (x + r * n, dy + r * n, gain, kept[r], dx + r * n, add_to_dx, dgain, dshift, n);
  }
}

void add(float* to, const float* from, int64_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(to, from, n); }

void add_rows(float* to, const float* rows, int64_t count, int64_t stride, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddRows)(to, rows, count, stride, n);
}

void add_bias(float* rows, const float* bias, int64_t count, int64_t n) {
  for (int64_t r = 0; r < count; ++r) add(rows + r * n, bias, n);
}

}  // namespace reel::bench::expert
#endif
