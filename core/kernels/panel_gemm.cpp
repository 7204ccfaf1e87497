#include "core/kernels/panel_gemm.h"

#include <algorithm>

#include "core/buffer.h"
#include "core/kernels/simd.h"
#include "core/kernels/small_gemm.h"

namespace reel {

namespace {

constexpr int64_t kLine = 16;  // floats: panels begin and end at multiples of so many columns

// The k-th of so many parts of n columns.
struct Columns {
  int64_t begin, end;
};
Columns part(int64_t n, int64_t k, int64_t parts) {
  const int64_t lines = (n + kLine - 1) / kLine;
  return {lines * k / parts * kLine, std::min(n, lines * (k + 1) / parts * kLine)};
}

void on_one_thread(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                   Matrix<float> c, float beta) {
  const int64_t widest = std::max(small_gemm_columns(), kLine);
  const int64_t panels = (n + widest - 1) / widest, blocks = (k + kDeep - 1) / kDeep;
  const Buffer memory(static_cast<size_t>(std::min(k, kDeep) * widest) * sizeof(float));
  auto* room = reinterpret_cast<float*>(memory.data());
  for (int64_t x = 0; x < panels; ++x) {
    const auto [begin, end] = part(n, x, panels);
    const int64_t columns = end - begin, wide = (columns + kLine - 1) / kLine * kLine;
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t p = k * block / blocks, deep = k * (block + 1) / blocks - p;
      pack_panel(deep, columns, b.from(p, begin), room, wide);
      small_gemm_padded(m, columns, deep, a.from(0, p), {room, wide, 1}, c.from(0, begin), p > 0 ? 1 : beta);
    }
  }
}

}  // namespace

void panel_gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                Matrix<float> c, float beta) {
  const int threads = threads_for(m * n * k / 16);  // each has 1 us of work
  if (threads > 1 && n >= 2 * threads * small_gemm_columns()) {
    return run_on_threads(threads, [&](int t) {  // no panel is packed twice
      const auto [begin, end] = part(n, t, threads);
      on_one_thread(m, end - begin, k, a, b.from(0, begin), c.from(0, begin), beta);
    });
  }
  in_pieces(m, n, k, kLine, true, [&](int64_t i, int64_t rows, int64_t j, int64_t columns) {
    on_one_thread(rows, columns, k, a.from(i, 0), b.from(0, j), c.from(i, j), beta);
  });
}

void pack_panel(int64_t k, int64_t columns, Matrix<const float> b, float* to, int64_t wide) {
  if (columns < wide) std::fill_n(to, k * wide, 0.0f);
  if (b.col != 1) {
    return simd::transpose(to, wide, b.data, b.col, static_cast<size_t>(columns), static_cast<size_t>(k));
  }
  constexpr int64_t kSoon = 8;  // rows
  for (int64_t i = 0; i < k; ++i) {
    const float* row = b.data + i * b.row;
    if (i + kSoon < k) {
      for (int64_t j = 0; j < columns; j += kLine) __builtin_prefetch(row + kSoon * b.row + j);
    }
    std::copy_n(row, columns, to + i * wide);
  }
}

}  // namespace reel
