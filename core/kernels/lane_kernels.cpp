#include "core/kernels/lane_kernels.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/lane_kernels.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// An operand's row: a vector at a time, or the same number in all lanes.
struct Stream {
  const float* at;
  HWY_INLINE V load(D d, size_t i) const { return hn::LoadU(d, at + i); }
  HWY_INLINE V load_some(D d, size_t i, size_t n) const { return HWY_NAMESPACE::load_some(d, at + i, n); }
};
struct Splat {
  V value;
  explicit HWY_INLINE Splat(const float* at) : value(hn::Set(D(), *at)) {}
  HWY_INLINE V load(D, size_t) const { return value; }
  HWY_INLINE V load_some(D, size_t, size_t) const { return value; }
};

template <class F, class... Operand>
HWY_INLINE void row(float* out, size_t n, const F& f, const Operand&... operand) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const V first = f(d, operand.load(d, i)...);
    const V second = f(d, operand.load(d, i + lanes)...);
    hn::StoreU(first, d, out + i);
    hn::StoreU(second, d, out + i + lanes);
  }
  if (i + lanes <= n) {
    hn::StoreU(f(d, operand.load(d, i)...), d, out + i);
    i += lanes;
  }
  if (i < n) store_some(d, f(d, operand.load_some(d, i, n - i)...), out + i, n - i);
}

const float* row_of(const Rows<float>& x, size_t r) { return x.at + static_cast<ptrdiff_t>(r) * x.step; }

// Rows without a gap are one long row; so are they beside a number that all rows share.
template <size_t operands>
HWY_INLINE void join_rows(const Rows<float>* const* block, size_t& rows, size_t& n) {
  bool joins = true;
  for (size_t k = 0; k <= operands; ++k) {
    joins = joins && block[k]->step == (block[k]->splat ? 0 : static_cast<ptrdiff_t>(n));
  }
  if (!joins) return;
  n *= rows;
  rows = 1;
}

template <class A, class F>
HWY_INLINE void rows1(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  for (size_t r = 0; r < rows; ++r) {
    row(block[0]->at + static_cast<ptrdiff_t>(r) * block[0]->step, n, f, A{row_of(*block[1], r)});
  }
}
template <class F>
HWY_INLINE void map1(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  join_rows<1>(block, rows, n);
  if (block[1]->splat) return rows1<Splat>(block, rows, n, f);
  rows1<Stream>(block, rows, n, f);
}

template <class A, class B, class F>
HWY_INLINE void rows2(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  for (size_t r = 0; r < rows; ++r) {
    row(block[0]->at + static_cast<ptrdiff_t>(r) * block[0]->step, n, f, A{row_of(*block[1], r)},
        B{row_of(*block[2], r)});
  }
}
template <class F>
HWY_INLINE void map2(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  join_rows<2>(block, rows, n);
  if (block[1]->splat && block[2]->splat) return rows2<Splat, Splat>(block, rows, n, f);
  if (block[1]->splat) return rows2<Splat, Stream>(block, rows, n, f);
  if (block[2]->splat) return rows2<Stream, Splat>(block, rows, n, f);
  rows2<Stream, Stream>(block, rows, n, f);
}

// Over the standard library, where no workload is hot.
void Pow(const Rows<float>* const* block, size_t rows, size_t n) {
  const size_t sa = !block[1]->splat, sb = !block[2]->splat;
  for (size_t r = 0; r < rows; ++r) {
    float* out = block[0]->at + static_cast<ptrdiff_t>(r) * block[0]->step;
    const float *a = row_of(*block[1], r), *b = row_of(*block[2], r);
    for (size_t i = 0; i < n; ++i) out[i] = std::pow(a[i * sa], b[i * sb]);
  }
}

template <class A, class B, class C, class F>
HWY_INLINE void rows3(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  for (size_t r = 0; r < rows; ++r) {
    row(block[0]->at + static_cast<ptrdiff_t>(r) * block[0]->step, n, f, A{row_of(*block[1], r)},
        B{row_of(*block[2], r)}, C{row_of(*block[3], r)});
  }
}
template <class A, class B>
void select_rows(const Rows<float>* const* block, size_t rows, size_t n) {
  const auto f = [](D d, V x, V y, V z)
                     HWY_ATTR { return hn::IfThenElse(hn::Eq(x, hn::Zero(d)), z, y); };  // NaN counts as true
  if (block[3]->splat) return rows3<A, B, Splat>(block, rows, n, f);
  rows3<A, B, Stream>(block, rows, n, f);
}
void Select(const Rows<float>* const* block, size_t rows, size_t n) {
  join_rows<3>(block, rows, n);
  if (block[1]->splat && block[2]->splat) return select_rows<Splat, Splat>(block, rows, n);
  if (block[1]->splat) return select_rows<Splat, Stream>(block, rows, n);
  if (block[2]->splat) return select_rows<Stream, Splat>(block, rows, n);
  select_rows<Stream, Stream>(block, rows, n);
}

template <class F>
HWY_INLINE void map3(const Rows<float>* const* block, size_t rows, size_t n, const F& f) {
  join_rows<3>(block, rows, n);
  if (block[1]->splat) return rows3<Splat, Stream, Stream>(block, rows, n, f);
  if (block[2]->splat) return rows3<Stream, Splat, Stream>(block, rows, n, f);
  if (block[3]->splat) return rows3<Stream, Stream, Splat>(block, rows, n, f);
  rows3<Stream, Stream, Stream>(block, rows, n, f);
}

#define REEL_LANES1(expression)                                                \
  return [](const Rows<float>* const* block, size_t rows, size_t n) HWY_ATTR { \
    map1(block, rows, n, [](D d, V x) HWY_ATTR {                               \
      (void)d;                                                                 \
      return expression;                                                       \
    });                                                                        \
  }
#define REEL_LANES2(expression)                                                \
  return [](const Rows<float>* const* block, size_t rows, size_t n) HWY_ATTR { \
    map2(block, rows, n, [](D d, V x, V y) HWY_ATTR {                          \
      (void)d;                                                                 \
      return expression;                                                       \
    });                                                                        \
  }

#define REEL_LANES3(expression)                                     \
  return [](const Rows<float>* const* block, size_t rows, size_t n) \
             HWY_ATTR { map3(block, rows, n, [](D, V x, V y, V z) HWY_ATTR { return expression; }); }
#define REEL_PAIR(inner)                                           \
  if (second == Code::add) REEL_LANES3(hn::Add(inner, z));         \
  if (second == Code::mul) REEL_LANES3(hn::Mul(inner, z));         \
  if (second == Code::sub && left) REEL_LANES3(hn::Sub(inner, z)); \
  if (second == Code::sub) REEL_LANES3(hn::Sub(z, inner))

LaneKernel<float> ChoosePair(lanes::Code first, lanes::Code second, bool left) {
  using lanes::Code;
  if (first == Code::add && second == Code::tanh) REEL_LANES2(full_tanh(d, hn::Add(x, y)));
  if (first == Code::add && second == Code::sigmoid) REEL_LANES2(full_sigmoid(d, hn::Add(x, y)));
  if (first == Code::add) {
    REEL_PAIR(hn::Add(x, y));
  } else if (first == Code::sub) {
    REEL_PAIR(hn::Sub(x, y));
  } else if (first == Code::mul) {
    REEL_PAIR(hn::Mul(x, y));
  }
  return nullptr;
}

LaneKernel<float> Choose(lanes::Code code) {
  using lanes::Code;
  switch (code) {
    case Code::number:
    case Code::scalar: REEL_LANES1(x);
    case Code::neg: REEL_LANES1(hn::Neg(x));
    case Code::abs: REEL_LANES1(hn::Abs(x));
    case Code::sign:
      REEL_LANES1(hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, nan_to(d, x, hn::CopySign(hn::Set(d, 1.f), x))));
    case Code::exp: REEL_LANES1(full_exp(d, x));
    case Code::log: REEL_LANES1(full_log(d, x));
    case Code::log1p: REEL_LANES1(full_log1p(d, x));
    case Code::expm1: REEL_LANES1(full_expm1(d, x));
    case Code::sqrt: REEL_LANES1(hn::Sqrt(x));
    case Code::tanh: REEL_LANES1(full_tanh(d, x));
    case Code::sigmoid: REEL_LANES1(full_sigmoid(d, x));
    case Code::erf: REEL_LANES1(full_erf(d, x));
    case Code::add: REEL_LANES2(hn::Add(x, y));
    case Code::sub: REEL_LANES2(hn::Sub(x, y));
    case Code::mul: REEL_LANES2(hn::Mul(x, y));
    case Code::div: REEL_LANES2(hn::Div(x, y));
    case Code::min: REEL_LANES2(nan_to(d, y, nan_to(d, x, hn::Min(x, y))));
    case Code::max: REEL_LANES2(nan_to(d, y, nan_to(d, x, hn::Max(x, y))));
    case Code::pow: return Pow;
    case Code::less: REEL_LANES2(hn::IfThenElseZero(hn::Lt(x, y), hn::Set(d, 1.f)));
    case Code::less_equal: REEL_LANES2(hn::IfThenElseZero(hn::Le(x, y), hn::Set(d, 1.f)));
    case Code::equal: REEL_LANES2(hn::IfThenElseZero(hn::Eq(x, y), hn::Set(d, 1.f)));
    case Code::select: return Select;
  }
  return nullptr;
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel {

namespace simd {
HWY_EXPORT(Choose);
HWY_EXPORT(ChoosePair);
}  // namespace simd

template <>
LaneKernel<float> lane_kernel(lanes::Code code) {
  using namespace simd;
  return HWY_DYNAMIC_DISPATCH(Choose)(code);
}

LaneKernel<float> lane_kernel(lanes::Code first, lanes::Code second, bool left) {
  using namespace simd;
  return HWY_DYNAMIC_DISPATCH(ChoosePair)(first, second, left);
}

}  // namespace reel
#endif
