// Matrix products for the hand-written workloads: oneDNN's sgemm and its matmul primitive, each where it is
// best.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace reel::bench::expert {

// Memory for floats, aligned to a cache line; zeros at first. Memory of the same size is used again without
// going back to the system, and arrays begin at different cache sets: rows of 4 KiB would all meet in the
// same ones.
class Floats {
 public:
  Floats() = default;
  explicit Floats(int64_t count);
  ~Floats();
  Floats(Floats&& other) noexcept { *this = std::move(other); }
  Floats& operator=(Floats&& other) noexcept {
    std::swap(room_, other.room_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  float* data() { return data_; }
  const float* data() const { return data_; }
  operator float*() { return data_; }  // NOLINT(google-explicit-constructor): a pointer that frees
  operator const float*() const { return data_; }  // NOLINT(google-explicit-constructor)
  int64_t size() const { return size_; }
  void zero();

 private:
  std::vector<float> room_;
  float* data_ = nullptr;
  int64_t size_ = 0;
};

// C[m, n] = op(A) op(B) + beta C with rows lda, ldb, ldc apart; op 'T' reads the transpose. sgemm is best for
// weight gradients (A transposed) and for plain products of many rows.
void sgemm(char ta, char tb, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
           int64_t ldb, float beta, float* c, int64_t ldc);

// C[m, n] = A B + beta C through the matmul primitive, best for a transposed B and for many rows. Strides of
// each matrix in elements, one of them 1.
struct View {
  int64_t row, col;
};
void matmul(int64_t m, int64_t n, int64_t k, const float* a, View va, const float* b, View vb, float* c,
            View vc, float beta = 0);

// A weight used many times within a step, rearranged once for products with `rows` rows: C = A W or A W^T.
class Packed {
 public:
  // The weight lies as [k, n] with `transposed` false, as [n, k] with it true; rows `stride` apart.
  Packed(int64_t k, int64_t n, bool transposed, int64_t stride);
  void pack(const float* weight, int64_t rows);  // for products of this many rows
  void multiply(const float* a, int64_t lda, float beta, float* c, int64_t ldc) const;  // C[rows, n]

 private:
  int64_t k_, n_, stride_;
  bool transposed_;
  int64_t rows_ = 0;
  Floats room_;
};

// Calls body(begin, end) on each thread with its share of `rows`, and waits for all. Inside, products run on
// the calling thread alone.
void on_threads(int64_t rows, const std::function<void(int64_t, int64_t)>& body);

// Products of this thread use all threads (or one, inside on_threads).
void use_all_threads();

// C[m, n] = A^T B, A [k, m] and B [k, n] with rows lda and ldb apart: a weight's gradient over all k rows.
// Each thread computes its rows of C.
void weight_gradient(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                     int64_t ldb, float* c, int64_t ldc);

// C[m, n] = A B^T + bias, B [n, k], through the matmul primitive; max(0, C) if relu.
void linear(int64_t m, int64_t n, int64_t k, const float* a, const float* b, const float* bias, bool relu,
            float* c);

// to[columns, rows] = from[rows, columns] transposed
void transpose(const float* from, int64_t rows, int64_t columns, float* to);

}  // namespace reel::bench::expert
