// The ops that a tape needs by itself, but for accumulate.
#include "core/structural.h"

#include <cstring>

#include "core/kernels/parallel.h"
#include "core/kernels/reduce.h"

namespace reel {

namespace {

void keep_shape(Signature& s) { s.shape = s.in(0); }

Shape without(const Shape& shape, int axis, int64_t size) {
  Shape out = shape;
  out[axis] = size;
  return out;
}

}  // namespace

// ---- full: y = value everywhere ----

const Op full_op{
    .name = "full",
    .doc = "y = value everywhere",
    .kind = Kind::source,
    .inputs = 0,
    .lanes = [](const lanes::Inputs& x) { return x.f(0); },
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{}, [](auto) { return full({2, 3}, 1.5); }}};
        },
};
namespace {
const Register full_registered(full_op);
}  // namespace

Tensor full(const Shape& shape, double value, DType dtype) {
  checked_numel(shape);
  return record(full_op, {},
                {.attrs = {.i = {}, .f = {value, 0}}, .shape = shape, .dtype = dtype, .list = {}});
}
Tensor full(const Shape& shape, double value) { return full(shape, value, default_dtype()); }
Tensor zeros(const Shape& shape) { return full(shape, 0); }
Tensor ones(const Shape& shape) { return full(shape, 1); }

// ---- alias ----

const Op alias_op{
    .name = "alias",
    .doc = "y = x: where differentiation of a body ends",
    .kind = Kind::view,
    .shape = [](Signature& s) { s.shape = s.in(0); },
    .vjp = [](Vjp& g) { g[0] = g.dy; },
    .view =
        [](const Array& in, const Attrs&, Array& out) {
          out.strides = in.strides;
          return true;
        },
    .samples =
        [] {
          const auto call = [](auto x) { return record(alias_op, {x[0]}); };
          return std::vector<Sample>{{{{2, 3}}, call}, {{{}}, call}, {{{0, 3}}, call}};
        },
};
namespace {
const Register alias_registered(alias_op);
}

// ---- to: y = x as another dtype ----

namespace {
const Op to_op{
    .name = "to",
    .doc = "y = x in another dtype; floats are truncated to integers, anything but 0 is true",
    .kind = Kind::pointwise,
    .shape =
        [](Signature& s) {
          keep_shape(s);
          s.dtype = static_cast<DType>(s.attrs.i[0]);
        },
    .vjp =
        [](Vjp& g) {
          if (is_float(g.x(0).dtype())) g[0] = to(g.dy, g.x(0).dtype());
        },
    .lanes = [](const lanes::Inputs& x) { return x[0]; },
    .samples =
        [] {
          return std::vector<Sample>{
              {{{2, 3}}, [](auto x) { return to(to(x[0], DType::f64), x[0].dtype()); }},
              {{{0, 3}}, [](auto x) { return to(x[0], DType::f64); }},
              {{{}}, [](auto x) { return to(x[0], DType::f64); }}};
        },
};
const Register to_registered(to_op);
}  // namespace

Tensor to(Arg x, DType dtype) {
  if (x.tensor() && x.tensor()->defined() && x.tensor()->dtype() == dtype) return *x.tensor();
  return record(to_op, {x}, {.i = {static_cast<int64_t>(dtype)}, .f = {}});
}

// ---- detach: y = x, without a gradient ----

namespace {
const Op detach_op{
    .name = "detach",
    .doc = "y = x; no gradient flows through",
    .kind = Kind::view,
    .shape = keep_shape,
    .view =
        [](const Array& in, const Attrs&, Array& out) {
          out.strides = in.strides;
          return true;
        },
    .samples =
        [] {
          return std::vector<Sample>{
              {{{2, 3}}, [](auto x) {
                 return accumulate({{x[0], {}, {}}, {detach(x[0]), {}, {}}}, {2, 3}, x[0].dtype());
               }}};
        },
};
const Register detach_registered(detach_op);
}  // namespace

Tensor detach(Arg x) { return record(detach_op, {x}); }

// ---- broadcast_to and sum_to, each other's gradient ----

namespace {
const Op broadcast_to_op{
    .name = "broadcast_to",
    .doc = "y[..] = x repeated along new axes and those of size 1",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          Shape joined;
          if (!broadcast(s.in(0), s.shape, joined) || !(joined == s.shape)) {
            s.fail("x {} to {}: want each axis, counted from the right, equal or 1 in x", s.in(0), s.shape);
          }
        },
    .vjp = [](Vjp& g) { g[0] = sum_to(g.dy, g.x(0).shape()); },
    .view =
        [](const Array& in, const Attrs&, Array& out) {
          out.strides = broadcast_strides(in.shape, in.strides, out.shape);
          return true;
        },
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{3}},
                                      [](auto x) {
                                        return broadcast_to(x[0], {2, 3});
                                      }},
                                     {{{2, 1, 3}},
                                      [](auto x) {
                                        return broadcast_to(x[0], {2, 4, 3});
                                      }},
                                     {{{}},
                                      [](auto x) {
                                        return broadcast_to(x[0], {2, 17});
                                      }},
                                     {{{1, 3}}, [](auto x) {
                                        return broadcast_to(x[0], {0, 3});
                                      }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return broadcast_to(zeros({2, 3}), {2, 4});
                                         },
                                         "[2, 3] to [2, 4]"}};
        },
};
const Register broadcast_to_registered(broadcast_to_op);

}  // namespace
const Op sum_to_op{
    .name = "sum_to",
    .doc = "y = x summed over the axes along which y broadcast to x's shape repeats",
    .kind = Kind::reduction,
    .shape =
        [](Signature& s) {
          Shape joined;
          if (!broadcast(s.shape, s.in(0), joined) || !(joined == s.in(0))) {
            s.fail("x {} to {}: want a shape that broadcasts to x's", s.in(0), s.shape);
          }
        },
    .vjp = [](Vjp& g) { g[0] = broadcast_to(g.dy, g.x(0).shape()); },
    .f32 = [](const Exec& e) { reduce(Fold::sum, e.in[0], e.out, e.add); },
    .f64 = [](const Exec& e) { reduce(Fold::sum, e.in[0], e.out, e.add); },
    .strided = true,
    .accumulates = true,
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{2, 3}}, [](auto x) { return sum_to(x[0], {3}); }},
                                     {{{2, 4, 17}},
                                      [](auto x) {
                                        return sum_to(x[0], {2, 1, 17});
                                      }},
                                     {{{5, 3}}, [](auto x) { return sum_to(x[0], {}); }},
                                     {{{0, 3}}, [](auto x) { return sum_to(x[0], {3}); }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return sum_to(zeros({2, 3}), {2}); }, "[2, 3] to [2]"}};
        },
};
namespace {
const Register sum_to_registered(sum_to_op);
}  // namespace

Tensor broadcast_to(Arg x, const Shape& shape) {
  if (x.tensor() && x.tensor()->defined() && x.tensor()->shape() == shape) return *x.tensor();
  return record(broadcast_to_op, {&x, 1}, {.attrs = {}, .shape = shape, .list = {}});
}

Tensor sum_to(Arg x, const Shape& shape) {
  if (x.tensor() && x.tensor()->defined() && x.tensor()->shape() == shape) return *x.tensor();
  return record(sum_to_op, {&x, 1}, {.attrs = {}, .shape = shape, .list = {}});
}

// ---- index_select: y[.., j, ..] = x[.., ids[j], ..] ----

namespace {

void select_rows(const Exec& e) {
  const auto axis = static_cast<int>(e.attrs.i[0]);
  const Array& x = e.in[0];
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= x.shape[i];
  for (int i = axis + 1; i < x.shape.rank(); ++i) inner *= x.shape[i];
  const auto bytes = static_cast<size_t>(inner) * size_of(x.dtype);
  const int64_t count = e.in[1].shape.numel(), size = x.shape[axis];
  const int64_t* ids = e.in[1].as<int64_t>();
  for (int64_t j = 0; outer > 0 && j < count; ++j) {
    if (ids[j] < 0 || ids[j] >= size)
      e.fail("id {} at position {}: want 0 to {}, the axis has {} entries", ids[j], j, size - 1, size);
  }
  if (bytes == 0 || count == 0) return;
  parallel_for(outer * count, inner, [&](int64_t begin, int64_t end) {
    int64_t first = begin / count * size, j = begin % count;
    constexpr int64_t kSoon = 4;  // rows from here and there: no processor guesses which comes next
    constexpr size_t kLine = 64, kMost = 16 * kLine;
    for (int64_t row = begin; row < end; ++row) {
      if (j + kSoon < count) {
        const std::byte* soon = x.data + static_cast<size_t>(first + ids[j + kSoon]) * bytes;
        for (size_t at = 0; at < std::min(bytes, kMost); at += kLine) __builtin_prefetch(soon + at);
      }
      std::memcpy(e.out.data + static_cast<size_t>(row) * bytes,
                  x.data + static_cast<size_t>(first + ids[j]) * bytes, bytes);
      if (++j < count) continue;
      j = 0;
      first += size;
    }
  });
}

}  // namespace
const Op index_select_op{
    .name = "index_select",
    .doc = "y[.., j, ..] = x[.., ids[j], ..] along one axis; ids of i64, of one axis",
    .kind = Kind::gather,
    .shape =
        [](Signature& s) {
          if (s.in_dtype(1) != DType::i64) s.fail("ids of dtype {}: want i64", name_of(s.in_dtype(1)));
          if (s.in(1).rank() != 1) s.fail("ids {}: want one axis", s.in(1));
          s.shape = without(s.in(0), static_cast<int>(s.attrs.i[0]), s.in(1)[0]);
        },
    .vjp = [](Vjp& g) { g.rows(0, g.dy, g.attrs().i[0], g.x(1)); },
    .bytes = select_rows,
    .samples =
        [] {
          const auto call = [](int64_t axis) {
            return [axis](auto x) { return index_select(x[0], axis, x[1]); };
          };
          return std::vector<Sample>{{{{5, 3}}, call(0), -2, 2, {{4}}, 5},
                                     {{{2, 4, 17}}, call(1), -2, 2, {{6}}, 4},
                                     {{{1, 3}}, call(1), -2, 2, {{1}}, 3},
                                     {{{5, 3}}, call(0), -2, 2, {{0}}, 5}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] {
                 return index_select(zeros({4, 3}), 0, Tensor::from(std::vector<int64_t>{4}, {1}));
               },
               "id 4"},
              {[] {
                 return index_select(zeros({4, 3}), 0, zeros({1}));
               },
               "want i64"}};
        },
};
namespace {
const Register index_select_registered(index_select_op);

}  // namespace

Tensor index_select(Arg x, int64_t axis, Arg ids) {
  return record(index_select_op, {x, ids}, {.i = {axis_of(x, axis, "index_select")}, .f = {}});
}

}  // namespace reel
