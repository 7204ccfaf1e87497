#include "core/kernels/small_product.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/small_product.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::simd::HWY_NAMESPACE {

// Sums are kept for so many rows and vectors of columns: in 24 of 32 registers, or 12 of 16.
constexpr size_t kRows = 6, kVectors = HWY_MAX_BYTES >= 64 ? 4 : 2;

struct Block {
  size_t k;
  const float* a;
  ptrdiff_t a_row, a_col;
  const float* b;
  size_t b_row;
  float* c;
  ptrdiff_t c_row;
  size_t columns;  // the last vector's may be fewer
  bool add;
};

template <size_t rows, size_t vectors>
void multiply(const Block& s) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V sum[rows][vectors];
  for (auto& row : sum) {
    for (V& v : row) v = hn::Zero(d);
  }
  const float *a = s.a, *b = s.b;
  for (size_t i = 0; i < s.k; ++i, a += s.a_col, b += s.b_row) {
    V x[vectors];
    for (size_t v = 0; v < vectors; ++v) x[v] = hn::Load(d, b + v * lanes);
    for (size_t r = 0; r < rows; ++r) {
      const V factor = hn::Set(d, a[static_cast<ptrdiff_t>(r) * s.a_row]);
      for (size_t v = 0; v < vectors; ++v) sum[r][v] = hn::MulAdd(factor, x[v], sum[r][v]);
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    float* c = s.c + static_cast<ptrdiff_t>(r) * s.c_row;
    for (size_t v = 0; v < vectors; ++v, c += lanes) {
      const size_t count = std::min(lanes, s.columns - v * lanes);
      if (count == lanes) {
        hn::StoreU(s.add ? hn::Add(sum[r][v], hn::LoadU(d, c)) : sum[r][v], d, c);
      } else {
        store_some(d, s.add ? hn::Add(sum[r][v], load_some(d, c, count)) : sum[r][v], c, count);
      }
    }
  }
}

template <size_t vectors>
void multiply_rows(size_t rows, const Block& s) {
  switch (rows) {
    case 1: return multiply<1, vectors>(s);
    case 2: return multiply<2, vectors>(s);
    case 3: return multiply<3, vectors>(s);
    case 4: return multiply<4, vectors>(s);
    case 5: return multiply<5, vectors>(s);
    default: return multiply<6, vectors>(s);
  }
}

// Even blocks, rather than a short last one.
size_t even(size_t size, size_t most) {
  const size_t blocks = (size + most - 1) / most;
  return (size + blocks - 1) / blocks;
}

void RowsTimesPadded(size_t m, size_t n, size_t k, Matrix<const float> a, const float* b, Matrix<float> c,
                     bool add) {
  const size_t lanes = hn::Lanes(D());
  const size_t vectors = even((n + lanes - 1) / lanes, kVectors), rows = even(m, kRows);
  Block s{k, a.data, a.row, a.col, b, (n + 15) / 16 * 16, c.data, c.row, 0, add};
  for (size_t j = 0; j < n; j += vectors * lanes) {
    s.columns = std::min(vectors * lanes, n - j);
    s.b = b + j;
    for (size_t i = 0; i < m; i += rows) {
      const size_t now = std::min(rows, m - i);
      s.a = a.data + static_cast<ptrdiff_t>(i) * s.a_row;
      s.c = c.data + static_cast<ptrdiff_t>(i) * s.c_row + j;
      switch ((s.columns + lanes - 1) / lanes) {
        case 1: multiply_rows<1>(now, s); break;
        case 2: multiply_rows<2>(now, s); break;
        case 3: multiply_rows<std::min<size_t>(3, kVectors)>(now, s); break;
        default: multiply_rows<kVectors>(now, s); break;
      }
    }
  }
}

}  // namespace reel::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel::simd {

HWY_EXPORT(RowsTimesPadded);

void rows_times_padded(int64_t m, int64_t n, int64_t k, Matrix<const float> a, const float* b,
                       Matrix<float> c, bool add) {
  HWY_DYNAMIC_DISPATCH(RowsTimesPadded)
  (static_cast<size_t>(m), static_cast<size_t>(n), static_cast<size_t>(k), a, b, c, add);
}

}  // namespace reel::simd
#endif
