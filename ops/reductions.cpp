#include "ops/reductions.h"

#include <algorithm>
#include <limits>

#include "core/kernels/reduce.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"

namespace reel {

namespace {

// Attributes of all ops here: i[0] has a bit for each folded axis, i[1] is keepdim.
bool folds(const Attrs& attrs, int axis) { return (attrs.i[0] >> axis & 1) != 0; }

bool keeps_rows(const Attrs& attrs, const Shape& in) { return in.rank() > 0 && !folds(attrs, 0); }

Attrs folding(const Shape& shape, const Axes& axes, bool keepdim, std::string_view op, Where where) {
  int64_t mask = axes.list().empty() ? (int64_t{1} << shape.rank()) - 1 : 0;
  for (int64_t given : axes.list()) {
    const int64_t axis = given < 0 ? given + shape.rank() : given;
    if (axis < 0 || axis >= shape.rank()) {
      fail("[{}] axis {} of a value of shape {}: want {} to {}{}", op, given, shape, -shape.rank(),
           shape.rank() - 1, at(where));
    }
    if ((mask >> axis & 1) != 0)
      fail("[{}] axis {} of a value of shape {} is named twice{}", op, given, shape, at(where));
    mask |= int64_t{1} << axis;
  }
  return {.i = {mask, keepdim}, .f = {}};
}

Attrs folding(const Arg& x, const Axes& axes, bool keepdim, std::string_view op) {
  return folding(shape_of(x, op), axes, keepdim, op, x.where());
}

Shape folded(const Shape& shape, const Attrs& attrs, bool keepdim) {
  Shape out;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!folds(attrs, axis)) {
      out.push_back(shape[axis]);
    } else if (keepdim) {
      out.push_back(1);
    }
  }
  return out;
}

void folded_shape(Signature& s) {
  s.shape = folded(s.in(0), s.attrs, s.attrs.i[1] != 0);
  s.dtype = s.in_dtype(0);
}

void nonempty_folded_shape(Signature& s) {
  for (int axis = 0; axis < s.in(0).rank(); ++axis) {
    if (folds(s.attrs, axis) && s.in(0)[axis] == 0) {
      s.fail("axis {} of a value of shape {} is empty: want at least one entry, there is no other answer",
             axis, s.in(0));
    }
  }
  folded_shape(s);
}

template <Fold fold>
void fold_kernel(const Exec& e) {
  Array out = e.out;
  out.shape = folded(e.in[0].shape, e.attrs, true);
  out.strides = row_major(out.shape);
  reduce(fold, e.in[0], out);
}

// The reference: every entry of x in turn onto the entry of y that it belongs to.
template <Fold fold>
void fold_reference(const Exec& e) {
  const Array& x = e.in[0];
  const Shape kept = folded(x.shape, e.attrs, true);
  const Strides to = broadcast_strides(kept, row_major(kept), x.shape);
  const double inf = std::numeric_limits<double>::infinity();
  auto* y = e.out.as<double>();
  std::fill(y, y + e.out.shape.numel(), fold == Fold::sum ? 0 : fold == Fold::max ? -inf : inf);
  for (int64_t i = 0, n = x.shape.numel(); i < n; ++i) {
    int64_t rest = i, from = 0, at = 0;
    for (int axis = x.shape.rank(); axis-- > 0;) {
      const int64_t index = rest % x.shape[axis];
      rest /= x.shape[axis];
      from += index * x.stride(axis);
      at += index * to[static_cast<size_t>(axis)];
    }
    const double entry = x.as<double>()[from];
    if (fold == Fold::sum) {
      y[at] += entry;
    } else if (entry != entry || (fold == Fold::max ? entry > y[at] : entry < y[at])) {
      y[at] = entry;
    }
  }
}

Tensor spread_like(const Tensor& y, const Attrs& attrs, const Shape& shape);

using Reducer = Tensor (*)(Arg, const Axes&, bool);

std::vector<Sample> reduction_samples(Reducer f) {
  const auto over = [f](Axes axes, bool keepdim) {
    return [=](std::span<const Tensor> x) { return f(x[0], axes, keepdim); };
  };
  return {{{{2, 3}}, over({}, false)},
          {{{}}, over({}, false)},
          {{{2, 3}}, over({}, true)},
          {{{4, 1, 5}}, over({1}, false)},
          {{{4, 2, 5}}, over({1}, false)},
          {{{3, 4, 17}}, over({0, -1}, false)},
          {{{3, 4, 17}}, over({-1, 1}, true)},
          {{{2, 3, 2, 3}}, over({1, 3}, false)},
          {{{0, 3}}, over({1}, false)},
          {{{5, 300}}, over({-1}, false)},
          {{{37, 5}}, over({0}, false)},
          {{{17, 2, 3}}, [f](auto x) {
             return f(broadcast_to(x[0], {4, 17, 2, 3}), {0, 2}, false);
           }}};
}

std::vector<BadSample> reduction_bad(Reducer f) {
  return {{[f] {
             return f(zeros({2, 3}), {2}, false);
           },
           "axis 2 of a value of shape [2, 3]"},
          {[f] {
             return f(zeros({2, 3}), {-3}, false);
           },
           "want -2 to 1"},
          {[f] {
             return f(zeros({2, 3}), {1, -1}, false);
           },
           "axis -1 of a value of shape [2, 3] is named twice"},
          {[f] { return f(Tensor(), {}, false); }, "undefined"}};
}

std::vector<BadSample> extreme_bad(Reducer f) {
  std::vector<BadSample> bad = reduction_bad(f);
  bad.push_back({[f] { return f(zeros({2, 0}), {1}, false); }, "axis 1 of a value of shape [2, 0] is empty"});
  bad.push_back({[f] { return f(zeros({2, 0}), {}, false); }, "want at least one entry"});
  return bad;
}

const Op sum_op{
    .name = "sum",
    .doc = "y = sum of x over axes",
    .kind = Kind::reduction,
    .shape = folded_shape,
    .vjp = [](Vjp& g) { g[0] = spread_like(g.dy, g.attrs(), g.x(0).shape()); },
    .f32 = fold_kernel<Fold::sum>,
    .f64 = fold_reference<Fold::sum>,
    .strided = true,
    .row_by_row = keeps_rows,
    .samples =
        [] {
          std::vector<Sample> samples = reduction_samples(sum);
          samples.push_back({{{0, 3}}, [](auto x) { return sum(x[0], 0); }});
          samples.push_back({{{2, 0, 3}}, [](auto x) { return sum(x[0]); }});
          return samples;
        },
    .bad = [] { return reduction_bad(sum); },
};
const Register sum_registered(sum_op);

// dy in equal shares to all entries that are the extreme one.
void extreme_vjp(Vjp& g) {
  const Tensor x = g.x(0);
  const Tensor chosen = equal(x, spread_like(g.y(), g.attrs(), x.shape()));
  const Tensor ties = record(sum_op, {to(chosen, x.dtype())}, g.attrs());
  g[0] = where(chosen, spread_like(g.dy / ties, g.attrs(), x.shape()), 0.0);
}

const Op amax_op{
    .name = "amax",
    .doc = "y = largest entry of x over axes; the gradient is shared evenly among ties",
    .kind = Kind::reduction,
    .shape = nonempty_folded_shape,
    .vjp = extreme_vjp,
    .f32 = fold_kernel<Fold::max>,
    .f64 = fold_reference<Fold::max>,
    .strided = true,
    .row_by_row = keeps_rows,
    .samples = [] { return reduction_samples(amax); },
    .bad = [] { return extreme_bad(amax); },
};
const Register amax_registered(amax_op);

const Op amin_op{
    .name = "amin",
    .doc = "y = smallest entry of x over axes; the gradient is shared evenly among ties",
    .kind = Kind::reduction,
    .shape = nonempty_folded_shape,
    .vjp = extreme_vjp,
    .f32 = fold_kernel<Fold::min>,
    .f64 = fold_reference<Fold::min>,
    .strided = true,
    .row_by_row = keeps_rows,
    .samples = [] { return reduction_samples(amin); },
    .bad = [] { return extreme_bad(amin); },
};
const Register amin_registered(amin_op);

const Op spread_op{
    .name = "spread",
    .doc = "y = x repeated along axes that it lacks (or has with size 1); the transpose of sum",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          const Shape want = folded(s.shape, s.attrs, s.attrs.i[1] != 0);
          if (!(s.in(0) == want)) s.fail("x {} to {}: want x {}", s.in(0), s.shape, want);
        },
    .vjp = [](Vjp& g) { g[0] = record(sum_op, {g.dy}, g.attrs()); },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          for (int axis = 0, from = 0; axis < out.shape.rank(); ++axis) {
            const bool folded = folds(attrs, axis);
            out.strides[static_cast<size_t>(axis)] = folded ? 0 : in.stride(from);
            if (!folded || attrs.i[1] != 0) ++from;
          }
          return true;
        },
    .row_by_row = keeps_rows,
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{2, 3}},
                                      [](auto x) {
                                        return spread(x[0], 1, false, {2, 4, 3});
                                      }},
                                     {{{2, 1, 17}},
                                      [](auto x) {
                                        return spread(x[0], 1, true, {2, 4, 17});
                                      }},
                                     {{{}},
                                      [](auto x) {
                                        return spread(x[0], {}, false, {2, 3});
                                      }},
                                     {{{3}}, [](auto x) {
                                        return spread(x[0], {0, 2}, false, {2, 3, 0});
                                      }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return spread(zeros({2, 3}), 1, false, {2, 4});
                                         },
                                         "want x [2]"},
                                        {[] {
                                           return spread(zeros({2}), 3, false, {2, 4});
                                         },
                                         "axis 3"}};
        },
};
const Register spread_registered(spread_op);

Tensor spread_like(const Tensor& y, const Attrs& attrs, const Shape& shape) {
  const Arg in = y;
  return record(spread_op, {&in, 1}, {.attrs = attrs, .shape = shape, .list = {}});
}

int64_t entries(const Arg& x, const Axes& axes, std::string_view op) {
  const Shape shape = shape_of(x, op);
  const Attrs attrs = folding(shape, axes, true, op, x.where());
  int64_t n = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) n *= folds(attrs, axis) ? shape[axis] : 1;
  return n;
}

void want_float(const Arg& x, std::string_view op) {
  if (x.tensor() && !is_float(x.tensor()->dtype())) {
    fail("[{}] the argument is {}: want f32 or f64, or to(x, dtype)", op, name_of(x.tensor()->dtype()));
  }
}

}  // namespace

Axes::Axes(std::span<const int64_t> axes) : count_(axes.size()) {
  if (axes.size() > axes_.size())
    fail("{} axes to fold: want at most {}, each once", axes.size(), axes_.size());
  std::copy(axes.begin(), axes.end(), axes_.begin());
}

Axes Axes::last(int64_t count) {
  std::vector<int64_t> axes;
  for (int64_t k = 1; k <= count; ++k) axes.push_back(-k);
  return axes;
}

Tensor sum(Arg x, const Axes& axes, bool keepdim) {
  const Attrs attrs = folding(x, axes, keepdim, "sum");
  if (x.tensor() && x.tensor()->dtype() == DType::boolean) {
    return record(sum_op, {Arg(to(x, DType::i64), x.where())}, attrs);
  }
  return record(sum_op, {x}, attrs);
}

Tensor mean(Arg x, const Axes& axes, bool keepdim) {
  const int64_t n = entries(x, axes, "mean");
  want_float(x, "mean");
  return sum(x, axes, keepdim) / static_cast<double>(n);
}

Tensor var(Arg x, const Axes& axes, int64_t correction, bool keepdim) {
  const int64_t n = entries(x, axes, "var");
  want_float(x, "var");
  return sum(square(x - mean(x, axes, true)), axes, keepdim) /
         static_cast<double>(std::max<int64_t>(n - correction, 0));
}

Tensor amax(Arg x, const Axes& axes, bool keepdim) {
  return record(amax_op, {x}, folding(x, axes, keepdim, "amax"));
}
Tensor amin(Arg x, const Axes& axes, bool keepdim) {
  return record(amin_op, {x}, folding(x, axes, keepdim, "amin"));
}

Tensor spread(Arg x, const Axes& axes, bool keepdim, const Shape& shape) {
  return record(spread_op, {&x, 1},
                {.attrs = folding(shape, axes, keepdim, "spread", x.where()), .shape = shape, .list = {}});
}

}  // namespace reel
