// Right sides of products in the layout that is multiplied fastest: for weights that many products read.
#pragma once

#include "core/buffer.h"
#include "core/kernels/dnnl.h"
#include "core/kernels/gemm.h"

namespace reel {

enum class Precision { f32, bf16 };

// B[k, n], packed. Rows may be multiplied on several threads at once while nobody packs.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // In memory of its own, or of bytes(k, n, precision) at a multiple of 64.
  PackedMatrix(int64_t k, int64_t n, Precision precision = Precision::f32, void* memory = nullptr);
  static size_t bytes(int64_t k, int64_t n, Precision precision = Precision::f32);

  // For products with one row, in f32: as one_row.h has it.
  static PackedMatrix for_one_row(int64_t k, int64_t n, void* memory = nullptr);

  // Lies there from now on; what was packed elsewhere is not.
  void move_to(void* memory) { data_ = memory; }

  // Takes B, or its transpose by strides, over: at first, and again when it has changed. Allocates nothing.
  void pack(Matrix<const float> b);

  size_t size() const;  // bytes
  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  Precision precision() const { return precision_; }

 private:
  template <class T>
  friend void gemm_packed(int64_t m, Matrix<const T> a, const PackedMatrix& b, Matrix<float> c, float beta);

  int64_t k_ = 0, n_ = 0;
  Precision precision_ = Precision::f32;
  bool fast_ = false;  // stored in bf16, not in f32 rounded to it
  bool one_row_ = false;
  dnnl_wall::PackedLayout layout_;
  Buffer own_;
  void* data_ = nullptr;
};

// C[m, n] = A[m, k] B + beta C, with beta 0 or 1. With B in bf16, A is taken in bf16 (an f32 one is rounded
// first) and sums are f32; beta's C is added once at the end. T is float or Bf16; a Bf16 A wants a B in bf16.
template <class T>
void gemm_packed(int64_t m, Matrix<const T> a, const PackedMatrix& b, Matrix<float> c, float beta);

// Whether packing B[k, n] pays where `uses` products with m rows each read it.
bool worth_packing(int64_t m, int64_t n, int64_t k, bool transposed, int64_t uses,
                   Precision precision = Precision::f32);

}  // namespace reel
