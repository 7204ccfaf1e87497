// Vectors of floats for the fused kernels of the hand-written workloads; included once for each instruction
// set.
#if defined(REEL_BENCH_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef REEL_BENCH_LANES_INL_H
#undef REEL_BENCH_LANES_INL_H
#else
#define REEL_BENCH_LANES_INL_H
#endif

#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Elements i to i + lanes of rows; the last few of a row, where they do not fill a vector, as Part.
struct Full {
  int64_t i;
  V load(const float* p) const { return hn::LoadU(D(), p + i); }
  void store(V v, float* p) const { hn::StoreU(v, D(), p + i); }
  void add(V v, float* p) const { store(hn::Add(load(p), v), p); }
};

struct Part {
  int64_t i;
  size_t count;
  V load(const float* p) const {  // zeros behind the end
    HWY_ALIGN float room[HWY_MAX_BYTES / 4] = {};
    std::memcpy(room, p + i, count * sizeof(float));
    return hn::Load(D(), room);
  }
  void store(V v, float* p) const {
    HWY_ALIGN float room[HWY_MAX_BYTES / 4];
    hn::Store(v, D(), room);
    std::memcpy(p + i, room, count * sizeof(float));
  }
  void add(V v, float* p) const { store(hn::Add(load(p), v), p); }
};

template <class F>
HWY_INLINE void each(int64_t n, const F& f) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(Full{i});
  if (i < n) f(Part{i, static_cast<size_t>(n - i)});
}

HWY_INLINE V set(float x) { return hn::Set(D(), x); }
HWY_INLINE float total(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }
HWY_INLINE V one_minus(V x) { return hn::Sub(set(1), x); }

HWY_INLINE V sigmoid(V x) {
  const V e = hn::Exp(D(), hn::Max(hn::Neg(x), set(-87.f)));
  return hn::Div(set(1), hn::Add(set(1), hn::Min(e, set(1e30f))));
}
HWY_INLINE V tanh(V x) {  // (1 - e) / (1 + e), e = exp(-2 |x|): 1e-7 absolute
  const V e = hn::Exp(D(), hn::Max(hn::Mul(hn::Abs(x), set(-2)), set(-80)));
  return hn::CopySign(hn::Div(hn::Sub(set(1), e), hn::Add(set(1), e)), x);
}
HWY_INLINE V sigmoid_slope(V y) { return hn::Mul(y, one_minus(y)); }  // at the value y
HWY_INLINE V tanh_slope(V y) { return hn::NegMulAdd(y, y, set(1)); }  // at the value y

}  // namespace
}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
