// oneDNN's matrix products as hand-written code calls them: prepared once, run by one thread, B packed in the
// layout its kernel wants. Independent of the engine's own wall around oneDNN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <vector>

namespace reel::bench::hand {

// How a matrix lies in memory: rows `ld` apart, or its transpose stored so.
struct Layout {
  int64_t ld;
  bool transposed = false;
};

// C[m,n] = A[m,k] B[k,n] + beta C
struct Sizes {
  int64_t m, n, k;
};
void sgemm(Sizes sizes, const float* a, Layout la, const float* b, Layout lb, float* c, int64_t ldc,
           float beta = 0);

enum class Type { f32, bf16 };  // of A and B; C and the sums are f32

// Floats whose first byte begins a cache line.
class Floats {
 public:
  Floats() = default;
  explicit Floats(int64_t size);
  float* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  void resize(int64_t size) {  // what it held is lost
    if (size > size_) *this = Floats(size);
  }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float[], Free> data_;
  int64_t size_ = 0;
};

// B[k,n] (f32, as `layout` says) in the layout that products with m rows want.
class Packed {
 public:
  Packed(Sizes sizes, Layout layout, Type type = Type::f32);
  void pack(const float* b);

  const dnnl::memory::desc& desc() const { return desc_; }
  void* data() const { return memory_.get_data_handle(); }

 private:
  dnnl::memory::desc desc_, plain_desc_;
  dnnl::memory memory_, plain_;
  dnnl::reorder reorder_;
};

// C[m,n] = A B, or C += A B. One thread at a time may run it.
class Product {
 public:
  enum class Into { store, add };
  Product(Sizes sizes, Layout a, Layout b, int64_t ldc, Into into = Into::store, Type type = Type::f32);
  Product(Sizes sizes, Layout a, const Packed& b, int64_t ldc, Into into = Into::store,
          Type type = Type::f32);
  void operator()(const void* a, const void* b, float* c);
  void operator()(const void* a, float* c) { (*this)(a, packed_, c); }

 private:
  Product(Sizes sizes, Layout a, const dnnl::memory::desc& b, const void* packed, int64_t ldc, Into into,
          Type type);
  dnnl::matmul matmul_;
  dnnl::memory a_, b_, c_, scratch_;
  const void* packed_;
};

dnnl::engine& engine();
dnnl::stream& stream();  // of this thread
dnnl::memory::dims strides(Layout layout);

}  // namespace reel::bench::hand
