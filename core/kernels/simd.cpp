#include "core/kernels/simd.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/simd.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// out[i] = f(a[i]) and so on. The tail goes through a padded vector, so that an element's value does not
// depend on where it stands.
template <class F>
void map1(const float* a, float* out, size_t n, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i)), d, out + i);
  if (i == n) return;
  HWY_ALIGN float ta[HWY_MAX_BYTES / 4] = {}, to[HWY_MAX_BYTES / 4];
  for (size_t k = i; k < n; ++k) ta[k - i] = a[k];
  hn::Store(f(d, hn::Load(d, ta)), d, to);
  for (size_t k = i; k < n; ++k) out[k] = to[k - i];
}

template <class F>
void map2(const float* a, const float* b, float* out, size_t n, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i == n) return;
  HWY_ALIGN float ta[HWY_MAX_BYTES / 4] = {}, tb[HWY_MAX_BYTES / 4] = {}, to[HWY_MAX_BYTES / 4];
  for (size_t k = i; k < n; ++k) {
    ta[k - i] = a[k];
    tb[k - i] = b[k];
  }
  hn::Store(f(d, hn::Load(d, ta), hn::Load(d, tb)), d, to);
  for (size_t k = i; k < n; ++k) out[k] = to[k - i];
}

void select(const float* a, const float* b, const float* c, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] != 0 ? b[i] : c[i];
}

V nan_to(D d, V a, V r) {
  return hn::IfThenElse(hn::Eq(a, a), r, hn::Set(d, std::numeric_limits<float>::quiet_NaN()));
}

// exp with the ends that Highway's polynomial leaves open: overflow to infinity, NaN kept.
V full_exp(D d, V x) {
  V y = hn::Exp(d, hn::Min(hn::Max(x, hn::Set(d, -104.f)), hn::Set(d, 88.722839f)));
  y = hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.722839f)), hn::Set(d, std::numeric_limits<float>::infinity()),
                     y);
  return nan_to(d, x, y);
}

// tanh by e = exp(-2|x|): (1 - e) / (1 + e); near zero, where that cancels, the Taylor polynomial.
V full_tanh(D d, V x) {
  const V ax = hn::Abs(x);
  const V one = hn::Set(d, 1.f);
  const V e = hn::Exp(d, hn::Max(hn::Mul(ax, hn::Set(d, -2.f)), hn::Set(d, -80.f)));
  const V far = hn::Div(hn::Sub(one, e), hn::Add(one, e));
  const V s = hn::Mul(x, x);
  V p = hn::Set(d, 62.f / 2835);
  p = hn::MulAdd(p, s, hn::Set(d, -17.f / 315));
  p = hn::MulAdd(p, s, hn::Set(d, 2.f / 15));
  p = hn::MulAdd(p, s, hn::Set(d, -1.f / 3));
  const V near = hn::MulAdd(hn::Mul(ax, s), p, ax);
  return nan_to(d, x, hn::CopySign(hn::IfThenElse(hn::Lt(ax, hn::Set(d, 0.35f)), near, far), x));
}

// 1 / (1 + exp(-x)), computed from exp(-|x|) so that nothing overflows.
V full_sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.f);
  const V e = hn::Exp(d, hn::Max(hn::Neg(hn::Abs(x)), hn::Set(d, -104.f)));
  const V r = hn::Div(one, hn::Add(one, e));
  return nan_to(d, x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(e, r), r));
}

// erfc by the Chebyshev fit of Press et al., Numerical Recipes (relative error 1.2e-7); the Taylor series
// near zero.
V full_erf(D d, V x) {
  const V ax = hn::Min(hn::Abs(x), hn::Set(d, 9.f));
  const V t = hn::Div(hn::Set(d, 1.f), hn::MulAdd(ax, hn::Set(d, 0.5f), hn::Set(d, 1.f)));
  V p = hn::Set(d, 0.17087277f);
  for (float k : {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f, 0.09678418f,
                  0.37409196f, 1.00002368f, -1.26551223f}) {
    p = hn::MulAdd(p, t, hn::Set(d, k));
  }
  const V tail = hn::Mul(t, hn::Exp(d, hn::NegMulAdd(ax, ax, p)));
  const V s = hn::Mul(x, x);
  V q = hn::Set(d, 1.f / 216);
  for (float k : {-1.f / 42, 1.f / 10, -1.f / 3, 1.f}) q = hn::MulAdd(q, s, hn::Set(d, k));
  const V near = hn::Mul(hn::Mul(x, q), hn::Set(d, 1.1283791671f));
  const V far = hn::CopySign(hn::Sub(hn::Set(d, 1.f), tail), x);
  return nan_to(d, x, hn::IfThenElse(hn::Lt(ax, hn::Set(d, 0.4f)), near, far));
}

V full_log(D d, V x) {
  const V zero = hn::Zero(d);
  const V inf = hn::Set(d, std::numeric_limits<float>::infinity());
  V y = hn::Log(d, x);
  y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(inf), y);
  y = hn::IfThenElse(hn::Eq(x, inf), inf, y);
  y = hn::IfThenElse(hn::Lt(x, zero), hn::Set(d, std::numeric_limits<float>::quiet_NaN()), y);
  return nan_to(d, x, y);
}

// Thin loops over the standard library where no workload is hot.
template <class F>
void slow1(const float* a, float* out, size_t n, const F& f) {
  for (size_t i = 0; i < n; ++i) out[i] = f(a[i]);
}

#define REEL_LANES1(expression)           \
  map1(a, out, n, [](D d, V x) HWY_ATTR { \
    (void)d;                              \
    return expression;                    \
  })
#define REEL_LANES2(expression)                   \
  map2(a, b, out, n, [](D d, V x, V y) HWY_ATTR { \
    (void)d;                                      \
    return expression;                            \
  })

void Run(lanes::Code code, const float* a, const float* b, const float* c, float* out, size_t n) {
  using lanes::Code;
  switch (code) {
    case Code::number:
    case Code::scalar: return;  // filled in by the interpreter
    case Code::neg: return REEL_LANES1(hn::Neg(x));
    case Code::abs: return REEL_LANES1(hn::Abs(x));
    case Code::sign:
      return REEL_LANES1(
          hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, nan_to(d, x, hn::CopySign(hn::Set(d, 1.f), x))));
    case Code::exp: return REEL_LANES1(full_exp(d, x));
    case Code::log: return REEL_LANES1(full_log(d, x));
    case Code::log1p: return slow1(a, out, n, [](float x) { return std::log1p(x); });
    case Code::expm1: return slow1(a, out, n, [](float x) { return std::expm1(x); });
    case Code::sqrt: return REEL_LANES1(hn::Sqrt(x));
    case Code::tanh: return REEL_LANES1(full_tanh(d, x));
    case Code::sigmoid: return REEL_LANES1(full_sigmoid(d, x));
    case Code::erf: return REEL_LANES1(full_erf(d, x));
    case Code::add: return REEL_LANES2(hn::Add(x, y));
    case Code::sub: return REEL_LANES2(hn::Sub(x, y));
    case Code::mul: return REEL_LANES2(hn::Mul(x, y));
    case Code::div: return REEL_LANES2(hn::Div(x, y));
    case Code::min: return REEL_LANES2(nan_to(d, y, nan_to(d, x, hn::Min(x, y))));
    case Code::max: return REEL_LANES2(nan_to(d, y, nan_to(d, x, hn::Max(x, y))));
    case Code::pow:
      for (size_t i = 0; i < n; ++i) out[i] = std::pow(a[i], b[i]);
      return;
    case Code::less: return REEL_LANES2(hn::IfThenElseZero(hn::Lt(x, y), hn::Set(d, 1.f)));
    case Code::less_equal: return REEL_LANES2(hn::IfThenElseZero(hn::Le(x, y), hn::Set(d, 1.f)));
    case Code::equal: return REEL_LANES2(hn::IfThenElseZero(hn::Eq(x, y), hn::Set(d, 1.f)));
    case Code::select: return select(a, b, c, out, n);
  }
}

// The sum of term(i) over vectors, in four accumulators and a fixed order: the same on every run.
template <class F>
float sum_of(size_t n, const F& term) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = term(s0, i);
    s1 = term(s1, i + lanes);
    s2 = term(s2, i + 2 * lanes);
    s3 = term(s3, i + 3 * lanes);
  }
  for (; i + lanes <= n; i += lanes) s0 = term(s0, i);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

float Sum(const float* a, size_t n) {
  const D d;
  float total = sum_of(n, [&](V s, size_t i) HWY_ATTR { return hn::Add(s, hn::LoadU(d, a + i)); });
  for (size_t i = n - n % hn::Lanes(d); i < n; ++i) total += a[i];
  return total;
}

float Dot(const float* a, const float* b, size_t n) {
  const D d;
  float total = sum_of(
      n, [&](V s, size_t i) HWY_ATTR { return hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s); });
  for (size_t i = n - n % hn::Lanes(d); i < n; ++i) total += a[i] * b[i];
  return total;
}

float Max(const float* a, size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V best = hn::Set(d, -std::numeric_limits<float>::infinity());
  V bad = hn::Zero(d);  // NaN once one was seen
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V x = hn::LoadU(d, a + i);
    best = hn::Max(best, x);
    bad = hn::IfThenElse(hn::Eq(x, x), bad, x);
  }
  float top = hn::GetLane(hn::MaxOfLanes(d, best));
  const float nan = hn::GetLane(hn::SumOfLanes(d, bad));
  if (nan != nan) return nan;
  for (; i < n; ++i) {
    if (!(a[i] <= top)) top = a[i];
    if (top != top) break;
  }
  return top;
}

void AddTo(float* out, const float* a, size_t n) {
  map2(a, out, out, n, [](D, V x, V y) HWY_ATTR { return hn::Add(x, y); });
}

// Four rows of b at a time, so that `out` goes through memory a quarter as often.
void RowTimesMatrix(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, ptrdiff_t row,
                    size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 <= k; i += 4, a += 4 * step, b += 4 * row) {
    const float a0 = a[0], a1 = a[step], a2 = a[2 * step], a3 = a[3 * step];
    const V v0 = hn::Set(d, a0), v1 = hn::Set(d, a1), v2 = hn::Set(d, a2), v3 = hn::Set(d, a3);
    size_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      V s = hn::LoadU(d, out + j);
      s = hn::MulAdd(v0, hn::LoadU(d, b + j), s);
      s = hn::MulAdd(v1, hn::LoadU(d, b + row + j), s);
      s = hn::MulAdd(v2, hn::LoadU(d, b + 2 * row + j), s);
      s = hn::MulAdd(v3, hn::LoadU(d, b + 3 * row + j), s);
      hn::StoreU(s, d, out + j);
    }
    for (; j < n; ++j) out[j] += a0 * b[j] + a1 * b[row + j] + a2 * b[2 * row + j] + a3 * b[3 * row + j];
  }
  for (; i < k; ++i, a += step, b += row) {
    const V v = hn::Set(d, *a);
    size_t j = 0;
    for (; j + lanes <= n; j += lanes)
      hn::StoreU(hn::MulAdd(v, hn::LoadU(d, b + j), hn::LoadU(d, out + j)), d, out + j);
    for (; j < n; ++j) out[j] += *a * b[j];
  }
}

void RowTimesTransposed(float* out, const float* a, size_t k, const float* b, ptrdiff_t row, size_t n) {
  for (size_t j = 0; j < n; ++j, b += row) out[j] += Dot(a, b, k);
}

float ExpShifted(const float* a, float shift, float* out, size_t n) {
  map1(a, out, n, [shift](D d, V x) HWY_ATTR { return full_exp(d, hn::Sub(x, hn::Set(d, shift))); });
  return Sum(out, n);
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::simd {

HWY_EXPORT(Run);
HWY_EXPORT(Sum);
HWY_EXPORT(Dot);
HWY_EXPORT(Max);
HWY_EXPORT(AddTo);
HWY_EXPORT(RowTimesMatrix);
HWY_EXPORT(RowTimesTransposed);
HWY_EXPORT(ExpShifted);
HWY_EXPORT(Target);

void run(lanes::Code code, const float* a, const float* b, const float* c, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(Run)(code, a, b, c, out, n);
}
float sum(const float* a, size_t n) { return HWY_DYNAMIC_DISPATCH(Sum)(a, n); }
float dot(const float* a, const float* b, size_t n) { return HWY_DYNAMIC_DISPATCH(Dot)(a, b, n); }
float max(const float* a, size_t n) { return HWY_DYNAMIC_DISPATCH(Max)(a, n); }
void add_to(float* out, const float* a, size_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(out, a, n); }
void row_times_matrix(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, ptrdiff_t row,
                      size_t n) {
  HWY_DYNAMIC_DISPATCH(RowTimesMatrix)(out, a, step, k, b, row, n);
}
void row_times_transposed(float* out, const float* a, size_t k, const float* b, ptrdiff_t row, size_t n) {
  HWY_DYNAMIC_DISPATCH(RowTimesTransposed)(out, a, k, b, row, n);
}
float exp_shifted(const float* a, float shift, float* out, size_t n) {
  return HWY_DYNAMIC_DISPATCH(ExpShifted)(a, shift, out, n);
}
const char* target() { return HWY_DYNAMIC_DISPATCH(Target)(); }

}  // namespace reel::simd
#endif
