#include "ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "ops/arithmetic.h"
#include "ops/reductions.h"
#include "ops/rows.h"

namespace reel {

namespace {

// i[0] is the axis, i[1] keepdim where the axis is folded.
int axis_in(const Attrs& attrs) { return static_cast<int>(attrs.i[0]); }

// A contiguous value as [outer, n, inner], with the axis in the middle: outer * inner lines of n entries.
struct Lines {
  int64_t outer = 1, n = 1, inner = 1;
  Lines(const Shape& shape, int axis) : n(shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
};

void same_shape(Signature& s) {
  s.want_float(0);
  s.shape = s.in(0);
  s.dtype = s.in_dtype(0);
}

using RowKernel = void (*)(const float* x, float* y, int64_t n);

// Several neighbouring lines at a time, turned into rows and back.
void run_turned(const Exec& e, const Lines& l, int64_t results, RowKernel row) {
  const int64_t width = std::clamp<int64_t>(65536 / std::max<int64_t>(l.n, 1), 1, 16);
  const int64_t tiles = (l.inner + width - 1) / width;
  parallel_for(l.outer * tiles, width * l.n * 4, [&](int64_t begin, int64_t end) {
    std::vector<float> x(static_cast<size_t>(width * l.n)), y(static_cast<size_t>(width * results));
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t o = tile / tiles, first = tile % tiles * width, count = std::min(width, l.inner - first);
      const float* from = e.in[0].as<float>() + o * l.n * l.inner + first;
      float* to = e.out.as<float>() + o * results * l.inner + first;
      for (int64_t i = 0; i < l.n; ++i) {
        for (int64_t c = 0; c < count; ++c) x[static_cast<size_t>(c * l.n + i)] = from[i * l.inner + c];
      }
      for (int64_t c = 0; c < count; ++c) row(x.data() + c * l.n, y.data() + c * results, l.n);
      for (int64_t i = 0; i < results; ++i) {
        for (int64_t c = 0; c < count; ++c) to[i * l.inner + c] = y[static_cast<size_t>(c * results + i)];
      }
    }
  });
}

// y's line for each line of x: n results, or one.
void run_lines(const Exec& e, bool folded, RowKernel row) {
  const Lines l(e.in[0].shape, axis_in(e.attrs));
  const int64_t results = folded ? 1 : l.n;
  if (l.inner != 1) return run_turned(e, l, results, row);
  parallel_for(l.outer, l.n * 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      row(e.in[0].as<float>() + o * l.n, e.out.as<float>() + o * results, l.n);
  });
}

void softmax_row(const float* x, float* y, int64_t n) {
  const auto size = static_cast<size_t>(n);
  scale(y, 1 / simd::exp_shifted(x, simd::max(x, size), y, size), n);
}

void log_softmax_row(const float* x, float* y, int64_t n) {
  const MaxAndSum r = max_and_sum_of_exp(x, n);
  const float log_sum = std::log(r.sum);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] - r.max - log_sum;
}

bool by_rows(const Attrs& attrs, const Shape&) { return attrs.i[0] > 0; }

void logsumexp_row(const float* x, float* y, int64_t n) {
  const MaxAndSum r = max_and_sum_of_exp(x, n);
  *y = std::isinf(r.max) ? r.max : r.max + std::log(r.sum);
}

// The reference: the formulas, line by line.
struct Reference {
  const double* x;
  double* y;
  int64_t n, step;
  double at(int64_t i) const { return x[i * step]; }
  double max() const {
    double top = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < n; ++i) top = at(i) > top || std::isnan(at(i)) ? at(i) : top;
    return top;
  }
  double sum_of_exp(double shift) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(at(i) - shift);
    return sum;
  }
};

template <class Line>
void reference(const Exec& e, bool folded, const Line& line) {
  const Lines l(e.in[0].shape, axis_in(e.attrs));
  for (int64_t o = 0; o < l.outer; ++o) {
    for (int64_t k = 0; k < l.inner; ++k) {
      line(Reference{e.in[0].as<double>() + o * l.n * l.inner + k,
                     e.out.as<double>() + o * (folded ? 1 : l.n) * l.inner + k, l.n, l.inner});
    }
  }
}

void softmax_reference(const Exec& e) {
  reference(e, false, [](const Reference& r) {
    const double max = r.max(), sum = r.sum_of_exp(max);
    for (int64_t i = 0; i < r.n; ++i) r.y[i * r.step] = std::exp(r.at(i) - max) / sum;
  });
}

void log_softmax_reference(const Exec& e) {
  reference(e, false, [](const Reference& r) {
    const double max = r.max(), log_sum = std::log(r.sum_of_exp(max));
    for (int64_t i = 0; i < r.n; ++i) r.y[i * r.step] = r.at(i) - max - log_sum;
  });
}

void logsumexp_reference(const Exec& e) {
  reference(e, true, [](const Reference& r) {
    const double max = r.max();
    *r.y = std::isinf(max) ? max : max + std::log(r.sum_of_exp(max));
  });
}

std::vector<Sample> axis_samples(Tensor (*f)(Arg, int64_t)) {
  const auto over = [f](int64_t axis) { return [=](std::span<const Tensor> x) { return f(x[0], axis); }; };
  return {{{{2, 3}}, over(-1)},     {{{5}}, over(0)},
          {{{3, 1}}, over(1)},      {{{4, 5}}, over(0)},
          {{{2, 19, 3}}, over(1)},  {{{3, 2, 37}}, over(2)},
          {{{0, 3}}, over(1)},      {{{2, 0}}, over(0)},
          {{{3, 5, 21}}, over(-3)}, {{{2, 600}}, over(-1), -30, 30}};
}

std::vector<BadSample> axis_bad(Tensor (*f)(Arg, int64_t)) {
  return {{[f] {
             return f(zeros({2, 3}), 2);
           },
           "axis 2 of a value of shape [2, 3]"},
          {[f] { return f(zeros({}), 0); }, "axis 0 of a value of shape []"},
          {[f] {
             return f(Tensor::from(std::vector<int64_t>{1, 2}, {2}), 0);
           },
           "want f32 or f64"}};
}

const Op softmax_op{
    .name = "softmax",
    .doc = "y = e^x / sum e^x over one axis; dx = y (dy - sum y dy)",
    .shape = same_shape,
    .vjp =
        [](Vjp& g) {
          const Tensor y = g.y(), weighted = g.dy * y;
          g[0] = weighted - y * sum(weighted, g.attrs().i[0], true);
        },
    .f32 = [](const Exec& e) { run_lines(e, false, softmax_row); },
    .f64 = softmax_reference,
    .row_by_row = by_rows,
    .in_place = true,
    .samples = [] { return axis_samples(softmax); },
    .bad = [] { return axis_bad(softmax); },
};
const Register softmax_registered(softmax_op);

const Op log_softmax_op{
    .name = "log_softmax",
    .doc = "y = x - log sum e^x over one axis; dx = dy - e^y sum dy",
    .shape = same_shape,
    .vjp = [](Vjp& g) { g[0] = g.dy - exp(g.y()) * sum(g.dy, g.attrs().i[0], true); },
    .f32 = [](const Exec& e) { run_lines(e, false, log_softmax_row); },
    .f64 = log_softmax_reference,
    .row_by_row = by_rows,
    .in_place = true,
    .samples = [] { return axis_samples(log_softmax); },
    .bad = [] { return axis_bad(log_softmax); },
};
const Register log_softmax_registered(log_softmax_op);

const Op logsumexp_op{
    .name = "logsumexp",
    .doc = "y = log sum e^x over one axis; dx = dy e^(x - y)",
    .shape =
        [](Signature& s) {
          same_shape(s);
          const auto axis = axis_in(s.attrs);
          if (s.attrs.i[1] != 0) {
            s.shape[axis] = 1;
          } else {
            s.shape.erase(axis);
          }
        },
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0);
          const auto back = [&](const Tensor& t) {
            return spread(t, g.attrs().i[0], g.attrs().i[1] != 0, x.shape());
          };
          g[0] = back(g.dy) * exp(x - back(g.y()));
        },
    .f32 = [](const Exec& e) { run_lines(e, true, logsumexp_row); },
    .f64 = logsumexp_reference,
    .row_by_row = by_rows,
    .samples =
        [] {
          std::vector<Sample> samples = axis_samples([](Arg x, int64_t axis) { return logsumexp(x, axis); });
          samples.push_back({{{2, 5, 3}}, [](auto x) { return logsumexp(x[0], 1, true); }});
          return samples;
        },
    .bad = [] { return axis_bad([](Arg x, int64_t axis) { return logsumexp(x, axis); }); },
};
const Register logsumexp_registered(logsumexp_op);

}  // namespace

Tensor softmax(Arg x, int64_t axis) {
  return record(softmax_op, {x}, {.i = {axis_of(x, axis, "softmax")}, .f = {}});
}

Tensor log_softmax(Arg x, int64_t axis) {
  return record(log_softmax_op, {x}, {.i = {axis_of(x, axis, "log_softmax")}, .f = {}});
}

Tensor logsumexp(Arg x, int64_t axis, bool keepdim) {
  return record(logsumexp_op, {x}, {.i = {axis_of(x, axis, "logsumexp"), keepdim}, .f = {}});
}

}  // namespace reel
