#include "benchmarks/lstm_gates.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/lstm_gates.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// `hidden` is a multiple of the vector's length here.
void GatesForward(const float* z, const float* bias, const float* before, float* act, float* c, float* t,
                  float* h, int64_t rows, int64_t hidden) {
  const D d;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < hidden; j += static_cast<int64_t>(hn::Lanes(d))) {
      const auto gate = [&](int64_t k) HWY_ATTR {
        const int64_t at = k * hidden + j;
        return hn::Add(hn::LoadU(d, z + r * 4 * hidden + at), hn::LoadU(d, bias + at));
      };
      const V i = full_sigmoid(d, gate(0)), f = full_sigmoid(d, gate(1));
      const V g = full_tanh(d, gate(2)), o = full_sigmoid(d, gate(3));
      float* a = act + r * 4 * hidden + j;
      hn::StoreU(i, d, a);
      hn::StoreU(f, d, a + hidden);
      hn::StoreU(g, d, a + 2 * hidden);
      hn::StoreU(o, d, a + 3 * hidden);
      const int64_t at = r * hidden + j;
      const V cell = hn::MulAdd(f, hn::LoadU(d, before + at), hn::Mul(i, g));
      const V th = full_tanh(d, cell);
      hn::StoreU(cell, d, c + at);
      hn::StoreU(th, d, t + at);
      hn::StoreU(hn::Mul(o, th), d, h + at);
    }
  }
}

void GatesBackward(const float* act, const float* t, const float* before, const float* dh, const float* dc,
                   float* dz, float* dbefore, float* dbias, int64_t rows, int64_t hidden) {
  const D d;
  const V one = hn::Set(d, 1.f);
  for (int64_t j = 0; j < hidden; j += static_cast<int64_t>(hn::Lanes(d))) {
    V sum[4] = {hn::LoadU(d, dbias + j), hn::LoadU(d, dbias + hidden + j),
                hn::LoadU(d, dbias + 2 * hidden + j), hn::LoadU(d, dbias + 3 * hidden + j)};
    for (int64_t r = 0; r < rows; ++r) {
      const float* a = act + r * 4 * hidden + j;
      float* to = dz + r * 4 * hidden + j;
      const int64_t at = r * hidden + j;
      const V i = hn::LoadU(d, a), f = hn::LoadU(d, a + hidden), g = hn::LoadU(d, a + 2 * hidden),
              o = hn::LoadU(d, a + 3 * hidden), th = hn::LoadU(d, t + at), up = hn::LoadU(d, dh + at);
      const V cell = hn::MulAdd(hn::Mul(up, o), hn::NegMulAdd(th, th, one), hn::LoadU(d, dc + at));
      const V di = hn::Mul(hn::Mul(cell, g), hn::Mul(i, hn::Sub(one, i)));
      const V df = hn::Mul(hn::Mul(cell, hn::LoadU(d, before + at)), hn::Mul(f, hn::Sub(one, f)));
      const V dg = hn::Mul(hn::Mul(cell, i), hn::NegMulAdd(g, g, one));
      const V d_o = hn::Mul(hn::Mul(up, th), hn::Mul(o, hn::Sub(one, o)));
      hn::StoreU(di, d, to);
      hn::StoreU(df, d, to + hidden);
      hn::StoreU(dg, d, to + 2 * hidden);
      hn::StoreU(d_o, d, to + 3 * hidden);
      hn::StoreU(hn::Mul(cell, f), d, dbefore + at);
      sum[0] = hn::Add(sum[0], di);
      sum[1] = hn::Add(sum[1], df);
      sum[2] = hn::Add(sum[2], dg);
      sum[3] = hn::Add(sum[3], d_o);
    }
    for (int64_t k = 0; k < 4; ++k) hn::StoreU(sum[k], d, dbias + k * hidden + j);
  }
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel {

namespace simd {
HWY_EXPORT(GatesForward);
HWY_EXPORT(GatesBackward);
}  // namespace simd

namespace bench {

void lstm_forward(const float* z, const float* bias, const float* before, float* act, float* c, float* t,
                  float* h, int64_t rows, int64_t hidden) {
  using namespace simd;
  HWY_DYNAMIC_DISPATCH(GatesForward)(z, bias, before, act, c, t, h, rows, hidden);
}

void lstm_backward(const float* act, const float* t, const float* before, const float* dh, const float* dc,
                   float* dz, float* dbefore, float* dbias, int64_t rows, int64_t hidden) {
  using namespace simd;
  HWY_DYNAMIC_DISPATCH(GatesBackward)(act, t, before, dh, dc, dz, dbefore, dbias, rows, hidden);
}

}  // namespace bench
}  // namespace reel
#endif
