#include "core/kernels/small_gemm.h"

#include <algorithm>

#include "core/buffer.h"
#include "core/kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/small_gemm.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// Sums of a block of C stay in registers: 20 of 32, or 12 of 16. (With 24, g++ 12 runs out of them.)
constexpr int64_t kRows = HWY_TARGET <= HWY_AVX3 ? 5 : 6;
constexpr int64_t kVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

struct Block {
  int64_t k;
  Matrix<const float> a, b;
  Matrix<float> c;
  size_t some;  // columns of the last vector
  bool add;
};

// Of the last vector of columns, what is there.
enum class Last { whole, padded, some };  // all; all in B, but not in C; neither

template <int64_t rows, int64_t vectors, Last last>
HWY_INLINE void multiply(const Block& p) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  [[maybe_unused]] const auto there = hn::FirstN(d, p.some);
  V sum[rows][vectors];
  for (auto& row : sum) {
    for (V& s : row) s = hn::Zero(d);
  }
  const float *a = p.a.data, *b = p.b.data;
  for (int64_t i = 0; i < p.k; ++i, a += p.a.col, b += p.b.row) {
    V right[vectors];
    for (int64_t v = 0; v < vectors; ++v) {
      if (last != Last::some || v + 1 < vectors) {
        right[v] = hn::LoadU(d, b + v * lanes);
      } else {
#if HWY_MEM_OPS_MIGHT_FAULT
        right[v] = load_some(d, b + v * lanes, p.some);
#else
        right[v] = hn::MaskedLoad(there, d, b + v * lanes);
#endif
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      const V left = hn::Set(d, a[r * p.a.row]);
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t v = 0; v < vectors; ++v) {
      float* to = p.c.data + r * p.c.row + v * lanes;
      if (last == Last::whole || v + 1 < vectors) {
        hn::StoreU(p.add ? hn::Add(sum[r][v], hn::LoadU(d, to)) : sum[r][v], d, to);
      } else {
        store_some(d, p.add ? hn::Add(sum[r][v], load_some(d, to, p.some)) : sum[r][v], to, p.some);
      }
    }
  }
}

template <int64_t vectors, Last last>
HWY_INLINE void call(int64_t rows, const Block& p) {
  switch (rows) {
    case 1: return multiply<1, vectors, last>(p);
    case 2: return multiply<2, vectors, last>(p);
    case 3: return multiply<3, vectors, last>(p);
    case 4: return multiply<4, vectors, last>(p);
    case 5: return multiply<5, vectors, last>(p);
    default: return multiply<kRows, vectors, last>(p);
  }
}

template <Last last>
HWY_INLINE void call(int64_t rows, int64_t vectors, const Block& p) {
  switch (vectors) {
    case 1: return call<1, last>(rows, p);
    case 2: return call<2, last>(rows, p);
    case 3: return call<std::min<int64_t>(3, kVectors), last>(rows, p);
    default: return call<kVectors, last>(rows, p);
  }
}

// Blocks of about one size rather than a small last one.
void SmallGemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
               bool add, bool padded) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  const int64_t all = (n + lanes - 1) / lanes;
  const int64_t across = (all + kVectors - 1) / kVectors, down = (m + kRows - 1) / kRows;
  for (int64_t x = 0; x < across; ++x) {
    const int64_t first = all * x / across, vectors = all * (x + 1) / across - first, j = first * lanes;
    const int64_t some = n - (first + vectors - 1) * lanes;
    for (int64_t y = 0; y < down; ++y) {
      const int64_t i = m * y / down, rows = m * (y + 1) / down - i;
      const Block block{
          k, a.from(i, 0), b.from(0, j), c.from(i, j), static_cast<size_t>(std::min(some, lanes)), add};
      if (some >= lanes) {
        call<Last::whole>(rows, vectors, block);
      } else if (padded) {
        call<Last::padded>(rows, vectors, block);
      } else {
        call<Last::some>(rows, vectors, block);
      }
    }
  }
}

int64_t BlockColumns() { return kVectors * static_cast<int64_t>(hn::Lanes(D())); }

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel {

namespace simd {
HWY_EXPORT(SmallGemm);
HWY_EXPORT(BlockColumns);
}  // namespace simd

int64_t small_gemm_columns() {
  static const int64_t columns = HWY_DYNAMIC_DISPATCH(simd::BlockColumns)();
  return columns;
}

void small_gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                Matrix<float> c, float beta) {
  using namespace simd;
  Buffer room;
  if (b.col != 1) {
    const int64_t row = (n + 15) / 16 * 16;
    room = Buffer(static_cast<size_t>(k * row) * sizeof(float));
    auto* turned = reinterpret_cast<float*>(room.data());
    transpose(turned, row, b.data, b.col, static_cast<size_t>(n), static_cast<size_t>(k));
    b = {turned, row, 1};
  }
  HWY_DYNAMIC_DISPATCH(SmallGemm)(m, n, k, a, b, c, beta != 0, false);
}

void small_gemm_padded(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                       Matrix<float> c, float beta) {
  using namespace simd;
  HWY_DYNAMIC_DISPATCH(SmallGemm)(m, n, k, a, b, c, beta != 0, true);
}

}  // namespace reel
#endif
