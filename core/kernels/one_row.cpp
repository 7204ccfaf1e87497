#include "core/kernels/one_row.h"

#include <algorithm>

#include "core/kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/one_row.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

// Columns in whole vectors, by rows, and those that lie apart: 0, 1, 2 or 4 floats a row.
#ifndef REEL_ONE_ROW_COLUMNS
#define REEL_ONE_ROW_COLUMNS
namespace reel {
struct OneRowColumns {
  explicit OneRowColumns(size_t n) : wide(n - n % 16), apart(n % 16) {
    if (apart == 3) apart = 4;
    if (apart <= 4) return;
    wide += 16;
    apart = 0;
  }
  size_t wide, apart;
};
}  // namespace reel
#endif

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

HWY_INLINE void put(float* out, V sum, size_t count, bool add) {
  const D d;
  if (count >= hn::Lanes(d)) return hn::StoreU(add ? hn::Add(sum, hn::LoadU(d, out)) : sum, d, out);
  store_some(d, add ? hn::Add(sum, load_some(d, out, count)) : sum, out, count);
}

// `vectors` vectors of columns. Where there are registers for it, even and odd rows have sums of their own:
// additions wait for each other.
template <size_t vectors>
HWY_INLINE void wide_columns(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, size_t row,
                             size_t count, bool add) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  constexpr size_t kSets = vectors <= 4 || (HWY_TARGET <= HWY_AVX3 && vectors <= 6) ? 2 : 1;
  V sum[kSets][vectors];
  for (auto& set : sum) {
    for (V& s : set) s = hn::Zero(d);
  }
  size_t i = 0;
  for (; i + kSets <= k; i += kSets) {
    for (size_t s = 0; s < kSets; ++s, b += row) {
      const V v = hn::Set(d, a[static_cast<ptrdiff_t>(i + s) * step]);
      for (size_t c = 0; c < vectors; ++c) sum[s][c] = hn::MulAdd(v, hn::Load(d, b + c * lanes), sum[s][c]);
    }
  }
  for (; i < k; ++i, b += row) {
    const V v = hn::Set(d, a[static_cast<ptrdiff_t>(i) * step]);
    for (size_t c = 0; c < vectors; ++c) sum[0][c] = hn::MulAdd(v, hn::Load(d, b + c * lanes), sum[0][c]);
  }
  for (size_t c = 0; c < vectors && c * lanes < count; ++c) {
    V all = sum[0][c];
    if constexpr (kSets == 2) all = hn::Add(all, sum[1][c]);
    put(out + c * lanes, all, count - c * lanes, add);
  }
}

// Elements i to k - 1 of a row, as many as a vector holds.
HWY_INLINE V elements(const float* a, ptrdiff_t step, size_t i, size_t k) {
  const D d;
  const size_t lanes = hn::Lanes(d), count = std::min(lanes, k - i);
  if (step == 1) return count == lanes ? hn::LoadU(d, a + i) : load_some(d, a + i, count);
  HWY_ALIGN float some[HWY_MAX_BYTES / 4] = {};
  for (size_t l = 0; l < count; ++l) some[l] = a[static_cast<ptrdiff_t>(i + l) * step];
  return hn::Load(d, some);
}

// `apart` columns: a vector holds several rows of them.
template <size_t apart>
HWY_INLINE void columns_apart(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, size_t n,
                              bool add) {
  const D d;
  const hn::RebindToSigned<D> di;
  constexpr int kShift = apart == 1 ? 0 : apart == 2 ? 1 : 2;
  const size_t lanes = hn::Lanes(d);
  if (lanes < apart) {  // one lane: no vectors on this machine
    for (size_t c = 0; c < n; ++c) {
      float sum = add ? out[c] : 0;
      for (size_t i = 0; i < k; ++i) sum += a[static_cast<ptrdiff_t>(i) * step] * b[i * apart + c];
      out[c] = sum;
    }
    return;
  }
  const auto lane = [&](size_t first) HWY_ATTR { return hn::Iota(di, static_cast<int32_t>(first)); };
  V sum[apart];
  for (V& s : sum) s = hn::Zero(d);
  for (size_t i = 0; i < k; i += lanes, b += lanes * apart) {
    const V v = elements(a, step, i, k);
    for (size_t c = 0; c < apart; ++c) {
      const V rows = hn::TableLookupLanes(v, hn::IndicesFromVec(d, hn::ShiftRight<kShift>(lane(c * lanes))));
      sum[c] = hn::MulAdd(rows, hn::Load(d, b + c * lanes), sum[c]);
    }
  }
  V all = sum[0];
  for (size_t c = 1; c < apart; ++c) all = hn::Add(all, sum[c]);
  for (size_t shift = apart; shift < lanes; shift *= 2) {  // the rows' sums meet in every lane
    const auto turned = hn::And(lane(shift), hn::Set(di, static_cast<int32_t>(lanes - 1)));
    all = hn::Add(all, hn::TableLookupLanes(all, hn::IndicesFromVec(d, turned)));
  }
  put(out, all, n, add);
}

void RowTimesPacked(float* out, const float* a, ptrdiff_t step, size_t k, const float* b, size_t n,
                    bool add) {
  const OneRowColumns columns(n);
  const size_t lanes = hn::Lanes(D()), row = columns.wide, wide = std::min(n, row);
  size_t j = 0;
  const auto vectors = [&]<size_t count>() HWY_ATTR {
    wide_columns<count>(out + j, a, step, k, b + j, row, wide - j, add);
    j += count * lanes;
  };
  const auto left = [&] { return (wide - std::min(j, wide) + lanes - 1) / lanes; };
  while (left() >= 8) vectors.template operator()<8>();
  switch (left()) {
    case 7: vectors.template operator()<7>(); break;
    case 6: vectors.template operator()<6>(); break;
    case 5: vectors.template operator()<5>(); break;
    case 4: vectors.template operator()<4>(); break;
    case 3: vectors.template operator()<3>(); break;
    case 2: vectors.template operator()<2>(); break;
    case 1: vectors.template operator()<1>(); break;
    default: break;
  }
  const float* tail = b + k * row;
  switch (columns.apart) {
    case 1: return columns_apart<1>(out + row, a, step, k, tail, n - row, add);
    case 2: return columns_apart<2>(out + row, a, step, k, tail, n - row, add);
    case 4: return columns_apart<4>(out + row, a, step, k, tail, n - row, add);
    default: return;
  }
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel {

namespace simd {
HWY_EXPORT(RowTimesPacked);
}

namespace {

// Columns of B by rows of `row` floats, zeros behind them.
void pack_columns(int64_t k, int64_t n, Matrix<const float> b, float* to, int64_t row) {
  if (b.col != 1) simd::transpose(to, row, b.data, b.col, static_cast<size_t>(n), static_cast<size_t>(k));
  if (b.col == 1 && n == 4 && row == 4) {
    for (int64_t i = 0; i < k; ++i) std::copy_n(b.data + i * b.row, 4, to + i * 4);
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    if (b.col == 1) std::copy_n(b.data + i * b.row, n, to + i * row);
    if (n < row) std::fill_n(to + i * row + n, row - n, 0.0f);
  }
}

}  // namespace

size_t one_row_floats(int64_t k, int64_t n) {
  const OneRowColumns columns(static_cast<size_t>(n));
  const auto rows = static_cast<size_t>(k);
  return rows * columns.wide + (rows + 15) / 16 * 16 * columns.apart;
}

void pack_for_one_row(int64_t k, int64_t n, Matrix<const float> b, float* to) {
  const OneRowColumns columns(static_cast<size_t>(n));
  const auto wide = static_cast<int64_t>(columns.wide), apart = static_cast<int64_t>(columns.apart);
  if (wide > 0) pack_columns(k, std::min(n, wide), b, to, wide);
  if (apart == 0) return;
  pack_columns(k, n - wide, b.from(0, wide), to + k * wide, apart);
  std::fill(to + k * (wide + apart), to + one_row_floats(k, n), 0.0f);
}

void row_times_packed(float* out, const float* a, int64_t step, int64_t k, const float* b, int64_t n,
                      bool add) {
  using namespace simd;
  HWY_DYNAMIC_DISPATCH(RowTimesPacked)
  (out, a, step, static_cast<size_t>(k), b, static_cast<size_t>(n), add);
}

}  // namespace reel
#endif
