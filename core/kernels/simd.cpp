#include "core/kernels/simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/simd.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"
#include "core/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// out[i] = f(a[i]) and so on. The tail goes through a padded vector, so that an element's value does not
// depend on where it stands.
template <class F>
void map1(const float* a, float* out, size_t n, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i)), d, out + i);
  if (i < n) store_some(d, f(d, load_some(d, a + i, n - i)), out + i, n - i);
}

template <class F>
void map2(const float* a, const float* b, float* out, size_t n, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  if (i == n) return;
  store_some(d, f(d, load_some(d, a + i, n - i), load_some(d, b + i, n - i)), out + i, n - i);
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

void AddRows(float* out, const float* a, ptrdiff_t step, size_t rows, size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    float* to = out + j;
    V s0 = hn::LoadU(d, to), s1 = hn::LoadU(d, to + lanes);
    V s2 = hn::LoadU(d, to + 2 * lanes), s3 = hn::LoadU(d, to + 3 * lanes);
    const float* from = a + j;
    for (size_t r = 0; r < rows; ++r, from += step) {
      s0 = hn::Add(s0, hn::LoadU(d, from));
      s1 = hn::Add(s1, hn::LoadU(d, from + lanes));
      s2 = hn::Add(s2, hn::LoadU(d, from + 2 * lanes));
      s3 = hn::Add(s3, hn::LoadU(d, from + 3 * lanes));
    }
    hn::StoreU(s0, d, to), hn::StoreU(s1, d, to + lanes);
    hn::StoreU(s2, d, to + 2 * lanes), hn::StoreU(s3, d, to + 3 * lanes);
  }
  for (; j < n; j += lanes) {
    const size_t count = std::min(lanes, n - j);
    V sum = load_some(d, out + j, count);
    for (size_t r = 0; r < rows; ++r)
      sum = hn::Add(sum, load_some(d, a + static_cast<ptrdiff_t>(r) * step + j, count));
    store_some(d, sum, out + j, count);
  }
}

// Columns of `out` stay in registers while all rows of b go by.
void RowTimesMatrix(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, ptrdiff_t row,
                    size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + 6 * lanes <= n; j += 6 * lanes) {
    float* to = out + j;
    V s0 = hn::LoadU(d, to), s1 = hn::LoadU(d, to + lanes), s2 = hn::LoadU(d, to + 2 * lanes);
    V s3 = hn::LoadU(d, to + 3 * lanes), s4 = hn::LoadU(d, to + 4 * lanes), s5 = hn::LoadU(d, to + 5 * lanes);
    const float* from = b + j;
    for (size_t i = 0; i < k; ++i, from += row) {
      const V v = hn::Set(d, a[static_cast<ptrdiff_t>(i) * step]);
      s0 = hn::MulAdd(v, hn::LoadU(d, from), s0);
      s1 = hn::MulAdd(v, hn::LoadU(d, from + lanes), s1);
      s2 = hn::MulAdd(v, hn::LoadU(d, from + 2 * lanes), s2);
      s3 = hn::MulAdd(v, hn::LoadU(d, from + 3 * lanes), s3);
      s4 = hn::MulAdd(v, hn::LoadU(d, from + 4 * lanes), s4);
      s5 = hn::MulAdd(v, hn::LoadU(d, from + 5 * lanes), s5);
    }
    hn::StoreU(s0, d, to), hn::StoreU(s1, d, to + lanes), hn::StoreU(s2, d, to + 2 * lanes);
    hn::StoreU(s3, d, to + 3 * lanes), hn::StoreU(s4, d, to + 4 * lanes), hn::StoreU(s5, d, to + 5 * lanes);
  }
  for (; j < n; j += lanes) {  // two rows in turn: one chain of additions would wait for itself
    const size_t count = std::min(lanes, n - j);
    const bool whole = count == lanes;
    V even = whole ? hn::LoadU(d, out + j) : load_some(d, out + j, count), odd = hn::Zero(d);
    const float* from = b + j;
    for (size_t i = 0; i < k; ++i, from += row) {
      const V v = hn::Set(d, a[static_cast<ptrdiff_t>(i) * step]);
      const V x = whole ? hn::LoadU(d, from) : load_some(d, from, count);
      (i % 2 ? odd : even) = hn::MulAdd(v, x, i % 2 ? odd : even);
    }
    const V sum = hn::Add(even, odd);
    if (whole) {
      hn::StoreU(sum, d, out + j);
    } else {
      store_some(d, sum, out + j, count);
    }
  }
}

void Transpose(float* out, ptrdiff_t out_row, const float* in, ptrdiff_t in_row, size_t rows,
               size_t columns) {
  constexpr auto kBytes = static_cast<ptrdiff_t>(sizeof(float));
  transpose_words(in, in_row * kBytes, out, out_row * kBytes, rows, columns);
}

// Four products at a time, whose additions do not wait for each other.
void RowTimesTransposed(float* out, const float* a, size_t k, const float* b, ptrdiff_t row, size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + 4 <= n; j += 4, b += 4 * row) {
    V s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
    size_t i = 0;
    for (; i + lanes <= k; i += lanes) {
      const V v = hn::LoadU(d, a + i);
      s0 = hn::MulAdd(v, hn::LoadU(d, b + i), s0);
      s1 = hn::MulAdd(v, hn::LoadU(d, b + row + i), s1);
      s2 = hn::MulAdd(v, hn::LoadU(d, b + 2 * row + i), s2);
      s3 = hn::MulAdd(v, hn::LoadU(d, b + 3 * row + i), s3);
    }
    if (i < k) {
      const V v = load_some(d, a + i, k - i);
      s0 = hn::MulAdd(v, load_some(d, b + i, k - i), s0);
      s1 = hn::MulAdd(v, load_some(d, b + row + i, k - i), s1);
      s2 = hn::MulAdd(v, load_some(d, b + 2 * row + i, k - i), s2);
      s3 = hn::MulAdd(v, load_some(d, b + 3 * row + i, k - i), s3);
    }
    out[j] += hn::GetLane(hn::SumOfLanes(d, s0));
    out[j + 1] += hn::GetLane(hn::SumOfLanes(d, s1));
    out[j + 2] += hn::GetLane(hn::SumOfLanes(d, s2));
    out[j + 3] += hn::GetLane(hn::SumOfLanes(d, s3));
  }
  for (; j < n; ++j, b += row) out[j] += Dot(a, b, k);
}

float ExpShifted(const float* a, float shift, float* out, size_t n) {
  map1(a, out, n, [shift](D d, V x) HWY_ATTR { return full_exp(d, hn::Sub(x, hn::Set(d, shift))); });
  return Sum(out, n);
}

void ExpTimes(const float* a, float shift, float factor, float* out, size_t n) {
  map1(a, out, n, [=](D d, V x) HWY_ATTR {
    return hn::Mul(full_exp(d, hn::Sub(x, hn::Set(d, shift))), hn::Set(d, factor));
  });
}

float SumOfExp(const float* a, float shift, size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto e = [&](V x) HWY_ATTR { return full_exp(d, hn::Sub(x, hn::Set(d, shift))); };
  float total = sum_of(n, [&](V s, size_t i) HWY_ATTR { return hn::Add(s, e(hn::LoadU(d, a + i))); });
  if (const size_t rest = n % lanes; rest > 0) {
    const V x = load_some(d, a + n - rest, rest);
    total += hn::GetLane(hn::SumOfLanes(d, hn::IfThenElseZero(hn::FirstN(d, rest), e(x))));
  }
  return total;
}

float SumOfSquares(const float* a, float shift, size_t n) {
  const D d;
  const V off = hn::Set(d, shift);
  float total = sum_of(n, [&](V s, size_t i) HWY_ATTR {
    const V x = hn::Sub(hn::LoadU(d, a + i), off);
    return hn::MulAdd(x, x, s);
  });
  for (size_t i = n - n % hn::Lanes(d); i < n; ++i) total += (a[i] - shift) * (a[i] - shift);
  return total;
}

void Affine(const float* a, float shift, float factor, float* out, size_t n) {
  map1(a, out, n,
       [=](D d, V x) HWY_ATTR { return hn::Mul(hn::Sub(x, hn::Set(d, shift)), hn::Set(d, factor)); });
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::simd {

HWY_EXPORT(Sum);
HWY_EXPORT(Dot);
HWY_EXPORT(Max);
HWY_EXPORT(AddTo);
HWY_EXPORT(AddRows);
HWY_EXPORT(RowTimesMatrix);
HWY_EXPORT(Transpose);
HWY_EXPORT(RowTimesTransposed);
HWY_EXPORT(ExpShifted);
HWY_EXPORT(ExpTimes);
HWY_EXPORT(SumOfExp);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(Affine);
HWY_EXPORT(Target);

float sum(const float* a, size_t n) { return HWY_DYNAMIC_DISPATCH(Sum)(a, n); }
float dot(const float* a, const float* b, size_t n) { return HWY_DYNAMIC_DISPATCH(Dot)(a, b, n); }
float max(const float* a, size_t n) { return HWY_DYNAMIC_DISPATCH(Max)(a, n); }
void add_to(float* out, const float* a, size_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(out, a, n); }
void add_rows(float* out, const float* a, ptrdiff_t step, size_t rows, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddRows)(out, a, step, rows, n);
}
void row_times_matrix(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, ptrdiff_t row,
                      size_t n) {
  HWY_DYNAMIC_DISPATCH(RowTimesMatrix)(out, a, step, k, b, row, n);
}
void transpose(float* out, ptrdiff_t out_row, const float* in, ptrdiff_t in_row, size_t rows,
               size_t columns) {
  HWY_DYNAMIC_DISPATCH(Transpose)(out, out_row, in, in_row, rows, columns);
}
void row_times_transposed(float* out, const float* a, size_t k, const float* b, ptrdiff_t row, size_t n) {
  HWY_DYNAMIC_DISPATCH(RowTimesTransposed)(out, a, k, b, row, n);
}
float exp_shifted(const float* a, float shift, float* out, size_t n) {
  return HWY_DYNAMIC_DISPATCH(ExpShifted)(a, shift, out, n);
}
void exp_times(const float* a, float shift, float factor, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(ExpTimes)(a, shift, factor, out, n);
}
float sum_of_exp(const float* a, float shift, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfExp)(a, shift, n);
}
float sum_of_squares(const float* a, float shift, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquares)(a, shift, n);
}
void affine(const float* a, float shift, float factor, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(Affine)(a, shift, factor, out, n);
}
const char* target() { return HWY_DYNAMIC_DISPATCH(Target)(); }

}  // namespace reel::simd
#endif
