#include "core/kernels/gemm.h"

#include <algorithm>

#include "core/kernels/dnnl.h"
#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"

namespace reel {

namespace {

constexpr int64_t kTiny = 16384;  // multiplications below which a library call costs more than it saves

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

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
          float beta) {
  if (m == 0 || n == 0) return;
  if (k == 0 || m == 1 || m * n * k <= kTiny) {
    for (int64_t i = 0; i < m; ++i) {
      float* row = c.data + i * c.row;
      if (beta == 0) std::fill(row, row + n, 0.0f);
      add_row_times_matrix(n, k, a.data + i * a.row, a.col, b, row);
    }
    return;
  }
  if (b.col != 1 && m <= 64) return dnnl_wall::matmul(m, n, k, a, b, c, beta);
  dnnl_wall::sgemm(m, n, k, a, b, c, beta);
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
