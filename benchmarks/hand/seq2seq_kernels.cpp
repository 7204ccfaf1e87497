#include "benchmarks/hand/seq2seq_kernels.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmarks/hand/seq2seq_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "benchmarks/hand/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::bench::expert::HWY_NAMESPACE {

void Gru(const GruRow& row, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const auto x = [&](int64_t gate) HWY_ATTR {
      const V z = hn::Add(at.load(row.zx + gate * n), at.load(row.bx + gate * n));
      return row.zc == nullptr ? z : hn::Add(z, at.load(row.zc + gate * n));
    };
    const auto u = [&](int64_t gate)
                       HWY_ATTR { return hn::Add(at.load(row.zh + gate * n), at.load(row.bh + gate * n)); };
    const V r = sigmoid(hn::Add(x(0), u(0))), z = sigmoid(hn::Add(x(1), u(1))), un = u(2);
    const V candidate = tanh(hn::MulAdd(r, un, x(2)));
    at.store(r, row.gates);
    at.store(z, row.gates + n);
    at.store(candidate, row.gates + 2 * n);
    at.store(un, row.gates + 3 * n);
    at.store(hn::MulAdd(z, hn::Sub(at.load(row.h0), candidate), candidate), row.h);
  });
}

void GruBackward(const GruBack& b, int64_t n) {
  each(n, [&](auto at) HWY_ATTR {
    const V r = at.load(b.gates), z = at.load(b.gates + n), candidate = at.load(b.gates + 2 * n),
            un = at.load(b.gates + 3 * n), dh = at.load(b.dh);
    const V dz = hn::Mul(hn::Mul(dh, hn::Sub(at.load(b.h0), candidate)), sigmoid_slope(z));
    const V dn = hn::Mul(hn::Mul(dh, one_minus(z)), tanh_slope(candidate));
    const V dr = hn::Mul(hn::Mul(dn, un), sigmoid_slope(r));
    at.store(dr, b.dzx);
    at.store(dz, b.dzx + n);
    at.store(dn, b.dzx + 2 * n);
    at.store(dr, b.dzh);
    at.store(dz, b.dzh + n);
    at.store(hn::Mul(dn, r), b.dzh + 2 * n);
    at.store(hn::Mul(dh, z), b.dh);
  });
}

void Attend(const Attention& a) {
  const int64_t n = a.n;
  float top = -1e30f;
  for (int64_t s = 0; s < a.positions; ++s) {
    V score = hn::Zero(D());
    each(n, [&](auto at) HWY_ATTR {
      const V bent = tanh(hn::Add(at.load(a.keys + s * a.stride), at.load(a.query)));
      at.store(bent, a.bent + s * n);
      score = hn::MulAdd(bent, at.load(a.v), score);
    });
    a.weights[s] = total(score);
    top = std::max(top, a.weights[s]);
  }
  each(a.positions, [&](auto at) HWY_ATTR {
    at.store(hn::Exp(D(), hn::Max(hn::Sub(at.load(a.weights), set(top)), set(-87))), a.weights);
  });
  float sum = 0;
  for (int64_t s = 0; s < a.positions; ++s) sum += a.weights[s];
  for (int64_t s = 0; s < a.positions; ++s) a.weights[s] /= sum;
  each(n, [&](auto at) HWY_ATTR {
    V c = hn::Zero(D());
    for (int64_t s = 0; s < a.positions; ++s)
      c = hn::MulAdd(set(a.weights[s]), at.load(a.memory + s * a.stride), c);
    at.store(c, a.context);
  });
}

void AttendBackward(const Attention& a, const AttentionBack& b) {
  const int64_t n = a.n;
  float mean = 0;
  for (int64_t s = 0; s < a.positions; ++s) {
    V dot = hn::Zero(D());
    each(n, [&](auto at)
                HWY_ATTR { dot = hn::MulAdd(at.load(b.dcontext), at.load(a.memory + s * a.stride), dot); });
    b.room[s] = total(dot);
    mean += b.room[s] * a.weights[s];
  }
  for (int64_t s = 0; s < a.positions; ++s) b.room[s] = a.weights[s] * (b.room[s] - mean);
  each(n, [&](auto at) HWY_ATTR {
    const V dc = at.load(b.dcontext), v = at.load(a.v);
    V dq = hn::Zero(D()), dv = at.load(b.dv);
    for (int64_t s = 0; s < a.positions; ++s) {
      const V de = set(b.room[s]), bent = at.load(a.bent + s * n);
      const V dk = hn::Mul(hn::Mul(de, v), tanh_slope(bent));
      dv = hn::MulAdd(de, bent, dv);
      dq = hn::Add(dq, dk);
      at.add(dk, b.dkeys + s * a.stride);
      at.add(hn::Mul(set(a.weights[s]), dc), b.dmemory + s * a.stride);
    }
    at.store(dv, b.dv);
    at.store(dq, b.dquery);
  });
}

}  // namespace reel::bench::expert::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::bench::expert {

HWY_EXPORT(Gru);
HWY_EXPORT(GruBackward);
HWY_EXPORT(Attend);
HWY_EXPORT(AttendBackward);

void gru(const GruRow& row, int64_t n) { HWY_DYNAMIC_DISPATCH(Gru)(row, n); }
void gru_back(const GruBack& row, int64_t n) { HWY_DYNAMIC_DISPATCH(GruBackward)(row, n); }
void attend(const Attention& row) { HWY_DYNAMIC_DISPATCH(Attend)(row); }
void attend_back(const Attention& row, const AttentionBack& back) {
  HWY_DYNAMIC_DISPATCH(AttendBackward)(row, back);
}

}  // namespace reel::bench::expert
#endif
