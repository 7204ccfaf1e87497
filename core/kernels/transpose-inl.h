// Matrices of words of 32 bits transposed, compiled once for each instruction set (no include guard of the
// usual kind: see Highway's foreach_target.h).
#if defined(REEL_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REEL_TRANSPOSE_INL_H_
#undef REEL_TRANSPOSE_INL_H_
#else
#define REEL_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

constexpr size_t kStrip = 4;
template <size_t rows>
HWY_INLINE void transpose_strip(const std::byte* in, ptrdiff_t in_row, std::byte* out, ptrdiff_t out_row) {
  for (ptrdiff_t i = 0; i < 4; ++i) {
    for (ptrdiff_t j = 0; j < 4; ++j) std::memcpy(out + j * out_row + 4 * i, in + i * in_row + 4 * j, 4);
  }
}

#else

constexpr size_t kStrip = HWY_MAX_BYTES >= 64 ? 16 : HWY_MAX_BYTES >= 32 ? 8 : 4;

// Four words each of rows 0, 4, 8, .. of `rows`, one after another.
template <size_t rows>
HWY_INLINE auto every_fourth(const std::byte* in, ptrdiff_t in_row) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::FixedTag<uint32_t, rows> d;
  if constexpr (rows == 4) {
    return hn::BitCast(d, hn::LoadU(hn::FixedTag<uint8_t, 16>(), reinterpret_cast<const uint8_t*>(in)));
  } else {
    const auto lower = every_fourth<rows / 2>(in, in_row);
    const auto upper = every_fourth<rows / 2>(in + static_cast<ptrdiff_t>(rows / 2) * in_row, in_row);
    return hn::Combine(d, upper, lower);
  }
}

// Rows by four columns of them; rows are so many bytes apart. Squares of four by four beside each other.
template <size_t rows>
HWY_INLINE void transpose_strip(const std::byte* in, ptrdiff_t in_row, std::byte* out, ptrdiff_t out_row) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::FixedTag<uint32_t, rows> d;
  const hn::FixedTag<uint64_t, rows / 2> twice;
  const hn::FixedTag<uint8_t, rows * 4> bytes;
  const auto store = [&](ptrdiff_t j, auto row) HWY_ATTR {
    hn::StoreU(hn::BitCast(bytes, row), bytes, reinterpret_cast<uint8_t*>(out + j * out_row));
  };
  const auto row0 = every_fourth<rows>(in, in_row), row1 = every_fourth<rows>(in + in_row, in_row),
             row2 = every_fourth<rows>(in + 2 * in_row, in_row),
             row3 = every_fourth<rows>(in + 3 * in_row, in_row);
  const auto left01 = hn::BitCast(twice, hn::InterleaveLower(d, row0, row1));
  const auto left23 = hn::BitCast(twice, hn::InterleaveLower(d, row2, row3));
  const auto right01 = hn::BitCast(twice, hn::InterleaveUpper(d, row0, row1));
  const auto right23 = hn::BitCast(twice, hn::InterleaveUpper(d, row2, row3));
  store(0, hn::InterleaveLower(twice, left01, left23));
  store(1, hn::InterleaveUpper(twice, left01, left23));
  store(2, hn::InterleaveLower(twice, right01, right23));
  store(3, hn::InterleaveUpper(twice, right01, right23));
}

#endif

// out[j, i] = in[i, j] of in[rows, columns]. Sixteen rows of the output at a time: as many cache lines are
// written bit by bit.
inline void transpose_words(const void* in, ptrdiff_t in_row, void* out, ptrdiff_t out_row, size_t rows,
                            size_t columns) {
  constexpr size_t kBlock = 16;
  const auto from = [&](size_t i, size_t j) {
    return static_cast<const std::byte*>(in) + static_cast<ptrdiff_t>(i) * in_row + 4 * j;
  };
  const auto to = [&](size_t i, size_t j) {
    return static_cast<std::byte*>(out) + static_cast<ptrdiff_t>(j) * out_row + 4 * i;
  };
  for (size_t block = 0; block < columns; block += kBlock) {
    const size_t end = std::min(columns, block + kBlock);
    for (size_t i = 0; i < rows;) {
      const size_t strip = i + kStrip <= rows ? kStrip : std::min<size_t>(4, rows - i);
      if (block + 2 * kBlock < columns) {  // a line of every row: no stream that the processor would foresee
        for (size_t r = i; r < i + strip; ++r) __builtin_prefetch(from(r, block + 2 * kBlock), 0, 2);
      }
      for (size_t j = block; j < end; j += 4) {
        const bool whole = j + 4 <= end;
        if (whole && strip == kStrip) {
          transpose_strip<kStrip>(from(i, j), in_row, to(i, j), out_row);
        } else if (whole && strip == 4) {
          transpose_strip<4>(from(i, j), in_row, to(i, j), out_row);
        } else {
          for (size_t c = j; c < std::min(end, j + 4); ++c) {
            for (size_t r = i; r < i + strip; ++r) std::memcpy(to(r, c), from(r, c), 4);
          }
        }
      }
      i += strip;
    }
  }
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
