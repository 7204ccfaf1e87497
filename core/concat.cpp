// concat: values one after another along an axis. The planner joins rows with it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/kernels/simd.h"
#include "core/structural.h"

namespace reel {

namespace {

// From `axis` on a part is copied in one piece for each index of the axes before.
struct Piece {
  Array tail;
  int64_t bytes;
  bool plain;  // contiguous
  bool done = false;
  Piece(const Array& part, int axis) : tail{part.data, part.dtype, {}, {}} {
    for (int k = axis; k < part.shape.rank(); ++k) {
      tail.strides[static_cast<size_t>(k - axis)] = part.stride(k);
      tail.shape.push_back(part.shape[k]);
    }
    bytes = tail.shape.numel() * static_cast<int64_t>(size_of(part.dtype));
    plain = tail.contiguous();
  }
};

// Columns of a matrix that is read transposed, all at once; false where it is something else.
bool put_transposed(const Array& part, int axis, std::byte* to, int64_t row) {
  if (axis != 1 || part.shape.rank() != 2 || size_of(part.dtype) != sizeof(float)) return false;
  const int64_t rows = part.shape[0], columns = part.shape[1];
  if (part.stride(0) != 1 || part.stride(1) < rows || rows < 2) return false;
  simd::transpose(reinterpret_cast<float*>(to), row, part.as<float>(), part.stride(1),
                  static_cast<size_t>(columns), static_cast<size_t>(rows));
  return true;
}

void join(const Exec& e) {
  if (e.out.shape.numel() == 0) return;
  const auto axis = static_cast<int>(e.attrs.i[0]);
  std::vector<Piece> pieces;
  for (const Array& part : e.in) pieces.emplace_back(part, axis);
  int64_t outer = 1;
  for (int k = 0; k < axis; ++k) outer *= e.out.shape[k];
  const auto width = static_cast<int64_t>(size_of(e.out.dtype));
  const int64_t row = e.out.shape.numel() / outer;
  int64_t column = 0;
  for (size_t p = 0; p < pieces.size(); ++p) {
    if (put_transposed(e.in[p], axis, e.out.data + column, row)) pieces[p].done = true;
    column += pieces[p].bytes;
  }
  parallel_for(outer, row, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      std::byte* to = e.out.data + o * row * width;
      for (size_t p = 0; p < pieces.size(); ++p) {
        Array from = pieces[p].tail;
        const int64_t bytes = pieces[p].bytes;
        if (bytes == 0 || pieces[p].done) {
          to += bytes;
          continue;
        }
        int64_t rest = o;
        for (int k = axis; k-- > 0; rest /= e.out.shape[k]) {
          from.data += rest % e.out.shape[k] * e.in[p].stride(k) * width;
        }
        if (pieces[p].plain) {
          std::memcpy(to, from.data, static_cast<size_t>(bytes));
        } else {
          copy(from, {to, from.dtype, from.shape, row_major(from.shape)});
        }
        to += bytes;
      }
    }
  });
}

void joined_shape(Signature& s) {
  const auto axis = static_cast<int>(s.attrs.i[0]);
  s.shape = s.in(0);
  for (size_t k = 1; k < s.inputs(); ++k) {
    if (s.in_dtype(k) != s.dtype) {
      s.fail("part 1 is {} and part {} is {}: want one dtype", name_of(s.dtype), k + 1,
             name_of(s.in_dtype(k)));
    }
    bool fits = s.in(k).rank() == s.shape.rank();
    for (int i = 0; fits && i < s.shape.rank(); ++i) fits = i == axis || s.in(k)[i] == s.shape[i];
    if (!fits) {
      s.fail("part 1 {} and part {} {}: want shapes equal but for axis {}", s.in(0), k + 1, s.in(k), axis);
    }
    if (__builtin_add_overflow(s.shape[axis], s.in(k)[axis], &s.shape[axis])) {
      s.fail("axis {} grows past 2^63", axis);
    }
    checked_numel(s.shape);
  }
}

}  // namespace

const Op concat_op{
    .name = "concat",
    .doc = "y = the parts one after another along an axis",
    .kind = Kind::concat,
    .shape = joined_shape,
    .vjp =
        [](Vjp& g) {
          const int64_t axis = g.attrs().i[0];
          int64_t begin = 0;
          for (size_t k = 0; k < g.inputs(); ++k) {
            const int64_t end = begin + g.x(k).size(axis);
            if (g.needs(k)) g[k] = slice(g.dy, axis, begin, end);
            begin = end;
          }
        },
    .bytes = join,
    .strided = true,
};
namespace {
const Register concat_registered(concat_op);
}

}  // namespace reel
