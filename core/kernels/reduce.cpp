#include "core/kernels/reduce.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"

namespace reel {

namespace {

struct Dim {
  int64_t size, in, out;  // strides; out is 0 where the axis is folded
  bool folded() const { return out == 0; }
};

std::vector<Dim> merged_dims(const Array& in, const Array& out) {
  const Strides back = broadcast_strides(out.shape, out.strides, in.shape);
  std::vector<Dim> dims;
  for (int axis = 0; axis < in.shape.rank(); ++axis) {
    if (in.shape[axis] == 1) continue;
    const Dim dim{in.shape[axis], in.stride(axis), back[static_cast<size_t>(axis)]};
    if (!dims.empty() && dims.back().in == dim.in * dim.size && dims.back().out == dim.out * dim.size) {
      dims.back() = {dims.back().size * dim.size, dim.in, dim.out};
    } else {
      dims.push_back(dim);
    }
  }
  return dims;
}

template <class T>
T identity(Fold fold) {
  using Limits = std::numeric_limits<T>;
  if (fold == Fold::sum) return T{0};
  if constexpr (Limits::has_infinity) return fold == Fold::max ? -Limits::infinity() : Limits::infinity();
  return fold == Fold::max ? Limits::lowest() : Limits::max();
}

template <class T>
T join(Fold fold, T a, T b) {
  if (fold == Fold::sum) return a + b;
  if (a != a || b != b) return a != a ? a : b;  // NaN stays
  return fold == Fold::max ? std::max(a, b) : std::min(a, b);
}

template <class T>
T fold_row(Fold fold, const T* a, int64_t stride, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    if (stride == 1 && fold == Fold::sum) return simd::sum(a, static_cast<size_t>(n));
    if (stride == 1 && fold == Fold::max) return simd::max(a, static_cast<size_t>(n));
  }
  T total = identity<T>(fold);
  for (int64_t i = 0; i < n; ++i) total = join(fold, total, a[i * stride]);
  return total;
}

template <class T>
void fold_into(Fold fold, const T* a, int64_t stride, T* out, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    if (stride == 1 && fold == Fold::sum) return simd::add_to(out, a, static_cast<size_t>(n));
  }
  for (int64_t i = 0; i < n; ++i) out[i] = join(fold, out[i], a[i * stride]);
}

// Splits index `flat` over dims and returns the offsets it stands for.
void offsets(const std::vector<Dim>& dims, int64_t flat, int64_t& in, int64_t& out) {
  for (size_t k = dims.size(); k-- > 0;) {
    const int64_t index = flat % dims[k].size;
    flat /= dims[k].size;
    in += index * dims[k].in;
    out += index * dims[k].out;
  }
}

// The column sums of a matrix that the cache holds: as below, with less to work out. A recurrence's bias
// needs them at every level.
bool sum_few_rows(Fold fold, const Array& in, const Array& out) {
  constexpr int64_t kSmall = int64_t{1} << 15;
  const int64_t columns = out.shape.numel();
  if (fold != Fold::sum || in.dtype != DType::f32 || in.shape.rank() != 2 || in.shape[1] != columns ||
      in.stride(1) != 1 || in.shape.numel() > kSmall || (out.shape.rank() == 2 && out.shape[0] != 1)) {
    return false;
  }
  simd::add_rows(out.as<float>(), in.as<float>(), in.stride(0), static_cast<size_t>(in.shape[0]),
                 static_cast<size_t>(columns));
  return true;
}

// Many, for the sake of the cache lines that are read whole; no more than give each thread some.
int64_t columns_at_a_time(int64_t columns, int64_t work) {
  constexpr int64_t kMost = 512, kVector = 16;
  const int64_t each = (columns + threads_for(work / 4) - 1) / threads_for(work / 4);
  return std::min({columns, kMost, (each + kVector - 1) / kVector * kVector});
}

template <class T>
void reduce_as(Fold fold, const Array& in, const Array& out, bool add) {
  T* to = out.as<T>();
  if (!add) std::fill(to, to + out.shape.numel(), identity<T>(fold));
  if (in.shape.numel() == 0 || sum_few_rows(fold, in, out)) return;
  const std::vector<Dim> dims = merged_dims(in, out);
  if (dims.empty()) {
    to[0] = join(fold, to[0], in.as<T>()[0]);
    return;
  }
  const Dim inner = dims.back();
  std::vector<Dim> kept, folded;
  int64_t kept_size = 1, folded_size = 1;
  for (size_t k = 0; k + 1 < dims.size(); ++k) {
    (dims[k].folded() ? folded : kept).push_back(dims[k]);
    (dims[k].folded() ? folded_size : kept_size) *= dims[k].size;
  }
  // A kept inner dimension is cut into columns, so that a matrix folded to its column sums has work for all
  // threads.
  const int64_t columns = inner.folded() ? inner.size : columns_at_a_time(inner.size, in.shape.numel());
  const int64_t pieces = (inner.size + columns - 1) / columns;
  parallel_for(kept_size * pieces, folded_size * columns / 4 + 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      int64_t from = 0, at = 0, ignored = 0;
      offsets(kept, item / pieces, from, at);
      const int64_t column = item % pieces * columns;
      const int64_t n = std::min(columns, inner.size - column);
      if constexpr (std::is_same_v<T, float>) {
        if (fold == Fold::sum && !inner.folded() && inner.in == 1 && folded.size() == 1) {
          simd::add_rows(to + at + column, in.as<T>() + from + column, folded[0].in,
                         static_cast<size_t>(folded_size), static_cast<size_t>(n));
          continue;
        }
      }
      for (int64_t f = 0; f < folded_size; ++f) {
        int64_t a = from + column * inner.in;
        offsets(folded, f, a, ignored);
        if (inner.folded()) {
          to[at] = join(fold, to[at], fold_row(fold, in.as<T>() + a, inner.in, n));
        } else {
          fold_into(fold, in.as<T>() + a, inner.in, to + at + column, n);
        }
      }
    }
  });
}

}  // namespace

void reduce(Fold fold, const Array& in, const Array& out, bool add) {
  switch (in.dtype) {
    case DType::f32: return reduce_as<float>(fold, in, out, add);
    case DType::f64: return reduce_as<double>(fold, in, out, add);
    case DType::i64: return reduce_as<int64_t>(fold, in, out, add);
    case DType::boolean: return reduce_as<uint8_t>(fold, in, out, add);
  }
}

}  // namespace reel
