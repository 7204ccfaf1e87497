#include "core/kernels/cross_entropy.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/cross_entropy.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// The vectors of a row that are not whole are one at its end, which stays in a register: memory written in
// part is slow to read.
float CrossEntropyRow(const float* logits, const float* bias, size_t n, size_t target, float dy, float* dz,
                      float* sums) {
  const D d;
  const size_t lanes = hn::Lanes(d), whole = n - n % lanes, some = n - whole;
  const auto there = hn::FirstN(d, some);
  const float logit = bias ? logits[target] + bias[target] : logits[target];
  V last = hn::Zero(d), most = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < whole; i += lanes) {
    V z = hn::LoadU(d, logits + i);
    if (bias) z = hn::Add(z, hn::LoadU(d, bias + i));
    most = hn::Max(most, z);
    hn::StoreU(z, d, dz + i);
  }
  if (some > 0) {
    last = load_some(d, logits + whole, some);
    if (bias) last = hn::Add(last, load_some(d, bias + whole, some));
    most = hn::IfThenElse(there, hn::Max(most, last), most);
  }
  const V max = hn::MaxOfLanes(d, most);
  V total = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const V e = full_exp(d, hn::Sub(hn::LoadU(d, dz + i), max));
    total = hn::Add(total, e);
    hn::StoreU(e, d, dz + i);
  }
  if (some > 0) {
    last = hn::IfThenElseZero(there, full_exp(d, hn::Sub(last, max)));
    total = hn::Add(total, last);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, total));
  const V factor = hn::Set(d, dy / sum);
  for (size_t i = 0; i < whole; i += lanes) {
    const V p = hn::Mul(hn::LoadU(d, dz + i), factor);
    hn::StoreU(p, d, dz + i);
    if (sums) hn::StoreU(hn::Add(hn::LoadU(d, sums + i), p), d, sums + i);
  }
  if (some > 0) {
    const V p = hn::Mul(last, factor);
    store_some(d, p, dz + whole, some);
    if (sums) hn::StoreU(hn::Add(hn::LoadU(d, sums + whole), p), d, sums + whole);
  }
  dz[target] -= dy;
  if (sums) sums[target] -= dy;
  return std::log(sum) + (hn::GetLane(max) - logit);
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::simd {

HWY_EXPORT(CrossEntropyRow);

float cross_entropy_row(const float* logits, const float* bias, size_t n, size_t target, float dy, float* dz,
                        float* sums) {
  return HWY_DYNAMIC_DISPATCH(CrossEntropyRow)(logits, bias, n, target, dy, dz, sums);
}

}  // namespace reel::simd
#endif
