// reshape: the same elements, row by row, under another shape.
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

}  // namespace reel
