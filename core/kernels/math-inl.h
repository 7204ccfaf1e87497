// Elementary functions over vectors of f32, compiled once for each instruction set (no include guard of the
// usual kind: see Highway's foreach_target.h). Arguments of every kind are right: infinities, NaN, denormals.
#if defined(REEL_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REEL_MATH_INL_H_
#undef REEL_MATH_INL_H_
#else
#define REEL_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// The last n < Lanes(d) elements, the rest of the vector zero: an element's value does not depend on where it
// stands.
HWY_INLINE V load_some(D d, const float* from, size_t n) {
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float room[HWY_MAX_BYTES / 4] = {};
  for (size_t i = 0; i < n; ++i) room[i] = from[i];
  return hn::Load(d, room);
#else
  return hn::MaskedLoad(hn::FirstN(d, n), d, from);
#endif
}
HWY_INLINE void store_some(D d, V v, float* to, size_t n) {
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float room[HWY_MAX_BYTES / 4];
  hn::Store(v, d, room);
  for (size_t i = 0; i < n; ++i) to[i] = room[i];
#else
  hn::BlendedStore(v, hn::FirstN(d, n), d, to);
#endif
}

HWY_INLINE V nan_to(D d, V a, V r) {
  return hn::IfThenElse(hn::Eq(a, a), r, hn::Set(d, std::numeric_limits<float>::quiet_NaN()));
}

// max(x, low) that keeps NaN.
HWY_INLINE V at_least(D d, V x, float low) {
  const V bound = hn::Set(d, low);
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
}

// x = power ln 2 + r with |r| <= ln 2 / 2, and e^r - 1 by Highway's polynomial.
struct Reduced {
  V power, expm1;
};
HWY_INLINE Reduced reduce_exp(D d, V x) {
  const V power = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V r = hn::MulAdd(power, hn::Set(d, -0.693145751953125f), x);
  r = hn::MulAdd(power, hn::Set(d, -1.428606765330187045e-6f), r);
  return {power, hn::impl::ExpImpl<float>().ExpPoly(d, r)};
}

// x 2^power for whole powers; denormals and infinity come out right.
HWY_INLINE V scaled(D d, V x, V power) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  (void)d;
  return V{_mm512_scalef_ps(x.raw, power.raw)};
#else
  return hn::impl::ExpImpl<float>().LoadExpShortRange(d, x, hn::ConvertTo(hn::RebindToSigned<D>(), power));
#endif
}

// e^x for -104 <= x <= 88.73 and NaN.
HWY_INLINE V exp_within(D d, V x) {
  const Reduced e = reduce_exp(d, x);
  return scaled(d, hn::Add(e.expm1, hn::Set(d, 1.f)), e.power);
}

HWY_INLINE V full_exp(D d, V x) {
  const V top = hn::Set(d, 88.722839f);
  const V y = exp_within(d, at_least(d, hn::IfThenElse(hn::Gt(x, top), top, x), -104.f));
  return hn::IfThenElse(hn::Gt(x, top), hn::Set(d, std::numeric_limits<float>::infinity()), y);
}

// e^x - 1 = 2^q (e^r - 1) + (2^q - 1): where q = 0 nothing cancels.
HWY_INLINE V expm1_within(D d, V x) {  // -80 <= x <= 88.3
  const Reduced e = reduce_exp(d, x);
  const V one = hn::Set(d, 1.f);
  const V scale = scaled(d, one, e.power);
  return hn::MulAdd(scale, e.expm1, hn::Sub(scale, one));
}

HWY_INLINE V full_expm1(D d, V x) {
  const V top = hn::Set(d, 88.f);
  const V y = expm1_within(d, at_least(d, hn::IfThenElse(hn::Gt(x, top), top, x), -40.f));
  return hn::IfThenElse(hn::Gt(x, top), full_exp(d, x), hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, y));
}

// a / b for 1 <= b <= 2, to the last bit or the one before.
HWY_INLINE V quotient(D d, V a, V b) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  const V guess = hn::ApproximateReciprocal(b);  // 14 bits
  const V inverse = hn::MulAdd(guess, hn::NegMulAdd(b, guess, hn::Set(d, 1.f)), guess);
  const V q = hn::Mul(a, inverse);
  return hn::MulAdd(hn::NegMulAdd(q, b, a), inverse, q);
#else
  (void)d;
  return hn::Div(a, b);
#endif
}

// tanh |x| = -u / (u + 2) with u = exp(-2|x|) - 1.
HWY_INLINE V full_tanh(D d, V x) {
  const V u = expm1_within(d, at_least(d, hn::Mul(hn::Abs(x), hn::Set(d, -2.f)), -40.f));
  return hn::CopySign(quotient(d, u, hn::Add(u, hn::Set(d, 2.f))), x);
}

// 1 / (1 + exp(-x)), computed from exp(-|x|) so that nothing overflows.
HWY_INLINE V full_sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.f);
  const V e = exp_within(d, at_least(d, hn::Neg(hn::Abs(x)), -104.f));
  return quotient(d, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// erfc by the Chebyshev fit of Press et al., Numerical Recipes (relative error 1.2e-7); the Taylor series
// near zero.
HWY_INLINE V full_erf(D d, V x) {
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

HWY_INLINE V full_log(D d, V x) {
  const V zero = hn::Zero(d);
  const V inf = hn::Set(d, std::numeric_limits<float>::infinity());
  V y = hn::Log(d, x);
  y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(inf), y);
  y = hn::IfThenElse(hn::Eq(x, inf), inf, y);
  y = hn::IfThenElse(hn::Lt(x, zero), hn::Set(d, std::numeric_limits<float>::quiet_NaN()), y);
  return nan_to(d, x, y);
}

// log(1 + x) = log(y) x / (y - 1) with y = 1 + x rounded: the quotient takes the rounding back.
HWY_INLINE V full_log1p(D d, V x) {
  const V one = hn::Set(d, 1.f);
  const V y = hn::Add(x, one);
  const V gap = hn::Sub(y, one);
  const V r = hn::Mul(full_log(d, y), hn::Div(x, gap));
  const V exact = hn::IfThenElse(hn::Gt(x, hn::Set(d, 1e9f)), full_log(d, y), r);
  return hn::IfThenElse(hn::Eq(gap, hn::Zero(d)), x,
                        hn::IfThenElse(hn::Eq(y, hn::Zero(d)), full_log(d, y), exact));
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
