// Matrix products. The f32 one chooses between own loops and oneDNN's routines by shape.
#pragma once

#include <cstdint>

namespace reel {

// A matrix in memory; element (i, j) lies at data[i * row + j * col], and one of the two strides is 1.
template <class T>
struct Matrix {
  T* data;
  int64_t row, col;
};

// C[m, n] = A[m, k] B[k, n] + beta C, with beta 0 or 1 and C's columns next to each other.
void gemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
          float beta);
void gemm(int64_t m, int64_t n, int64_t k, Matrix<const double> a, Matrix<const double> b, Matrix<double> c,
          double beta);

}  // namespace reel
