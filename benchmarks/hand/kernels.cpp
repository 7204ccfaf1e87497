#include "benchmarks/hand/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/kernels.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace reel::bench::hand::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// exp on [-87, 88], by Cephes' polynomial: 2 ulp. Beyond that the ends.
HWY_INLINE V exp(D d, V x) {
  x = hn::Min(hn::Max(x, hn::Set(d, -87.f)), hn::Set(d, 88.f));
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.f));
  const hn::RebindToSigned<D> di;
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, power));
}

// The reciprocal by one Newton step where the hardware's guess has 14 bits, else by division.
HWY_INLINE V reciprocal(D d, V x) {
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  const V y = hn::ApproximateReciprocal(x);
  return hn::MulAdd(y, hn::NegMulAdd(x, y, hn::Set(d, 1.f)), y);
#else
  return hn::Div(hn::Set(d, 1.f), x);
#endif
}

HWY_INLINE V sigmoid(D d, V x) { return reciprocal(d, hn::Add(hn::Set(d, 1.f), exp(d, hn::Neg(x)))); }

// 1 - 2 / (1 + exp(2x)): good to 1e-7 of 1, which is what a gate needs.
HWY_INLINE V tanh(D d, V x) {
  const V e = exp(d, hn::Add(x, x));
  return hn::NegMulAdd(hn::Set(d, 2.f), reciprocal(d, hn::Add(e, hn::Set(d, 1.f))), hn::Set(d, 1.f));
}

// Calls f(i, count) for vectors of `count` elements from i on: whole ones, then the rest.
template <class F>
HWY_INLINE void for_vectors(int64_t n, const F& f) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, lanes);
  if (i < n) f(i, n - i);
}

HWY_INLINE V load(D d, const float* p, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  return count == lanes ? hn::LoadU(d, p) : hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, p);
}

HWY_INLINE void store(D d, V v, float* p, int64_t count) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count == lanes) return hn::StoreU(v, d, p);
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, p);
}

void LstmRow(const float* x, const float* r, const float* b, const float* c0, float* act, float* c, float* h,
             int64_t n) {
  const D d;
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const auto z = [&](int64_t gate) HWY_ATTR {
      const int64_t at = gate * n + j;
      const V sum = hn::Add(load(d, x + at, count), load(d, b + at, count));
      return r ? hn::Add(sum, load(d, r + at, count)) : sum;
    };
    const V i = sigmoid(d, z(0)), f = sigmoid(d, z(1)), g = tanh(d, z(2)), o = sigmoid(d, z(3));
    V cell = hn::Mul(i, g);
    if (c0) cell = hn::MulAdd(f, load(d, c0 + j, count), cell);
    store(d, i, act + j, count);
    store(d, f, act + n + j, count);
    store(d, g, act + 2 * n + j, count);
    store(d, o, act + 3 * n + j, count);
    store(d, cell, c + j, count);
    store(d, hn::Mul(o, tanh(d, cell)), h + j, count);
  });
}

void LstmRowBack(float* act, const float* c, const float* c0, const float* dh, float* dc, float* sum,
                 int64_t n) {
  const D d;
  const V one = hn::Set(d, 1.f);
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const V i = load(d, act + j, count), f = load(d, act + n + j, count);
    const V g = load(d, act + 2 * n + j, count), o = load(d, act + 3 * n + j, count);
    const V t = tanh(d, load(d, c + j, count)), dhj = load(d, dh + j, count);
    const V dcj = hn::MulAdd(hn::Mul(dhj, o), hn::NegMulAdd(t, t, one), load(d, dc + j, count));
    const auto put = [&](int64_t gate, V dz) HWY_ATTR {
      const int64_t at = gate * n + j;
      store(d, dz, act + at, count);
      store(d, hn::Add(load(d, sum + at, count), dz), sum + at, count);
    };
    put(0, hn::Mul(hn::Mul(dcj, g), hn::NegMulAdd(i, i, i)));
    put(1, c0 ? hn::Mul(hn::Mul(dcj, load(d, c0 + j, count)), hn::NegMulAdd(f, f, f)) : hn::Zero(d));
    put(2, hn::Mul(hn::Mul(dcj, i), hn::NegMulAdd(g, g, one)));
    put(3, hn::Mul(hn::Mul(dhj, t), hn::NegMulAdd(o, o, o)));
    store(d, hn::Mul(dcj, f), dc + j, count);
  });
}

void GruRow(const float* x, const float* r, const float* b, const float* h0, float* gates, float* candidate,
            float* h, int64_t n) {
  const D d;
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const auto from_x = [&](int64_t gate) HWY_ATTR {
      return hn::Add(load(d, x + gate * n + j, count), load(d, b + gate * n + j, count));
    };
    const auto from_h = [&](int64_t gate)
                            HWY_ATTR { return r ? load(d, r + gate * n + j, count) : hn::Zero(d); };
    const V z = sigmoid(d, hn::Add(from_x(0), from_h(0))), reset = sigmoid(d, hn::Add(from_x(1), from_h(1)));
    const V u = hn::Add(from_h(2), load(d, b + 3 * n + j, count));
    const V c = tanh(d, hn::MulAdd(reset, u, from_x(2)));
    store(d, z, gates + j, count);
    store(d, reset, gates + n + j, count);
    store(d, u, gates + 2 * n + j, count);
    store(d, c, candidate + j, count);
    store(d, hn::MulAdd(z, hn::Sub(h0 ? load(d, h0 + j, count) : hn::Zero(d), c), c), h + j, count);
  });
}

void GruRowBack(float* gates, const float* candidate, const float* h0, const float* dh, float* carry,
                float* sum, float* sum_u, int64_t n) {
  const D d;
  const V one = hn::Set(d, 1.f);
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const V z = load(d, gates + j, count), reset = load(d, gates + n + j, count);
    const V u = load(d, gates + 2 * n + j, count), c = load(d, candidate + j, count);
    const V up = hn::Add(load(d, dh + j, count), load(d, carry + j, count));
    const V before = h0 ? load(d, h0 + j, count) : hn::Zero(d);
    const V dz = hn::Mul(hn::Mul(up, hn::Sub(before, c)), hn::NegMulAdd(z, z, z));
    const V dc = hn::Mul(hn::Mul(up, hn::Sub(one, z)), hn::NegMulAdd(c, c, one));
    const V dr = hn::Mul(hn::Mul(dc, u), hn::NegMulAdd(reset, reset, reset)), du = hn::Mul(dc, reset);
    const auto add = [&](V v, float* to) HWY_ATTR { store(d, hn::Add(load(d, to, count), v), to, count); };
    store(d, dz, gates + j, count);
    store(d, dr, gates + n + j, count);
    store(d, du, gates + 2 * n + j, count);
    add(dz, sum + j);
    add(dr, sum + n + j);
    add(dc, sum + 2 * n + j);
    add(du, sum_u + j);
    store(d, hn::Mul(up, z), carry + j, count);
  });
}

float CrossEntropyRow(float* row, const float* b, float* db, int64_t n, int64_t target, float scale) {
  const D d;
  V top = hn::Set(d, -3e38f);
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const V z = hn::Add(load(d, row + j, count), load(d, b + j, count));
    const auto valid = hn::FirstN(d, static_cast<size_t>(count));
    top = hn::IfThenElse(valid, hn::Max(top, z), top);
    store(d, z, row + j, count);
  });
  const V most = hn::MaxOfLanes(d, top);
  const float logit = row[target] - hn::GetLane(most);
  V total = hn::Zero(d);
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const V e = exp(d, hn::Sub(load(d, row + j, count), most));
    total = hn::Add(total, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count)), e));
    store(d, e, row + j, count);
  });
  const float sum = hn::GetLane(hn::SumOfLanes(d, total));
  const V factor = hn::Set(d, scale / sum);
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    const V p = hn::Mul(load(d, row + j, count), factor);
    store(d, p, row + j, count);
    store(d, hn::Add(load(d, db + j, count), p), db + j, count);
  });
  row[target] -= scale;
  db[target] -= scale;
  return std::log(sum) - logit;
}

// acc[v] += sum over k of a[k] W[k] for `kVectors` vectors of columns that stay in registers.
template <int kVectors, class F>
HWY_INLINE void columns(const float* a, int64_t k, const float* w, int64_t ld, int64_t j, const F& finish) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V acc[kVectors];
  for (int v = 0; v < kVectors; ++v) acc[v] = hn::Zero(d);
  for (int64_t i = 0; a && i < k; ++i) {
    const V x = hn::Set(d, a[i]);
    for (int v = 0; v < kVectors; ++v)
      acc[v] = hn::MulAdd(x, hn::LoadU(d, w + i * ld + j + v * lanes), acc[v]);
  }
  for (int v = 0; v < kVectors; ++v) finish(j + v * lanes, acc[v]);
}

// All columns, eight, four or one vector at a time; W's rows are padded to whole vectors.
template <class F>
HWY_INLINE void row_times_matrix(const float* a, int64_t n, const float* w, int64_t ld, const F& finish) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t left = (n + lanes - 1) / lanes, j = 0;
  const auto advance = [&](int64_t vectors) {
    left -= vectors;
    j += vectors * lanes;
  };
  while (left >= 8) {
    columns<8>(a, n, w, ld, j, finish);
    advance(8);
  }
  if (left == 7) {
    columns<7>(a, n, w, ld, j, finish);
    advance(7);
  }
  while (left >= 4) {
    columns<4>(a, n, w, ld, j, finish);
    advance(4);
  }
  while (left >= 1) {
    columns<1>(a, n, w, ld, j, finish);
    advance(1);
  }
}

void RnnRow(const float* x, const float* b, const float* h0, const float* w, int64_t ld, float* h,
            int64_t n) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  row_times_matrix(h0, n, w, ld, [&](int64_t j, V sum) HWY_ATTR {
    const int64_t count = n - j < lanes ? n - j : lanes;
    const V z = hn::Add(hn::Add(sum, load(d, x + j, count)), load(d, b + j, count));
    store(d, tanh(d, z), h + j, count);
  });
}

void RnnRowBack(const float* dh, const float* dz1, const float* w, int64_t ld, const float* h, float* dz,
                int64_t n) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  row_times_matrix(dz1, n, w, ld, [&](int64_t j, V sum) HWY_ATTR {
    const int64_t count = n - j < lanes ? n - j : lanes;
    const V t = load(d, h + j, count);
    const V total = hn::Add(sum, load(d, dh + j, count));
    store(d, hn::Mul(total, hn::NegMulAdd(t, t, hn::Set(d, 1.f))), dz + j, count);
  });
}

// Gradients and activations are finite, so NaN needs no care.
void NarrowRow(const float* from, uint16_t* to, int64_t n) {
  const hn::ScalableTag<uint32_t> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint16_t, decltype(d)> dh;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto half = hn::Set(d, 0x7fff), one = hn::Set(d, 1);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = hn::LoadU(d, reinterpret_cast<const uint32_t*>(from + i));
    const auto up = hn::Add(bits, hn::Add(half, hn::And(hn::ShiftRight<16>(bits), one)));
    hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, hn::ShiftRight<16>(up))), dh, to + i);
  }
  for (; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, from + i, 4);
    to[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

void AddRow(float* to, const float* row, int64_t n) {
  const D d;
  for_vectors(n, [&](int64_t j, int64_t count) HWY_ATTR {
    store(d, hn::Add(load(d, to + j, count), load(d, row + j, count)), to + j, count);
  });
}

}  // namespace reel::bench::hand::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench::hand {

HWY_EXPORT(LstmRow);
HWY_EXPORT(LstmRowBack);
HWY_EXPORT(GruRow);
HWY_EXPORT(GruRowBack);
HWY_EXPORT(CrossEntropyRow);
HWY_EXPORT(RnnRow);
HWY_EXPORT(RnnRowBack);
HWY_EXPORT(AddRow);
HWY_EXPORT(NarrowRow);

void lstm_row(const float* x, const float* r, const float* b, const float* c0, float* act, float* c, float* h,
              int64_t n) {
  HWY_DYNAMIC_DISPATCH(LstmRow)(x, r, b, c0, act, c, h, n);
}
void lstm_row_back(float* act, const float* c, const float* c0, const float* dh, float* dc, float* sum,
                   int64_t n) {
  HWY_DYNAMIC_DISPATCH(LstmRowBack)(act, c, c0, dh, dc, sum, n);
}
void gru_row(const float* x, const float* r, const float* b, const float* h0, float* gates, float* candidate,
             float* h, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GruRow)(x, r, b, h0, gates, candidate, h, n);
}
void gru_row_back(float* gates, const float* candidate, const float* h0, const float* dh, float* carry,
                  float* sum, float* sum_u, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GruRowBack)(gates, candidate, h0, dh, carry, sum, sum_u, n);
}
float cross_entropy_row(float* row, const float* b, float* db, int64_t n, int64_t target, float scale) {
  return HWY_DYNAMIC_DISPATCH(CrossEntropyRow)(row, b, db, n, target, scale);
}
void rnn_row(const float* x, const float* b, const float* h0, const float* w, int64_t ld, float* h,
             int64_t n) {
  HWY_DYNAMIC_DISPATCH(RnnRow)(x, b, h0, w, ld, h, n);
}
void rnn_row_back(const float* dh, const float* dz1, const float* w, int64_t ld, const float* h, float* dz,
                  int64_t n) {
  HWY_DYNAMIC_DISPATCH(RnnRowBack)(dh, dz1, w, ld, h, dz, n);
}
void add_row(float* to, const float* row, int64_t n) { HWY_DYNAMIC_DISPATCH(AddRow)(to, row, n); }
void transpose(const float* from, int64_t rows, int64_t columns, int64_t ld, float* to, int64_t ldt) {
  for (int64_t r = 0; r < rows; r += 16) {  // whole cache lines of `to`
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t i = r; i < std::min(rows, r + 16); ++i) to[c * ldt + i] = from[i * ld + c];
    }
  }
}
void narrow_row(const float* from, uint16_t* to, int64_t n) { HWY_DYNAMIC_DISPATCH(NarrowRow)(from, to, n); }

}  // namespace reel::bench::hand
#endif
