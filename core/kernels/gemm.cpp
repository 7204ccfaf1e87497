#include "core/kernels/gemm.h"

#include <algorithm>
#include <bit>

#include "core/buffer.h"
#include "core/kernels/dnnl.h"
#include "core/kernels/panel_gemm.h"
#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"
#include "core/kernels/small_gemm.h"

namespace reel {

namespace {

constexpr int64_t kTiny = 16384;              // multiplications that loops are good enough for
constexpr int64_t kSmall = int64_t{1} << 19;  // below which a library call costs more than it saves

// c += one row times a matrix, without a library call: a recurrent step at batch 1.
void add_row_times_matrix(int64_t n, int64_t k, const float* a, int64_t step, Matrix<const float> b,
                          float* c) {
  if (b.col == 1) {
    simd::row_times_matrix(c, a, step, static_cast<size_t>(k), b.data, b.row, static_cast<size_t>(n));
  } else if (step == 1) {
    simd::row_times_transposed(c, a, static_cast<size_t>(k), b.data, b.col, static_cast<size_t>(n));
  } else {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < k; ++i) c[j] += a[i * step] * b.data[i + j * b.col];
    }
  }
}

// A read transposed, its rows a high power of two apart: oneDNN reads such a matrix faster as the right one.
// A weight's gradient of an LSTM of 512 units took 24.8 ms so and 21.5 as C^T = B^T A, of 256 units 6.9 and
// 5.3; turning C round (1.2 and 0.2 ms) is not worth it where C is as wide as it is high.
bool better_turned(int64_t m, int64_t n, Matrix<const float> a, Matrix<const float> b, float beta) {
  const auto high_power = [](int64_t stride) {
    return stride >= 1024 && std::has_single_bit(static_cast<uint64_t>(stride));
  };
  return beta == 0 && b.col == 1 && high_power(a.col) && !high_power(b.row) && m >= 2 * n;
}

void gemm_turned(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b,
                 Matrix<float> c) {
  const Buffer room(static_cast<size_t>(m * n) * sizeof(float));
  const Matrix<float> turned{reinterpret_cast<float*>(room.data()), m, 1};
  dnnl_wall::sgemm(n, m, k, {b.data, b.col, b.row}, {a.data, a.col, a.row}, turned, 0);
  simd::transpose(c.data, c.row, turned.data, turned.row, static_cast<size_t>(n), static_cast<size_t>(m));
}

}  // namespace

// Measured, GFLOP/s of a thread, on Zen 4 (of 113):
//   plain B       sgemm 100-112, panels as fast or up to 5 % slower
//   transposed B  from 200 rows on panels 98-113, sgemm 89-113, oneDNN's primitive 81-111; of 16 to 32 rows
//                 panels 29-86, sgemm 12-66, the primitive 14-80. It is made for one number of rows besides:
//                 with one that it never saw it took 0.3 ms longer.
//   one row       either is as fast as memory, or slower than a loop
//   small         our blocks 205-240 (Zen 5, of 250) where sgemm reaches 160-200
Routine choose(int64_t m, int64_t n, int64_t k, bool transposed_b) {
  if (k == 0 || m == 1 || m * n * k <= kTiny) return Routine::loops;
  if (m * n * k <= kSmall && (m >= 16 || !transposed_b)) return Routine::small;
  return transposed_b && m > 8 ? Routine::panels : Routine::sgemm;
}

void in_pieces(int64_t m, int64_t n, int64_t k, int64_t least_rows, bool columns_too,
               Callable<int64_t, int64_t, int64_t, int64_t> piece) {
  constexpr int64_t kColumns = 64;
  const int64_t threads = threads_for(m * n * k / 16);  // each has 1 us of work
  const int64_t blocks = columns_too ? (n + kColumns - 1) / kColumns : 1;
  const int64_t by_rows = std::clamp(m / least_rows, int64_t{1}, threads),
                by_columns = std::min(blocks, threads);
  if (by_rows == 1 && by_columns == 1) return piece(0, m, 0, n);
  if (by_rows >= by_columns) {
    return run_on_threads(static_cast<int>(by_rows), [&](int i) {
      const int64_t begin = m * i / by_rows, end = m * (i + 1) / by_rows;
      piece(begin, end - begin, 0, n);
    });
  }
  run_on_threads(static_cast<int>(by_columns), [&](int i) {
    const int64_t begin = blocks * i / by_columns * kColumns;
    const int64_t end = std::min(n, blocks * (i + 1) / by_columns * kColumns);
    piece(0, m, begin, end - begin);
  });
}

void gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
          float beta) {
  if (m == 0 || n == 0) return;
  const Routine routine = choose(m, n, k, b.col != 1);
  if (routine == Routine::panels) return panel_gemm(m, n, k, a, b, c, beta);
  in_pieces(m, n, k, 16, true, [&](int64_t i, int64_t rows, int64_t j, int64_t columns) {
    const Matrix<const float> part_a = a.from(i, 0), part_b = b.from(0, j);
    const Matrix<float> part = c.from(i, j);
    switch (routine) {
      case Routine::loops:
        for (int64_t r = 0; r < rows; ++r) {
          float* row = part.data + r * c.row;
          if (beta == 0) std::fill(row, row + columns, 0.0f);
          add_row_times_matrix(columns, k, part_a.data + r * a.row, a.col, part_b, row);
        }
        return;
      case Routine::small: return small_gemm(rows, columns, k, part_a, part_b, part, beta);
      case Routine::sgemm:
        if (better_turned(m, n, a, b, beta)) return gemm_turned(rows, columns, k, part_a, part_b, part);
        return dnnl_wall::sgemm(rows, columns, k, part_a, part_b, part, beta);
      case Routine::panels: break;  // cuts by itself
    }
  });
}

void gemm(int64_t m, int64_t n, int64_t k, Matrix<const double> a, Matrix<const double> b, Matrix<double> c,
          double beta) {
  parallel_for(m, n * k, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* row = c.data + i * c.row;
      if (beta == 0) std::fill(row, row + n, 0.0);
      if (b.col == 1) {
        for (int64_t p = 0; p < k; ++p) {
          const double x = a.data[i * a.row + p * a.col];
          for (int64_t j = 0; j < n; ++j) row[j] += x * b.data[p * b.row + j];
        }
      } else {
        for (int64_t j = 0; j < n; ++j) {
          for (int64_t p = 0; p < k; ++p)
            row[j] += a.data[i * a.row + p * a.col] * b.data[p * b.row + j * b.col];
        }
      }
    }
  });
}

}  // namespace reel
