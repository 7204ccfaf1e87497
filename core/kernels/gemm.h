// Matrix products. The f32 one chooses between own loops and oneDNN's routines by shape.
#pragma once

#include <cstdint>

#include "core/kernels/parallel.h"

namespace reel {

// A matrix in memory; element (i, j) lies at data[i * row + j * col], and one of the two strides is 1.
template <class T>
struct Matrix {
  T* data;
  int64_t row, col;
  Matrix from(int64_t i, int64_t j) const { return {data + i * row + j * col, row, col}; }
};

// The upper half of a float.
struct Bf16 {
  uint16_t bits;
};

// C[m, n] = A[m, k] B[k, n] + beta C, with beta 0 or 1 and C's columns next to each other.
void gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
          float beta);
void gemm(int64_t m, int64_t n, int64_t k, Matrix<const double> a, Matrix<const double> b, Matrix<double> c,
          double beta);

// Which routine computes an f32 product, by what was measured (gemm.cpp has the reasons).
enum class Routine {
  loops,   // ours: one row, or tiny
  small,   // ours: blocks of the result in registers
  panels,  // ours: the same, with panels of B packed on the way (panel_gemm.h)
  sgemm,   // oneDNN's BLAS-like routine
};
Routine choose(int64_t m, int64_t n, int64_t k, bool transposed_b);

// Calls piece(first row, rows, first column, columns) for a cut of C[m, n] among as many threads as the
// product is worth: by rows where each thread gets `least_rows`, else by columns, at multiples of 64 of them.
void in_pieces(int64_t m, int64_t n, int64_t k, int64_t least_rows, bool columns_too,
               Callable<int64_t, int64_t, int64_t, int64_t> piece);

}  // namespace reel
