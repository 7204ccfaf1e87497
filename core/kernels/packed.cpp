#include "core/kernels/packed.h"

#include <algorithm>

#include "core/error.h"
#include "core/kernels/bf16.h"
#include "core/kernels/one_row.h"
#include "core/kernels/panel_gemm.h"
#include "core/kernels/parallel.h"
#include "core/kernels/small_gemm.h"

namespace reel {

namespace {

constexpr int64_t kOneRow = int64_t{1} << 17;  // elements that a core's cache holds beside all else

// f32 is multiplied by blocks of our own, bf16 by oneDNN where it has instructions for it.
int64_t panel_columns(bool fast) { return fast ? dnnl_wall::kPanel : small_gemm_columns(); }

dnnl_wall::PackedLayout layout_for(int64_t k, int64_t n, bool fast) {
  if (k == 0 || n == 0) return {};
  if (fast) return dnnl_wall::packed_layout(k, n);
  const int64_t wide = panel_columns(fast);
  const auto panel = static_cast<size_t>(k * wide) * sizeof(float);
  return {.bytes = static_cast<size_t>((n + wide - 1) / wide) * panel, .panel_bytes = panel};
}

// A in f32, rounded to bf16: what a machine without bf16 multiplies.
Matrix<const float> rounded(int64_t m, int64_t k, Matrix<const Bf16> a) {
  const bool by_rows = a.col == 1;
  const Matrix<float> out{static_cast<float*>(thread_room(1, static_cast<size_t>(m * k) * sizeof(float))),
                          by_rows ? k : 1, by_rows ? 1 : m};
  from_bf16(m, k, a, out);
  return {out.data, out.row, out.col};
}

Matrix<const Bf16> narrowed(int64_t m, int64_t k, Matrix<const float> a) {
  const bool by_rows = a.col == 1;
  const Matrix<Bf16> out{static_cast<Bf16*>(thread_room(0, static_cast<size_t>(m * k) * sizeof(Bf16))),
                         by_rows ? k : 1, by_rows ? 1 : m};
  to_bf16(m, k, a, out);
  return {out.data, out.row, out.col};
}

}  // namespace

size_t PackedMatrix::bytes(int64_t k, int64_t n, Precision precision) {
  return layout_for(k, n, precision == Precision::bf16 && bf16_is_fast()).bytes;
}

PackedMatrix::PackedMatrix(int64_t k, int64_t n, Precision precision, void* memory)
    : k_(k),
      n_(n),
      precision_(precision),
      fast_(precision == Precision::bf16 && bf16_is_fast()),
      layout_(layout_for(k, n, fast_)),
      data_(memory) {
  if (data_) return;
  own_ = Buffer(layout_.bytes);
  data_ = own_.data();
}

size_t PackedMatrix::size() const {
  return one_row_ ? one_row_floats(k_, n_) * sizeof(float) : layout_.bytes;
}

PackedMatrix PackedMatrix::for_one_row(int64_t k, int64_t n, void* memory) {
  PackedMatrix made;
  made.k_ = k;
  made.n_ = n;
  made.one_row_ = true;
  if (!memory) made.own_ = Buffer(made.size());
  made.data_ = memory ? memory : made.own_.data();
  return made;
}

void PackedMatrix::pack(Matrix<const float> b) {
  if (k_ == 0 || n_ == 0) return;
  if (one_row_) return pack_for_one_row(k_, n_, b, static_cast<float*>(data_));
  const bool narrow = precision_ == Precision::bf16;
  const int64_t wide = panel_columns(fast_), panels = (n_ + wide - 1) / wide;
  const auto part = [&](int64_t begin, int64_t end) {  // panels
    std::byte* to = static_cast<std::byte*>(data_) + static_cast<size_t>(begin) * layout_.panel_bytes;
    if (layout_.panel_bytes == 0) {
      const int64_t columns = std::min(n_, end * wide) - begin * wide;
      return dnnl_wall::reorder(k_, columns, b.from(0, begin * wide), to);
    }
    for (int64_t p = begin; p < end; ++p, to += layout_.panel_bytes) {
      const int64_t columns = std::min(wide, n_ - p * wide);
      if (fast_) {
        pack_bf16_panel(k_, columns, b.from(0, p * wide), reinterpret_cast<Bf16*>(to));
      } else {
        pack_panel(k_, columns, b.from(0, p * wide), reinterpret_cast<float*>(to), wide);
      }
    }
  };
  if (narrow && !fast_) {
    const Matrix<const Bf16> once = narrowed(k_, n_, b);
    b = rounded(k_, n_, once);
  }
  if (layout_.panel_bytes == 0) return part(0, panels);
  parallel_for(panels, k_ * wide, part);
}

template <class T>
void gemm_packed(int64_t m, Matrix<const T> a, const PackedMatrix& b, Matrix<float> c, float beta) {
  const int64_t n = b.n_, k = b.k_;
  constexpr bool narrow_a = !std::is_same_v<T, float>;
  if (narrow_a && b.precision_ != Precision::bf16)
    fail("gemm_packed: A is bf16 and B is f32, want both in bf16");
  if (m == 0 || n == 0) return;
  if constexpr (!narrow_a) {
    if (b.one_row_) {
      for (int64_t i = 0; i < m; ++i) {
        row_times_packed(c.data + i * c.row, a.data + i * a.row, a.col, k, static_cast<const float*>(b.data_),
                         n, beta != 0);
      }
      return;
    }
  }
  if (k == 0) return gemm(m, n, 0, Matrix<const float>{nullptr, 0, 1}, {nullptr, 0, 1}, c, beta);
  // In bf16 by rows alone: where the rows of C do not lie together, oneDNN 2.6 can fall back to its reference
  // code, at a hundredth of the speed.
  in_pieces(m, n, k, 8, !b.fast_, [&](int64_t i, int64_t rows, int64_t j, int64_t columns) {
    const Matrix<const T> mine = a.from(i, 0);
    const Matrix<float> part = c.from(i, j);
    if (b.fast_) {
      Matrix<const Bf16> left{};
      if constexpr (narrow_a) {
        left = mine;
      } else {
        left = narrowed(rows, k, mine);
      }
      return into_or_onto(rows, columns, part, beta, [&](Matrix<float> to) {
        dnnl_wall::matmul_packed(rows, columns, k, left, b.data_, to);
      });
    }
    Matrix<const float> left{};
    if constexpr (narrow_a) {
      left = rounded(rows, k, mine);
    } else {
      left = b.precision_ == Precision::bf16 ? rounded(rows, k, narrowed(rows, k, mine)) : mine;
    }
    const int64_t wide = panel_columns(false), blocks = (k + kDeep - 1) / kDeep;
    for (int64_t at = 0; at < columns; at += wide) {
      const auto* panel = static_cast<const float*>(b.data_) + (j + at) * k;  // pieces begin where panels do
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t p = k * block / blocks, deep = k * (block + 1) / blocks - p;
        small_gemm_padded(rows, std::min(wide, columns - at), deep, left.from(0, p),
                          {panel + p * wide, wide, 1}, part.from(0, at), p > 0 ? 1 : beta);
      }
    }
  });
}
template void gemm_packed(int64_t, Matrix<const float>, const PackedMatrix&, Matrix<float>, float);
template void gemm_packed(int64_t, Matrix<const Bf16>, const PackedMatrix&, Matrix<float>, float);

// With one row B is read from the cache, in which it lies, and rows that begin where cache lines do are read
// twice as fast; transposed, products need no sums across lanes. An element of B costs 0.1 ns to pack, 0.3 if
// transposed. At 16 rows (32 flops an element) a product then takes 0.13 instead of 0.15 ns an element,
// transposed instead of 0.20; from some 640 rows on there is nothing to gain but the transposed read. In bf16
// B is packed for every product anyhow.
bool worth_packing(int64_t m, int64_t n, int64_t k, bool transposed, int64_t uses, Precision precision) {
  if (precision == Precision::bf16) return uses >= 2 && choose(m, n, k, transposed) != Routine::loops;
  if (m == 1) return uses >= 4 && k * n <= kOneRow && (transposed || n % 16 != 0);
  if (choose(m, n, k, transposed) == Routine::loops) return false;
  if (transposed) return uses >= 4;
  return m <= 512 && uses >= 8;
}

}  // namespace reel
