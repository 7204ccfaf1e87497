// Shapes and places: reshaping and permuting (shape.cpp); joining, cutting and moving (join.cpp). Reshapes,
// permutations and slices read the same memory through other strides where they can. Names and semantics are
// PyTorch's (concat is its cat; pad takes one axis); a negative axis counts from the end.
#pragma once

#include <array>
#include <initializer_list>
#include <span>

#include "core/op.h"
#include "core/structural.h"

namespace reel {

// ---- The same elements under another shape, or in another order of axes ----

// x's elements, row by row, under `shape` (a braced list, a Shape, a vector), in which one -1 stands for what
// is left. Copies only where no strides read x so (a transposed value made flat).
Tensor reshape(Arg x, std::span<const int64_t> shape);
inline Tensor reshape(Arg x, std::initializer_list<int64_t> shape) {
  return reshape(x, std::span(shape.begin(), shape.size()));
}

// Axes first to last become one; a scalar becomes [1].
Tensor flatten(Arg x, int64_t first = 0, int64_t last = -1);
Tensor unsqueeze(Arg x, int64_t axis);  // a new axis of size 1, at `axis` of the result
Tensor squeeze(Arg x, int64_t axis);    // without the axis if its size is 1, else x itself

Tensor transpose(Arg x, int64_t a, int64_t b);  // axes a and b exchanged
// What x is the transpose of, its last two axes exchanged, where the tape still knows it; else undefined.
Tensor transposed_from(const Tensor& x);
Tensor permute(Arg x, std::span<const int64_t> axes);  // axis k of the result is axis axes[k] of x
inline Tensor permute(Arg x, std::initializer_list<int64_t> axes) {
  return permute(x, std::span(axes.begin(), axes.size()));
}

// The place of a new axis, counted from the front: what unsqueeze and stack take, -rank-1 to rank.
int64_t new_axis_of(const Arg& x, int64_t axis, std::string_view op);

// ---- Joining ----

// One after another along an axis: [.., n1 + n2 + .., ..]. Parts of one dtype, whose other axes are equal.
Tensor concat(std::span<const Tensor> parts, int64_t axis, Where where = Where::current());
inline Tensor concat(std::initializer_list<Tensor> parts, int64_t axis, Where where = Where::current()) {
  return concat(std::span(parts.begin(), parts.size()), axis, where);
}
// Along a new axis, at `axis` of the result. Parts of one shape.
Tensor stack(std::span<const Tensor> parts, int64_t axis, Where where = Where::current());
inline Tensor stack(std::initializer_list<Tensor> parts, int64_t axis, Where where = Where::current()) {
  return stack(std::span(parts.begin(), parts.size()), axis, where);
}

// ---- Cutting ----

// Slices one after another, without copies. The sizes add up to the axis.
Tensors split(Arg x, std::span<const int64_t> sizes, int64_t axis);
inline Tensors split(Arg x, std::initializer_list<int64_t> sizes, int64_t axis) {
  return split(x, std::span(sizes.begin(), sizes.size()), axis);
}
// Slices of ceil(n / chunks) entries, the last one maybe shorter; they may be fewer than asked for.
Tensors chunk(Arg x, int64_t chunks, int64_t axis);

int64_t even_part(const Arg& x, int64_t parts, int64_t axis);  // n / parts; throws where that is not whole
// N equal parts: const auto [i, f, g, o] = split<4>(gates).
template <int N>
std::array<Tensor, N> split(Arg x, int64_t axis = -1) {
  const int64_t size = even_part(x, N, axis);
  std::array<Tensor, N> parts;
  for (int k = 0; k < N; ++k) parts[static_cast<size_t>(k)] = slice(x, axis, k * size, (k + 1) * size);
  return parts;
}

// ---- Moving ----

Tensor flip(Arg x, std::span<const int64_t> axes);  // backwards along these axes; a copy
inline Tensor flip(Arg x, std::initializer_list<int64_t> axes) {
  return flip(x, std::span(axes.begin(), axes.size()));
}
Tensor roll(Arg x, int64_t shift, int64_t axis);  // entry k goes to (k + shift) mod n
Tensor pad(Arg x, int64_t axis, int64_t before, int64_t after, double value = 0);  // new entries at both ends

}  // namespace reel
