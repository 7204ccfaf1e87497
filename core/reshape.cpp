// reshape: the same elements, row by row, under another shape; stretch: some of them.
#include "core/structural.h"

namespace reel {

namespace {

// Strides that read the same elements in the same order under out's shape; false where there are none. Axes
// of `in` that follow each other in memory form runs, and each run must be made of whole axes of `out`.
bool restride(const Array& in, const Attrs&, Array& out) {
  out.strides = row_major(out.shape);
  if (in.shape.numel() == 0 || in.contiguous()) return true;
  int to = out.shape.rank() - 1;
  for (int axis = in.shape.rank() - 1; axis >= 0; --axis) {
    if (in.shape[axis] == 1) continue;
    const int64_t step = in.stride(axis);
    int64_t run = in.shape[axis], taken = 1;
    while (axis > 0 && (in.shape[axis - 1] == 1 || in.stride(axis - 1) == run * step))
      run *= in.shape[--axis];
    for (; taken < run && to >= 0; --to) {
      out.strides[static_cast<size_t>(to)] = taken * step;
      taken *= out.shape[to];
    }
    if (taken != run) return false;
  }
  return true;
}

}  // namespace

const Op reshape_op{
    .name = "reshape",
    .doc = "y = the elements of x, row by row, under another shape",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          if (checked_numel(s.shape) != s.in(0).numel()) {
            s.fail("x {} to {}: {} elements do not fit {}", s.in(0), s.shape, s.in(0).numel(),
                   s.shape.numel());
          }
        },
    .vjp = [](Vjp& g) { g[0] = reshaped(g.dy, g.x(0).shape()); },
    .view = restride,
    .shape_is_argument = true,
};
namespace {
const Register reshape_registered(reshape_op);
}

Tensor reshaped(const Tensor& x, const Shape& shape) {
  return x.shape() == shape ? x : record(reshape_op, {{Arg(x)}}, {.attrs = {}, .shape = shape, .list = {}});
}

// ---- stretch: parts of a result that holds several values, one behind another ----

const Op stretch_op{
    .name = "stretch",
    .doc = "y = x's elements from `begin` on, in their order, under another shape; x [n]",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          const int64_t begin = s.attrs.i[0], size = checked_numel(s.shape);
          if (s.in(0).rank() != 1 || begin < 0 || begin > s.in(0)[0] - size) {
            s.fail("x {} from {} on, to {}: want x [n] and {} elements of it", s.in(0), begin, s.shape, size);
          }
        },
    .vjp = [](Vjp& g) { g.slice(0, reshaped(g.dy, {g.dy.numel()}), 0, g.attrs().i[0]); },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          if (!in.contiguous()) return false;
          out.strides = row_major(out.shape);
          out.data += attrs.i[0] * static_cast<int64_t>(size_of(in.dtype));
          return true;
        },
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{12}},
                                      [](auto x) {
                                        return stretch(x[0], 3, {2, 4});
                                      }},
                                     {{{5}}, [](auto x) { return stretch(x[0], 1, {4}); }},
                                     {{{6}},
                                      [](auto x) {
                                        return stretch(x[0], 6, {3, 0});
                                      }},
                                     {{{4}}, [](auto x) { return stretch(x[0], 3, {}); }},
                                     {{{3, 4}}, [](auto x) {  // of elements that do not lie together
                                        return stretch(select(x[0], 1, 2), 1, {2, 1});
                                      }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return stretch(zeros({4}), 1, {2, 2});
                                         },
                                         "from 1 on, to [2, 2]"},
                                        {[] {
                                           return stretch(zeros({4, 3}), 0, {2});
                                         },
                                         "want x [n]"}};
        },
};
namespace {
const Register stretch_registered(stretch_op);
}

Tensor stretch(const Tensor& x, int64_t begin, const Shape& shape) {
  return record(stretch_op, {{Arg(x)}}, {.attrs = {.i = {begin}, .f = {}}, .shape = shape, .list = {}});
}

}  // namespace reel
