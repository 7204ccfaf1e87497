#include "ops/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/reductions.h"
#include "ops/rows.h"

namespace reel {

namespace {

// i[0] is the number of last axes that form a row, f[0] is eps.
int64_t row_size(const Shape& shape, const Attrs& attrs) {
  int64_t n = 1;
  for (int axis = shape.rank() - static_cast<int>(attrs.i[0]); axis < shape.rank(); ++axis) n *= shape[axis];
  return n;
}

// The two ops are each other's gradients.
Tensor deviation_inverse(const Tensor& x, const Attrs& attrs);
Tensor normalized(const Tensor& x, const Attrs& attrs);

bool by_rows(const Attrs& attrs, const Shape& in) { return attrs.i[0] < in.rank(); }

void same_shape(Signature& s) {
  s.want_float(0);
  s.shape = s.in(0);
  s.dtype = s.in_dtype(0);
}

// The mean and 1 / sqrt(variance + eps) of a row. A row of nothing has variance 0.
struct Scale {
  float mean, inverse;
  Scale(const float* x, int64_t n, double eps) {
    const auto size = static_cast<size_t>(n);
    const auto count = static_cast<float>(std::max<int64_t>(n, 1));
    mean = simd::sum(x, size) / count;
    inverse = 1 / std::sqrt(simd::sum_of_squares(x, mean, size) / count + static_cast<float>(eps));
  }
};

void normalize_kernel(const Exec& e) {
  const int64_t n = row_size(e.in[0].shape, e.attrs);
  if (n == 0) return;
  parallel_for(e.in[0].shape.numel() / n, n * 2, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = e.in[0].as<float>() + row * n;
      const Scale scale(x, n, e.attrs.f[0]);
      simd::affine(x, scale.mean, scale.inverse, e.out.as<float>() + row * n, static_cast<size_t>(n));
    }
  });
}

void deviation_inverse_kernel(const Exec& e) {
  const int64_t n = row_size(e.in[0].shape, e.attrs);
  parallel_for(e.out.shape.numel(), n * 2, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      e.out.as<float>()[row] = Scale(e.in[0].as<float>() + row * n, n, e.attrs.f[0]).inverse;
  });
}

struct Moments {
  double mean = 0, variance = 0;
  Moments(const double* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
  }
};

void normalize_reference(const Exec& e) {
  const int64_t n = row_size(e.in[0].shape, e.attrs), size = e.out.shape.numel();
  for (int64_t first = 0; first < size; first += n) {
    const double* x = e.in[0].as<double>() + first;
    const Moments m(x, n);
    for (int64_t i = 0; i < n; ++i)
      e.out.as<double>()[first + i] = (x[i] - m.mean) / std::sqrt(m.variance + e.attrs.f[0]);
  }
}

void deviation_inverse_reference(const Exec& e) {
  const int64_t n = row_size(e.in[0].shape, e.attrs);
  for (int64_t row = 0; row < e.out.shape.numel(); ++row) {
    const Moments m(e.in[0].as<double>() + row * n, n);
    e.out.as<double>()[row] = 1 / std::sqrt(m.variance + e.attrs.f[0]);
  }
}

std::vector<Sample> row_samples(Tensor (*f)(const Tensor&, const Attrs&)) {
  const auto over = [f](int64_t axes, double eps) {
    return [=](std::span<const Tensor> x) { return f(x[0], {.i = {axes}, .f = {eps}}); };
  };
  return {{{{2, 3}}, over(1, 1e-5)},   {{{5, 17}}, over(1, 1e-5)}, {{{4, 2, 3}}, over(2, 0.1)},
          {{{3, 1}}, over(1, 0.5)},    {{{6}}, over(1, 1e-5)},     {{{0, 3}}, over(1, 1e-5)},
          {{{2, 300}}, over(1, 1e-5)}, {{{3, 5}}, over(2, 1e-5)},  {{{2, 0}}, over(1, 1e-5)}};
}

const Op normalize_op{
    .name = "normalize",
    .doc =
        "y = r (x - mean), r = 1 / sqrt(variance + eps) over the last axes; dx = r (dy - mean dy - y mean(y "
        "dy))",
    .shape = same_shape,
    .vjp =
        [](Vjp& g) {
          const Axes row = Axes::last(g.attrs().i[0]);
          const Tensor y = g.y(), r = deviation_inverse(g.x(0), g.attrs());
          g[0] = r * (g.dy - mean(g.dy, row, true) - y * mean(g.dy * y, row, true));
        },
    .f32 = normalize_kernel,
    .f64 = normalize_reference,
    .row_by_row = by_rows,
    .samples = [] { return row_samples(normalized); },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return normalize(zeros({2, 3}), 3);
                                         },
                                         "the last 3 axes of a value of shape [2, 3]"},
                                        {[] {
                                           return normalize(zeros({2, 3}), 0);
                                         },
                                         "want 1 to 2"},
                                        {[] {
                                           return layer_norm(zeros({2, 3}), zeros({2}), 0.0);
                                         },
                                         "x [2, 3] and weight [2]"},
                                        {[] {
                                           return layer_norm(zeros({2, 3}), zeros({3}), zeros({2, 3}));
                                         },
                                         "weight [3] and bias [2, 3]"},
                                        {[] {
                                           return layer_norm(zeros({2, 3}), zeros({}), 0.0);
                                         },
                                         "weight []"}};
        },
};
const Register normalize_registered(normalize_op);

const Op deviation_inverse_op{
    .name = "deviation_inverse",
    .doc =
        "r = 1 / sqrt(variance + eps) over the last axes, which stay with size 1; dx = -dr r^2 normalize(x) "
        "/ n",
    .shape =
        [](Signature& s) {
          same_shape(s);
          for (int64_t k = 1; k <= s.attrs.i[0]; ++k) s.shape[s.shape.rank() - static_cast<int>(k)] = 1;
        },
    .vjp =
        [](Vjp& g) {
          const auto n = static_cast<double>(std::max<int64_t>(row_size(g.x(0).shape(), g.attrs()), 1));
          g[0] = g.dy * square(g.y()) / -n * normalized(g.x(0), g.attrs());
        },
    .f32 = deviation_inverse_kernel,
    .f64 = deviation_inverse_reference,
    .row_by_row = by_rows,
    .samples = [] { return row_samples(deviation_inverse); },
};
const Register deviation_inverse_registered(deviation_inverse_op);

Tensor normalized(const Tensor& x, const Attrs& attrs) { return record(normalize_op, {x}, attrs); }
Tensor deviation_inverse(const Tensor& x, const Attrs& attrs) {
  return record(deviation_inverse_op, {x}, attrs);
}

}  // namespace

Tensor normalize(Arg x, int64_t axes, double eps) {
  const Shape shape = shape_of(x, "normalize");
  if (axes < 1 || axes > shape.rank()) {
    fail("[normalize] the last {} axes of a value of shape {}: want 1 to {}{}", axes, shape, shape.rank(),
         at(x.where()));
  }
  return record(normalize_op, {x}, {.i = {axes}, .f = {eps}});
}

Tensor layer_norm(Arg x, const Tensor& weight, Arg bias, double eps, Where where) {
  const Shape shape = shape_of(x, "layer_norm"), row = shape_of(Arg(weight, where), "layer_norm");
  const int first = shape.rank() - row.rank();
  if (row.rank() == 0 || first < 0 || !std::equal(row.begin(), row.end(), shape.begin() + first)) {
    fail("[layer_norm] x {} and weight {}: want x [.., *weight.shape] and a weight of one axis or more{}",
         shape, row, at(where));
  }
  const Shape shift = shape_of(bias, "layer_norm");
  if (bias.tensor() && !(shift == row)) {
    fail("[layer_norm] weight {} and bias {}: want one shape{}", row, shift, at(where));
  }
  return normalize(x, row.rank(), eps) * weight + bias;
}

}  // namespace reel
