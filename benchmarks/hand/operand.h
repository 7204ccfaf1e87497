// What a hand-written product reads: rows of floats where they lie, or in bf16 a copy of them.
#pragma once

#include <cstdint>
#include <vector>

#include "benchmarks/hand/onednn.h"

namespace reel::bench::hand {

// The i-th element of memory of this type.
inline const void* element(const void* data, int64_t i, Type type) {
  return static_cast<const char*>(data) + i * (type == Type::f32 ? 4 : 2);
}

class Operand {
 public:
  Operand() = default;
  // `rows` rows of `width` floats, which stay where they are.
  Operand(Type type, const float* data, int64_t rows, int64_t width);

  // These rows have new values.
  void take(int64_t row, int64_t count);
  const void* row(int64_t row, int64_t column = 0) const {
    const void* all = copy_.data();
    return element(type_ == Type::f32 ? data_ : all, row * width_ + column, type_);
  }
  int64_t width() const { return width_; }

 private:
  Type type_ = Type::f32;
  const float* data_ = nullptr;
  int64_t width_ = 0;
  std::vector<uint16_t> copy_;
};

// C[m,n] = A B + beta C, of operands of this type, sums in f32. f32 runs through sgemm; bf16 through a
// primitive prepared at the first call of a thread for these sizes.
void multiply(Type type, Sizes sizes, const void* a, Layout la, const void* b, Layout lb, float* c,
              int64_t ldc, float beta = 0);

}  // namespace reel::bench::hand
