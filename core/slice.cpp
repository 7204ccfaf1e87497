// Parts of a value along one axis, read where they lie: slice and select.
#include <algorithm>

#include "core/structural.h"
#include "core/tape.h"

namespace reel {

namespace {

Shape with_size(const Shape& shape, int64_t axis, int64_t size) {
  Shape out = shape;
  out[static_cast<int>(axis)] = size;
  return out;
}

}  // namespace

// ---- slice: y = x[.., begin:end, ..] ----

const Op slice_op{
    .name = "slice",
    .doc = "y = x[.., begin:end, ..] along one axis",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          const auto [axis, begin, end] = s.attrs.i;
          const int64_t size = s.in(0)[static_cast<int>(axis)];
          if (begin < 0 || begin > end || end > size) {
            s.fail("x {} from {} to {} along axis {}: want 0 <= begin <= end <= {}", s.in(0), begin, end,
                   axis, size);
          }
          s.shape = with_size(s.in(0), axis, end - begin);
        },
    .vjp = [](Vjp& g) { g.slice(0, g.dy, g.attrs().i[0], g.attrs().i[1]); },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          out.strides = in.strides;
          out.data +=
              attrs.i[1] * in.stride(static_cast<int>(attrs.i[0])) * static_cast<int64_t>(size_of(in.dtype));
          return true;
        },
    .samples =
        [] {
          return std::vector<Sample>{{{{4, 3}}, [](auto x) { return slice(x[0], 0, 1, 3); }},
                                     {{{2, 17, 3}}, [](auto x) { return slice(x[0], 1, 0, 16); }},
                                     {{{1, 5}}, [](auto x) { return slice(x[0], -1, 4, 5); }},
                                     {{{3, 2}}, [](auto x) { return slice(x[0], 0, 2, 2); }},
                                     {{{4, 3}}, [](auto x) {
                                        return accumulate(
                                            {{slice(x[0], 0, 0, 2), {}, {}}, {slice(x[0], 0, 1, 3), {}, {}}},
                                            {2, 3}, x[0].dtype());
                                      }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return slice(zeros({4, 3}), 0, 1, 5);
                                         },
                                         "from 1 to 5"},
                                        {[] {
                                           return slice(zeros({4, 3}), 2, 0, 1);
                                         },
                                         "axis 2"}};
        },
};
namespace {
const Register slice_registered(slice_op);
}  // namespace

Tensor slice(Arg x, int64_t axis, int64_t begin, int64_t end) {
  return record(slice_op, {x}, {.i = {axis_of(x, axis, "slice"), begin, end}, .f = {}});
}

// ---- select: y = x[.., index, ..], without the axis ----

const Op select_op{
    .name = "select",
    .doc = "y = x[.., index, ..] without the axis",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          s.shape = s.in(0);
          s.shape.erase(static_cast<int>(s.attrs.i[0]));
        },
    .vjp =
        [](Vjp& g) {
          const auto [axis, index, unused] = g.attrs().i;
          g.slice(0, reshaped(g.dy, with_size(g.x(0).shape(), axis, 1)), axis, index);
        },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          const auto axis = static_cast<size_t>(attrs.i[0]);
          out.data += attrs.i[1] * in.strides[axis] * static_cast<int64_t>(size_of(in.dtype));
          std::copy(in.strides.begin(), in.strides.begin() + axis, out.strides.begin());
          std::copy(in.strides.begin() + axis + 1, in.strides.end(), out.strides.begin() + axis);
          return true;
        },
    .samples =
        [] {
          return std::vector<Sample>{{{{4, 3}}, [](auto x) { return select(x[0], -1, -2); }},
                                     {{{2, 17, 3}}, [](auto x) { return select(x[0], 1, 16); }},
                                     {{{2, 1, 5}}, [](auto x) { return select(x[0], 0, 1); }},
                                     {{{5}}, [](auto x) { return select(x[0], 0, 2); }},
                                     {{{2, 0, 3}}, [](auto x) { return select(x[0], 2, 1); }},
                                     {{{4, 3}}, [](auto x) {
                                        return accumulate(
                                            {{select(x[0], 0, 0), {}, {}}, {select(x[0], 0, 3), {}, {}}}, {3},
                                            x[0].dtype());
                                      }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return select(zeros({2, 3}), 1, 3);
                                         },
                                         "index 3 along axis 1 of a value of shape [2, 3]: want -3 to 2"},
                                        {[] {
                                           return select(zeros({2, 3}), 2, 0);
                                         },
                                         "[select] axis 2"}};
        },
};
namespace {
const Register select_registered(select_op);
}  // namespace

Tensor select(Arg x, int64_t axis, int64_t index) {
  const int64_t k = axis_of(x, axis, "select");
  const Shape& shape = shape_of(x, "select");
  const int64_t size = shape[static_cast<int>(k)], at_index = index < 0 ? index + size : index;
  if (at_index < 0 || at_index >= size) {
    fail("[select] index {} along axis {} of a value of shape {}: want {} to {}{}", index, k, shape, -size,
         size - 1, at(x.where()));
  }
  return record(select_op, {x}, {.i = {k, at_index}, .f = {}});
}

}  // namespace reel
