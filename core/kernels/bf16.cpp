#include "core/kernels/bf16.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/kernels/dnnl.h"
#include "core/kernels/packed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/bf16.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include "core/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace reel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<uint32_t>;

// The bf16 next to the float with these bits, in the upper half; the lower half is left over.
template <class V>
V nearest(D d, V bits) {
  const V odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const V up = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fff)));
  const V quiet = hn::Or(bits, hn::Set(d, 0x400000));
  const auto nan = hn::Gt(hn::BitCast(hn::RebindToSigned<D>(), hn::And(bits, hn::Set(d, 0x7fffffff))),
                          hn::Set(hn::RebindToSigned<D>(), 0x7f800000));
  return hn::IfThenElse(hn::RebindMask(d, nan), quiet, up);
}

uint32_t nearest_one(const float* x) {
  uint32_t bits;
  std::memcpy(&bits, x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return bits | 0x400000;
  return bits + 0x7fff + (bits >> 16 & 1);
}

void Narrow(const float* a, Bf16* out, size_t n) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint16_t, D> dh;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = nearest(d, hn::LoadU(d, reinterpret_cast<const uint32_t*>(a + i)));
    hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, hn::ShiftRight<16>(bits))), dh,
               reinterpret_cast<uint16_t*>(out + i));
  }
  for (; i < n; ++i) out[i].bits = static_cast<uint16_t>(nearest_one(a + i) >> 16);
}

void Widen(const Bf16* a, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = uint32_t{a[i].bits} << 16;
    std::memcpy(out + i, &bits, 4);
  }
}

// out[j] = the pair (a[j], b[j]), `columns` of 64
void Pairs(const float* a, const float* b, size_t columns, uint32_t* out) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto upper = hn::Set(d, 0xffff0000);
  size_t j = 0;
  for (; j + lanes <= columns; j += lanes) {
    const auto low = nearest(d, hn::LoadU(d, reinterpret_cast<const uint32_t*>(a + j)));
    const auto high = nearest(d, hn::LoadU(d, reinterpret_cast<const uint32_t*>(b + j)));
    hn::StoreU(hn::Or(hn::ShiftRight<16>(low), hn::And(high, upper)), d, out + j);
  }
  for (; j < columns; ++j) out[j] = nearest_one(a + j) >> 16 | (nearest_one(b + j) & 0xffff0000);
}

// What is left of a float that was rounded.
void Round(const float* a, float* out, size_t n) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = nearest(d, hn::LoadU(d, reinterpret_cast<const uint32_t*>(a + i)));
    hn::StoreU(hn::And(bits, hn::Set(d, 0xffff0000)), d, reinterpret_cast<uint32_t*>(out + i));
  }
  for (; i < n; ++i) {
    const uint32_t bits = nearest_one(a + i) & 0xffff0000;
    std::memcpy(out + i, &bits, 4);
  }
}

// Lines of this many elements are turned at a time: shorter pieces from many pages cost twice as much.
constexpr size_t kDeep = 128;

// out[columns, rows], rows `step` apart, = a[rows, columns] transposed, at most kDeep x 64 of it
void Across(const float* a, size_t rows, size_t columns, size_t lda, Bf16* out, size_t step) {
  alignas(64) uint32_t pairs[kDeep / 2 * 64];
  for (size_t p = 0; p + 1 < rows; p += 2) Pairs(a + p * lda, a + (p + 1) * lda, columns, pairs + p / 2 * 64);
  simd::HWY_NAMESPACE::transpose_words(pairs, 64 * 4, out, static_cast<ptrdiff_t>(step * sizeof(Bf16)),
                                       rows / 2, columns);
  if (rows % 2 == 0) return;
  const float* last = a + (rows - 1) * lda;
  for (size_t j = 0; j < columns; ++j)
    out[j * step + rows - 1].bits = static_cast<uint16_t>(nearest_one(last + j) >> 16);
}

// At most kDeep rows, from `columns` of at most 64, each `length` long and `ldb` from the next, as rows of 64
// pairs; zeros up to a multiple of 32 rows.
void Columns(const float* b, size_t length, size_t columns, size_t ldb, uint32_t* out) {
  alignas(64) uint32_t lines[64 * kDeep / 2];
  const size_t padded = (length + 31) / 32 * 32;
  if (length < padded || columns < 64) std::memset(lines, 0, sizeof lines);
  for (size_t j = 0; j < columns; ++j)
    Narrow(b + j * ldb, reinterpret_cast<Bf16*>(lines + j * kDeep / 2), length);
  simd::HWY_NAMESPACE::transpose_words(lines, kDeep / 2 * 4, out, 64 * 4, 64, padded / 2);
}

}  // namespace reel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reel {

HWY_EXPORT(Narrow);
HWY_EXPORT(Widen);
HWY_EXPORT(Pairs);
HWY_EXPORT(Round);
HWY_EXPORT(Across);
HWY_EXPORT(Columns);

namespace {

std::atomic<bool> slow{false};

// f(line, from, to) for the lines of two matrices that lie the same way, shared among threads.
template <class A, class B, class F>
void by_lines(int64_t rows, int64_t columns, Matrix<const A> from, Matrix<B> to, const F& f) {
  if ((from.col == 1) != (to.col == 1) && rows > 1 && columns > 1)
    fail("bf16: want both matrices by rows, or both by columns");
  const bool by_rows = from.col == 1;
  int64_t lines = by_rows ? rows : columns, length = by_rows ? columns : rows;
  int64_t step = by_rows ? from.row : from.col, step_to = by_rows ? to.row : to.col;
  if (step == length && step_to == length && length < 512) {  // all of it is one line
    parallel_for(lines, length, [&](int64_t begin, int64_t end) {
      f(from.data + begin * step, to.data + begin * step, static_cast<size_t>((end - begin) * length));
    });
    return;
  }
  parallel_for(lines, length, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      f(from.data + i * step, to.data + i * step_to, static_cast<size_t>(length));
  });
}

struct Room {
  void* data = nullptr;
  size_t bytes = 0;
  ~Room() { std::free(data); }
};
thread_local Room rooms[5];

template <class T, class From>
Matrix<T> room_like(int slot, int64_t rows, int64_t columns, Matrix<From> x) {
  const size_t bytes = static_cast<size_t>(rows * columns) * sizeof(T);
  const bool by_rows = x.col == 1;
  return {static_cast<T*>(thread_room(slot, bytes)), by_rows ? columns : 1, by_rows ? 1 : rows};
}

template <class T>
Matrix<const T> as_const(Matrix<T> x) {
  return {x.data, x.row, x.col};
}

// In f32: where there are no instructions for bf16, or too little to do for a library call.
void multiply_wide(int64_t m, int64_t n, int64_t k, Matrix<float> a, Matrix<float> b, Matrix<float> c,
                   float beta) {
  into_or_onto(m, n, c, beta, [&](Matrix<float> to) { gemm(m, n, k, as_const(a), as_const(b), to, 0); });
}

// Rounds to dense rows, whichever way `from` lies: oneDNN 2.6.3 has no fast kernel for a transposed A.
void by_rows(int64_t rows, int64_t columns, Matrix<const float> from, Matrix<Bf16> to) {
  if (from.col == 1) return to_bf16(rows, columns, from, to);
  constexpr int64_t kRows = 64, kColumns = 128;
  parallel_for((rows + kRows - 1) / kRows, kRows * columns, [&](int64_t begin, int64_t end) {
    for (int64_t j = 0; j < columns; j += kColumns) {
      for (int64_t i = begin * kRows; i < std::min(rows, end * kRows); i += kRows) {
        HWY_DYNAMIC_DISPATCH(Across)
        (from.data + i + j * from.col, static_cast<size_t>(std::min(kColumns, columns - j)),
         static_cast<size_t>(std::min(kRows, rows - i)), static_cast<size_t>(from.col),
         to.data + i * to.row + j, static_cast<size_t>(to.row));
      }
    }
  });
}

}  // namespace

bool bf16_is_fast() { return !slow && dnnl_wall::has_bf16(); }
void pretend_bf16_is_slow(bool pretend) { slow = pretend; }

void to_bf16(int64_t rows, int64_t columns, Matrix<const float> from, Matrix<Bf16> to) {
  by_lines(rows, columns, from, to, [](auto... x) { HWY_DYNAMIC_DISPATCH(Narrow)(x...); });
}
void from_bf16(int64_t rows, int64_t columns, Matrix<const Bf16> from, Matrix<float> to) {
  by_lines(rows, columns, from, to, [](auto... x) { HWY_DYNAMIC_DISPATCH(Widen)(x...); });
}

void* thread_room(int slot, size_t bytes) {
  Room& room = rooms[slot];
  if (room.bytes < bytes) {
    std::free(room.data);
    room.bytes = (bytes + 4095) / 4096 * 4096;
    room.data = std::aligned_alloc(64, room.bytes);
    if (!room.data) {
      room.bytes = 0;
      fail("out of memory: could not get {} bytes to convert a matrix in", bytes);
    }
  }
  return room.data;
}

void into_or_onto(int64_t m, int64_t n, Matrix<float> c, float beta, Callable<Matrix<float>> product) {
  if (beta == 0) return product(c);
  const Matrix<float> sum{static_cast<float*>(thread_room(3, static_cast<size_t>(m * n) * sizeof(float))), n,
                          1};
  product(sum);
  for (int64_t i = 0; i < m; ++i) {
    float* to = c.data + i * c.row;
    const float* from = sum.data + i * n;
    for (int64_t j = 0; j < n; ++j) to[j] += from[j];
  }
}

void gemm(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<float> c,
          float beta) {
  if (m == 0 || n == 0) return;
  if (k == 0 || !bf16_is_fast()) {
    const Matrix<float> wide_a = room_like<float>(1, m, k, a), wide_b = room_like<float>(2, k, n, b);
    from_bf16(m, k, a, wide_a);
    from_bf16(k, n, b, wide_b);
    return multiply_wide(m, n, k, wide_a, wide_b, c, beta);
  }
  in_pieces(m, n, k, 16, true, [&](int64_t i, int64_t rows, int64_t j, int64_t columns) {
    into_or_onto(rows, columns, c.from(i, j), beta, [&](Matrix<float> to) {
      dnnl_wall::matmul(rows, columns, k, a.from(i, 0), b.from(0, j), to);
    });
  });
}

void gemm_bf16(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
               float beta) {
  if (m == 0 || n == 0) return;
  if (!bf16_is_fast() || choose(m, n, k, false) == Routine::loops) {
    const Matrix<float> wide_a = room_like<float>(1, m, k, a), wide_b = room_like<float>(2, k, n, b);
    by_lines(m, k, a, wide_a, [](auto... x) { HWY_DYNAMIC_DISPATCH(Round)(x...); });
    by_lines(k, n, b, wide_b, [](auto... x) { HWY_DYNAMIC_DISPATCH(Round)(x...); });
    return multiply_wide(m, n, k, wide_a, wide_b, c, beta);
  }
  PackedMatrix right(k, n, Precision::bf16, thread_room(4, PackedMatrix::bytes(k, n, Precision::bf16)));
  right.pack(b);
  // Rows of A are rounded shortly before they are multiplied, while they are in the cache.
  constexpr int64_t kInCache = int64_t{1} << 18;  // elements
  const int64_t block = k <= 2048 ? kInCache / k / 64 * 64 : m;
  in_pieces(m, n, k, 16, false, [&](int64_t first, int64_t all, int64_t, int64_t) {
    for (int64_t i = first; i < first + all; i += block) {
      const int64_t rows = std::min(block, first + all - i);
      const Matrix<Bf16> left{
          static_cast<Bf16*>(thread_room(0, static_cast<size_t>(rows * k) * sizeof(Bf16))), k, 1};
      by_rows(rows, k, a.from(i, 0), left);
      gemm_packed(rows, as_const(left), right, c.from(i, 0), beta);
    }
  });
}

void pack_bf16_panel(int64_t k, int64_t columns, Matrix<const float> b, Bf16* panel) {
  constexpr int64_t kPanel = dnnl_wall::kPanel;
  uint32_t* out = reinterpret_cast<uint32_t*>(panel);
  static constexpr float kZeros[kPanel] = {};
  if (b.col == 1) {
    const int64_t pairs = (k + 31) / 32 * 16;
    if (columns < kPanel || k % 32 != 0) std::fill(out, out + pairs * kPanel, 0u);
    for (int64_t i = 0; i < k; i += 2) {
      const float* row = b.data + i * b.row;
      HWY_DYNAMIC_DISPATCH(Pairs)
      (row, i + 1 < k ? row + b.row : kZeros, static_cast<size_t>(columns), out + i / 2 * kPanel);
    }
    return;
  }
  for (int64_t i = 0; i < k; i += 128) {
    HWY_DYNAMIC_DISPATCH(Columns)
    (b.data + i, static_cast<size_t>(std::min<int64_t>(128, k - i)), static_cast<size_t>(columns),
     static_cast<size_t>(b.col), out + i / 2 * kPanel);
  }
}

}  // namespace reel
#endif
