#include "core/shape.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/dtype.h"
#include "core/error.h"

namespace reel {

namespace {
thread_local DType current_default = DType::f32;
}  // namespace

DType default_dtype() { return current_default; }

void set_default_dtype(DType t) {
  if (!is_float(t)) fail("default dtype: got {}, want f32 or f64", name_of(t));
  current_default = t;
}

Shape::Shape(std::initializer_list<int64_t> dims)
    : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const int64_t> dims) {
  for (int64_t d : dims) push_back(d);
}

void Shape::push_back(int64_t dim) { insert(rank_, dim); }

void Shape::insert(int axis, int64_t dim) {
  if (rank_ == kMaxRank) fail("a shape of more than {} dimensions: {} and one more", kMaxRank, str());
  if (dim < 0) fail("a shape with the negative dimension {}", dim);
  for (int i = rank_; i > axis; --i) (*this)[i] = (*this)[i - 1];
  (*this)[axis] = dim;
  ++rank_;
}

void Shape::erase(int axis) {
  for (int i = axis; i + 1 < rank_; ++i) (*this)[i] = (*this)[i + 1];
  --rank_;
}

std::string Shape::str() const { return fmt::format("[{}]", fmt::join(begin(), end(), ", ")); }

Strides row_major(const Shape& shape) {
  Strides strides{};
  int64_t step = 1;
  for (int i = shape.rank(); i-- > 0;) {
    strides[static_cast<size_t>(i)] = step;
    step *= shape[i];
  }
  return strides;
}

bool is_contiguous(const Shape& shape, const Strides& strides) {
  int64_t step = 1;
  for (int i = shape.rank(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[static_cast<size_t>(i)] != step) return false;
    step *= shape[i];
  }
  return true;
}

bool broadcast(const Shape& a, const Shape& b, Shape& out) {
  if (a == b) {
    out = a;
    return true;
  }
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape joined = longer;
  const int shift = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    int64_t& dim = joined[i + shift];
    if (dim == shorter[i] || shorter[i] == 1) continue;
    if (dim != 1) return false;
    dim = shorter[i];
  }
  out = joined;
  return true;
}

Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to) {
  Strides out{};
  const int shift = to.rank() - from.rank();
  for (int i = 0; i < from.rank(); ++i) {
    if (from[i] == to[i + shift]) out[static_cast<size_t>(i + shift)] = strides[static_cast<size_t>(i)];
  }
  return out;
}

int normal_axis(int64_t axis, int rank, const char* op) {
  const int64_t normal = axis < 0 ? axis + rank : axis;
  if (normal < 0 || normal >= rank) {
    fail("[{}] axis {}: want one of the {} axes of the value, from {} to {}", op, axis, rank, -rank,
         rank - 1);
  }
  return static_cast<int>(normal);
}

int64_t checked_numel(const Shape& shape) {
  int64_t n = 1;
  bool empty = false;
  for (int64_t d : shape) empty = empty || d == 0;
  for (int64_t d : shape) {  // zeros aside, so that the strides of an empty value can be computed too
    d = std::max<int64_t>(d, 1);
    if (__builtin_mul_overflow(n, d, &n) || n > (int64_t{1} << 44)) {
      fail("a value of shape {} has more elements than memory can hold", shape);
    }
  }
  return empty ? 0 : n;
}

}  // namespace reel
