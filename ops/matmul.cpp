#include "ops/matmul.h"

#include "core/kernels/bf16.h"
#include "core/kernels/gemm.h"
#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/shape.h"

#include <type_traits>
#include <utility>

namespace reel {

namespace {

// The integer attributes: whether a, b are read transposed; whether both are rounded to bf16.
Shape read(const Shape& shape, bool transposed) {
  Shape out = shape;
  const int rank = shape.rank();
  if (transposed && rank >= 2) std::swap(out[rank - 2], out[rank - 1]);
  return out;
}

Array read(const Array& array, bool transposed) {
  Array out = array;
  const auto rank = static_cast<size_t>(array.shape.rank());
  out.shape = read(array.shape, transposed);
  if (transposed) std::swap(out.strides[rank - 2], out.strides[rank - 1]);
  return out;
}

void matmul_shape(Signature& s) {
  const Shape a = read(s.in(0), s.attrs.i[0] != 0), b = read(s.in(1), s.attrs.i[1] != 0);
  const int ra = a.rank(), rb = b.rank();
  Shape batch_a, batch_b, batch;
  bool fits = ra >= 2 && rb >= 2 && a[ra - 1] == b[rb - 2];
  for (int i = 0; i + 2 < ra; ++i) batch_a.push_back(a[i]);
  for (int i = 0; i + 2 < rb; ++i) batch_b.push_back(b[i]);
  fits = fits && broadcast(batch_a, batch_b, batch);
  if (!fits) s.fail("a {} and b {}: want a[.., m, k], b[.., k, n]", a, b);
  if (s.in_dtype(0) != s.in_dtype(1) || !is_float(s.in_dtype(0))) {
    s.fail("a is {} and b is {}: want both f32 or both f64", name_of(s.in_dtype(0)), name_of(s.in_dtype(1)));
  }
  s.shape = batch;
  s.shape.push_back(a[ra - 2]);
  s.shape.push_back(b[rb - 1]);
  s.dtype = s.in_dtype(0);
}

// The matrices of an operand: rows or columns must lie next to each other, or a copy is made of it.
template <class T>
class Matrices {
 public:
  Matrices(const Array& in, const Shape& out) : array_(in) {
    const int rank = in.shape.rank();
    const int64_t rows = in.shape[rank - 2], columns = in.shape[rank - 1];
    const int64_t row = in.stride(rank - 2), column = in.stride(rank - 1);
    // An axis of size 1 has no stride to speak of.
    if ((column == 1 || columns == 1) && (row >= columns || rows == 1)) {
      row_ = rows == 1 ? columns : row;
    } else if ((row == 1 || rows == 1) && (column >= rows || columns == 1)) {
      row_ = 1;
      column_ = columns == 1 ? rows : column;
    } else {
      room_ = Buffer(static_cast<size_t>(in.shape.numel()) * sizeof(T));
      array_.data = room_.data();
      array_.strides = row_major(in.shape);
      copy(in, array_);
      row_ = columns;
    }
    Shape wide = out;  // the batch axes of the output, then this operand's matrix
    wide[out.rank() - 2] = rows;
    wide[out.rank() - 1] = columns;
    batch_ = broadcast_strides(array_.shape, array_.strides, wide);
  }

  // The operand of the index-th matrix of the output.
  Matrix<const T> at(const Shape& out, int64_t index) const {
    int64_t offset = 0;
    for (int axis = out.rank() - 2; axis-- > 0;) {
      offset += index % out[axis] * batch_[static_cast<size_t>(axis)];
      index /= out[axis];
    }
    return {array_.as<const T>() + offset, row_, column_};
  }

 private:
  Array array_;
  Buffer room_;
  Strides batch_{};
  int64_t row_ = 1, column_ = 1;
};

template <class T>
void matmul_kernel(const Exec& e) {
  const Shape& out = e.out.shape;
  const Array left = read(e.in[0], e.attrs.i[0] != 0), right = read(e.in[1], e.attrs.i[1] != 0);
  const int rank = out.rank();
  const int64_t m = out[rank - 2], n = out[rank - 1], k = left.shape[left.shape.rank() - 1];
  if (out.numel() == 0) return;
  const Matrices<T> a(left, out), b(right, out);
  [[maybe_unused]] const bool narrow = e.attrs.i[2] != 0;
  const int64_t count = out.numel() / (m * n);
  const auto product = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Matrix<T> c{e.out.as<T>() + i * m * n, n, 1};
      const T beta = e.add ? T{1} : T{0};
      if constexpr (std::is_same_v<T, float>) {
        if (narrow) {
          gemm_bf16(m, n, k, a.at(out, i), b.at(out, i), c, beta);
          continue;
        }
      }
      gemm(m, n, k, a.at(out, i), b.at(out, i), c, beta);
    }
  };
  if (count == 1) return product(0, 1);
  parallel_for(count, m * n * k / 16, product);
}

Tensor transposed(const Tensor& x) { return transpose(x, -1, -2); }

// op(a) op(b), where op transposes or not.
Tensor product(const Tensor& a, bool ta, const Tensor& b, bool tb, bool bf16);

// With A = op(a) and B = op(b): dA = dy B^T and dB = A^T dy, each transposed back where a or b was. Those of
// a bf16 product are bf16 products: the rounding of A and B counts as the identity.
void matmul_vjp(Vjp& g) {
  const bool ta = g.attrs().i[0] != 0, tb = g.attrs().i[1] != 0, narrow = g.attrs().i[2] != 0;
  if (g.needs(0)) {
    g[0] = ta ? product(g.x(1), tb, g.dy, true, narrow) : product(g.dy, false, g.x(1), !tb, narrow);
  }
  if (g.needs(1)) {
    g[1] = tb ? product(g.dy, true, g.x(0), ta, narrow) : product(g.x(0), !ta, g.dy, false, narrow);
  }
}

const Op matmul_op{
    .name = "matmul",
    .doc = "y[.., m, n] = sum over k of a[.., m, k] b[.., k, n], either operand read transposed",
    .kind = Kind::matmul,
    .shape = matmul_shape,
    .vjp = matmul_vjp,
    .inputs = 2,
    .f32 = matmul_kernel<float>,
    .f64 = matmul_kernel<double>,
    .strided = true,
    .accumulates = true,
    .samples =
        [] {
          const auto call = [](auto x) { return matmul(x[0], x[1]); };
          std::vector<Sample> samples;
          const std::vector<std::vector<Shape>> shapes = {
              {{2, 3}, {3, 4}},    {{1, 5}, {5, 1}},       {{17, 33}, {33, 19}},
              {{3}, {3, 4}},       {{2, 3}, {3}},          {{3}, {3}},
              {{2, 4, 3}, {3, 5}}, {{2, 4, 3}, {2, 3, 5}}, {{2, 1, 4, 3}, {5, 3, 2}},
              {{0, 3}, {3, 4}},    {{2, 0}, {0, 4}},       {{2, 3}, {3, 0}},
              {{1, 40}, {40, 50}}, {{70, 30}, {30, 20}},   {{0, 4, 3}, {3, 5}}};
          for (const auto& s : shapes) samples.push_back({s, call});
          const auto with_transposes = [](auto x) { return matmul(transposed(x[0]), transposed(x[1])); };
          samples.push_back({{{33, 17}, {19, 33}}, with_transposes});
          samples.push_back({{{40, 1}, {50, 40}}, with_transposes});
          samples.push_back({{{2, 3, 4}, {2, 5, 3}}, with_transposes});
          samples.push_back({{{33, 40}, {29, 40}}, [](auto x) { return matmul(x[0], transposed(x[1])); }});
          samples.push_back({{{4, 3}, {3, 4}}, [](auto x) {  // a sum of products into one place
                               return matmul(x[0], x[1]) + matmul(transposed(x[1]), transposed(x[0]));
                             }});
          return samples;
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return matmul(zeros({2, 3}), zeros({4, 5}));
                                         },
                                         "a [2, 3] and b [4, 5]: want a[.., m, k], b[.., k, n]"},
                                        {[] {
                                           return matmul(zeros({2, 2, 3}), zeros({3, 3, 5}));
                                         },
                                         "a [2, 2, 3] and b [3, 3, 5]"},
                                        {[] {
                                           return matmul(zeros({2, 3}), full({3, 5}, 0, DType::i64));
                                         },
                                         "b is i64"},
                                        {[] {
                                           return matmul(zeros({2, 3}), 2.0);
                                         },
                                         "b []"}};
        },
};
const Register matmul_registered(matmul_op);

Tensor product(const Tensor& a, bool ta, const Tensor& b, bool tb, bool bf16) {
  return record(matmul_op, {a, b}, {.i = {ta, tb, bf16}, .f = {}});
}

// What Autocast asks of a product with this operand beside others like it.
bool casts(const Arg& a) {
  return Tape::current().autocast && a.tensor() && a.tensor()->defined() && a.tensor()->dtype() == DType::f32;
}

// An operand that is a transpose is read through it, so that its gradient comes out the way round it is
// stored.
Tensor multiply(Arg a, Arg b) {
  const Tensor from_a = a.tensor() ? transposed_from(*a.tensor()) : Tensor();
  const Tensor from_b = b.tensor() ? transposed_from(*b.tensor()) : Tensor();
  return record(
      matmul_op,
      {from_a.defined() ? Arg(from_a, a.where()) : a, from_b.defined() ? Arg(from_b, b.where()) : b},
      {.i = {from_a.defined(), from_b.defined(), casts(a)}, .f = {}});
}

}  // namespace

Tensor matmul(Arg a, Arg b) {
  const Shape sa = shape_of(a, "matmul"), sb = shape_of(b, "matmul");
  if (sa.rank() == 1 && sb.rank() >= 1) {
    const Tensor y = matmul(reshape(a, {1, sa[0]}), b);
    Shape shape = y.shape();
    shape.erase(sb.rank() == 1 ? 0 : shape.rank() - 2);
    return reshape(y, shape);
  }
  if (sb.rank() == 1 && sa.rank() >= 2) {
    const Tensor y = matmul(a, reshape(b, {sb[0], 1}));
    Shape shape = y.shape();
    shape.erase(shape.rank() - 1);
    return reshape(y, shape);
  }
  if (sb.rank() == 2 && sa.rank() > 2 && sa[sa.rank() - 1] == sb[0]) {
    // One product over all rows; so is the weight's gradient.
    Shape out = sa;
    out[sa.rank() - 1] = sb[1];
    const int64_t k = sb[0];
    int64_t rows = 1;
    for (int i = 0; i + 1 < sa.rank(); ++i) rows *= sa[i];
    return reshape(multiply(Arg(reshape(a, {rows, k}), a.where()), b), out);
  }
  return multiply(a, b);
}

}  // namespace reel
