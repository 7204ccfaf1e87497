#include "benchmarks/hand/operand.h"

#include <array>
#include <map>

#include "benchmarks/hand/kernels.h"

namespace reel::bench::hand {

Operand::Operand(Type type, const float* data, int64_t rows, int64_t width)
    : type_(type), data_(data), width_(width) {
  if (type == Type::bf16) copy_.resize(static_cast<size_t>(rows * width));
}

void Operand::take(int64_t row, int64_t count) {
  if (type_ == Type::bf16) narrow_row(data_ + row * width_, copy_.data() + row * width_, count * width_);
}

void multiply(Type type, Sizes s, const void* a, Layout la, const void* b, Layout lb, float* c, int64_t ldc,
              float beta) {
  if (s.m == 0 || s.n == 0) return;
  if (type == Type::f32)
    return sgemm(s, static_cast<const float*>(a), la, static_cast<const float*>(b), lb, c, ldc, beta);
  static thread_local std::map<std::array<int64_t, 9>, Product> ready;
  const auto into = beta == 0 ? Product::Into::store : Product::Into::add;
  const std::array<int64_t, 9> key{s.m, s.n, s.k, la.ld, la.transposed, lb.ld, lb.transposed, ldc, beta != 0};
  auto found = ready.find(key);
  if (found == ready.end()) found = ready.emplace(key, Product(s, la, lb, ldc, into, type)).first;
  found->second(a, b, c);
}

}  // namespace reel::bench::hand
