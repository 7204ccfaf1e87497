#include "core/structural.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/pointwise.h"
#include "core/kernels/reduce.h"
#include "core/kernels/simd.h"

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

namespace {
const Op full_op{
    .name = "full",
    .doc = "y = value everywhere",
    .kind = Kind::source,
    .inputs = 0,
    .lanes = [](const lanes::Inputs& x) { return x.f(0); },
    .shape_is_argument = true,
    .samples = [] { return std::vector<Sample>{{{}, [](auto) { return full({2, 3}, 1.5); }}}; },
};
const Register full_registered(full_op);
}  // namespace

Tensor full(const Shape& shape, double value, DType dtype) {
  checked_numel(shape);
  return record(full_op, {}, {.attrs = {.i = {}, .f = {value, 0}}, .shape = shape, .dtype = dtype, .list = {}});
}
Tensor full(const Shape& shape, double value) { return full(shape, value, default_dtype()); }
Tensor zeros(const Shape& shape) { return full(shape, 0); }
Tensor ones(const Shape& shape) { return full(shape, 1); }

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
          return std::vector<Sample>{{{{2, 3}}, [](auto x) { return to(to(x[0], DType::f64), x[0].dtype()); }},
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
          return std::vector<Sample>{{{{2, 3}}, [](auto x) {
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
          return std::vector<Sample>{{{{3}}, [](auto x) { return broadcast_to(x[0], {2, 3}); }},
                                     {{{2, 1, 3}}, [](auto x) { return broadcast_to(x[0], {2, 4, 3}); }},
                                     {{{}}, [](auto x) { return broadcast_to(x[0], {2, 17}); }},
                                     {{{1, 3}}, [](auto x) { return broadcast_to(x[0], {0, 3}); }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return broadcast_to(zeros({2, 3}), {2, 4}); }, "[2, 3] to [2, 4]"}};
        },
};
const Register broadcast_to_registered(broadcast_to_op);

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
    .f32 = [](const Exec& e) { reduce(Fold::sum, e.in[0], e.out); },
    .f64 = [](const Exec& e) { reduce(Fold::sum, e.in[0], e.out); },
    .strided = true,
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{2, 3}}, [](auto x) { return sum_to(x[0], {3}); }},
                                     {{{2, 4, 17}}, [](auto x) { return sum_to(x[0], {2, 1, 17}); }},
                                     {{{5, 3}}, [](auto x) { return sum_to(x[0], {}); }},
                                     {{{0, 3}}, [](auto x) { return sum_to(x[0], {3}); }}};
        },
    .bad = [] { return std::vector<BadSample>{{[] { return sum_to(zeros({2, 3}), {2}); }, "[2, 3] to [2]"}}; },
};
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

// ---- slice: y = x[.., begin:end, ..] ----

namespace {
const Op slice_op{
    .name = "slice",
    .doc = "y = x[.., begin:end, ..] along one axis",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          const auto [axis, begin, end] = s.attrs.i;
          const int64_t size = s.in(0)[static_cast<int>(axis)];
          if (begin < 0 || begin > end || end > size) {
            s.fail("x {} from {} to {} along axis {}: want 0 <= begin <= end <= {}", s.in(0), begin, end, axis, size);
          }
          s.shape = without(s.in(0), static_cast<int>(axis), end - begin);
        },
    .vjp = [](Vjp& g) { g.slice(0, g.dy, g.attrs().i[0], g.attrs().i[1]); },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          out.strides = in.strides;
          out.data += attrs.i[1] * in.stride(static_cast<int>(attrs.i[0])) * static_cast<int64_t>(size_of(in.dtype));
          return true;
        },
    .samples =
        [] {
          return std::vector<Sample>{{{{4, 3}}, [](auto x) { return slice(x[0], 0, 1, 3); }},
                                     {{{2, 17, 3}}, [](auto x) { return slice(x[0], 1, 0, 16); }},
                                     {{{1, 5}}, [](auto x) { return slice(x[0], -1, 4, 5); }},
                                     {{{3, 2}}, [](auto x) { return slice(x[0], 0, 2, 2); }},
                                     {{{4, 3}}, [](auto x) {
                                        return accumulate({{slice(x[0], 0, 0, 2), {}, {}}, {slice(x[0], 0, 1, 3), {}, {}}},
                                                          {2, 3}, x[0].dtype());
                                      }}};
        },
    .bad = [] { return std::vector<BadSample>{{[] { return slice(zeros({4, 3}), 0, 1, 5); }, "from 1 to 5"},
                                              {[] { return slice(zeros({4, 3}), 2, 0, 1); }, "axis 2"}}; },
};
const Register slice_registered(slice_op);
}  // namespace

Tensor slice(Arg x, int64_t axis, int64_t begin, int64_t end) {
  return record(slice_op, {x}, {.i = {axis_of(x, axis, "slice"), begin, end}, .f = {}});
}

// ---- index_select: y[.., j, ..] = x[.., ids[j], ..] ----

namespace {

void select_rows(const Exec& e) {
  const auto axis = static_cast<int>(e.attrs.i[0]);
  const Array &x = e.in[0], &ids = e.in[1];
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= x.shape[i];
  for (int i = axis + 1; i < x.shape.rank(); ++i) inner *= x.shape[i];
  const auto bytes = static_cast<size_t>(inner) * size_of(x.dtype);
  const int64_t count = ids.shape.numel(), size = x.shape[axis];
  std::byte* to = e.out.data;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t j = 0; j < count; ++j, to += bytes) {
      const int64_t id = ids.as<int64_t>()[j];
      if (id < 0 || id >= size) e.fail("id {} at position {}: want 0 to {}, the axis has {} entries", id, j, size - 1, size);
      if (bytes > 0) std::memcpy(to, x.data + static_cast<size_t>(o * size + id) * bytes, bytes);
    }
  }
}

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
              {[] { return index_select(zeros({4, 3}), 0, Tensor::from(std::vector<int64_t>{4}, {1})); }, "id 4"},
              {[] { return index_select(zeros({4, 3}), 0, zeros({1})); }, "want i64"}};
        },
};
const Register index_select_registered(index_select_op);

}  // namespace

Tensor index_select(Arg x, int64_t axis, Arg ids) {
  return record(index_select_op, {x, ids}, {.i = {axis_of(x, axis, "index_select")}, .f = {}});
}

// ---- accumulate: the sum of contributions at their places ----

namespace {

// to[..] = or += part[..], where `to` reads as a strided array.
template <class T>
void add_strided(const Array& part, const Array& to, bool add) {
  if (to.shape.numel() == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (part.contiguous() && to.contiguous()) {
      const auto count = static_cast<size_t>(to.shape.numel());
      if (add) return simd::add_to(to.as<float>(), part.as<float>(), count);
      std::memcpy(to.data, part.data, count * sizeof(float));
      return;
    }
  }
  const int rank = to.shape.rank();
  const int64_t n = rank == 0 ? 1 : to.shape[rank - 1];
  const int64_t step = rank == 0 ? 1 : part.stride(rank - 1);
  for (int64_t row = 0, rows = to.shape.numel() / n; row < rows; ++row) {
    int64_t rest = row, from = 0, at = 0;
    for (int axis = rank - 1; axis-- > 0;) {
      from += rest % to.shape[axis] * part.stride(axis);
      at += rest % to.shape[axis] * to.stride(axis);
      rest /= to.shape[axis];
    }
    const T* a = part.as<T>() + from;
    T* b = to.as<T>() + at;
    if constexpr (std::is_same_v<T, float>) {
      if (add && step == 1) {
        simd::add_to(b, a, static_cast<size_t>(n));
        continue;
      }
    }
    for (int64_t i = 0; i < n; ++i) b[i] = add ? b[i] + a[i * step] : a[i * step];
  }
}

template <class T>
void add_rows(const Array& part, int axis, const Array& ids, const Array& whole) {
  const int64_t count = ids.shape.numel(), size = whole.shape[axis];
  Array row = part, to = whole;
  row.shape[axis] = to.shape[axis] = 1;
  for (int64_t j = 0; j < count; ++j) {
    row.data = part.data + j * part.stride(axis) * static_cast<int64_t>(sizeof(T));
    const int64_t id = ids.as<int64_t>()[j];
    if (id < 0 || id >= size) fail("[accumulate] id {}: want 0 to {}", id, size - 1);
    to.data = whole.data + id * whole.stride(axis) * static_cast<int64_t>(sizeof(T));
    add_strided<T>(row, to, true);
  }
}

template <class T>
void put_as(const Array& part, Place place, const Array* ids, const Array& whole, bool add) {
  if (place.at == Place::At::rows) return add_rows<T>(part, static_cast<int>(place.axis), *ids, whole);
  Array to = whole;
  if (place.at == Place::At::slice) {
    const auto axis = static_cast<int>(place.axis);
    to.shape[axis] = part.shape[axis];
    to.data += place.begin * whole.stride(axis) * static_cast<int64_t>(sizeof(T));
  }
  add_strided<T>(part, to, add);
}

void accumulate_parts(const Exec& e) {
  const size_t parts = e.list.size() / kPlaceWords;
  std::vector<Shape> shapes;
  for (size_t k = 0; k < parts; ++k) shapes.push_back(e.in[k].shape);
  const bool tiled = tiles(e.list, shapes, e.out.shape);
  const bool first_covers = place_of(e.list, 0).at == Place::At::whole;
  if (!tiled && !first_covers) std::memset(e.out.data, 0, static_cast<size_t>(e.out.shape.numel()) * size_of(e.out.dtype));
  for (size_t k = 0; k < parts; ++k) {
    const int64_t which = e.list[k * kPlaceWords + 3];
    Array ids;
    Buffer room;
    if (which >= 0) ids = e.in[static_cast<size_t>(which)];
    if (!ids.contiguous()) {
      room = Buffer(static_cast<size_t>(ids.shape.numel()) * size_of(ids.dtype));
      const Array flat{room.data(), ids.dtype, ids.shape, row_major(ids.shape)};
      copy(ids, flat);
      ids = flat;
    }
    put(e.in[k], place_of(e.list, k), which < 0 ? nullptr : &ids, e.out, !tiled && (k > 0 || !first_covers));
  }
}

}  // namespace

void put(const Array& part, Place place, const Array* ids, const Array& whole, bool add) {
  if (whole.dtype == DType::f64) return put_as<double>(part, place, ids, whole, add);
  put_as<float>(part, place, ids, whole, add);
}

Place place_of(std::span<const int64_t> list, size_t part) {
  const int64_t* words = list.data() + part * kPlaceWords;
  return {static_cast<Place::At>(words[0]), words[1], words[2]};
}

bool tiles(std::span<const int64_t> list, std::span<const Shape> parts, const Shape& whole) {
  std::vector<std::pair<int64_t, int64_t>> pieces;
  int64_t axis = -1;
  for (size_t k = 0; k < parts.size(); ++k) {
    const Place place = place_of(list, k);
    if (place.at != Place::At::slice || (axis >= 0 && axis != place.axis)) return false;
    axis = place.axis;
    pieces.emplace_back(place.begin, place.begin + parts[k][static_cast<int>(axis)]);
  }
  std::sort(pieces.begin(), pieces.end());
  int64_t end = 0;
  for (const auto& piece : pieces) {
    if (piece.first != end) return false;
    end = piece.second;
  }
  return axis >= 0 && end == whole[static_cast<int>(axis)];
}

const Op accumulate_op{
    .name = "accumulate",
    .doc = "y = sum of parts, each at its place: everywhere, in a slice, or in rows named by ids",
    .kind = Kind::other,
    .vjp =
        [](Vjp& g) {
          for (size_t k = 0; k < g.list().size() / kPlaceWords; ++k) {
            const Place place = place_of(g.list(), k);
            switch (place.at) {
              case Place::At::whole: g[k] = g.dy; break;
              case Place::At::slice:
                g[k] = slice(g.dy, place.axis, place.begin,
                             place.begin + g.x(k).shape()[static_cast<int>(place.axis)]);
                break;
              case Place::At::rows:
                g[k] = index_select(g.dy, place.axis, g.x(static_cast<size_t>(g.list()[k * kPlaceWords + 3])));
                break;
            }
          }
        },
    .f32 = accumulate_parts,
    .f64 = accumulate_parts,
    .strided = true,
    .shape_is_argument = true,
    .samples =
        [] {
          using At = Place::At;
          return std::vector<Sample>{
              {{{2, 3}, {2, 3}}, [](auto x) { return accumulate({{x[0], {}, {}}, {x[1], {}, {}}}, {2, 3}, x[0].dtype()); }},
              {{{2, 3}, {1, 3}}, [](auto x) {
                 return accumulate({{x[0], {At::slice, 0, 0}, {}}, {x[1], {At::slice, 0, 2}, {}}}, {3, 3}, x[0].dtype());
               }},
              {{{2, 17}, {2, 16}}, [](auto x) {
                 return accumulate({{x[0], {}, {}}, {x[1], {At::slice, 1, 1}, {}}}, {2, 17}, x[0].dtype());
               }},
              {{{4, 3}, {2, 3}}, [](auto x) {
                 return accumulate({{x[0], {At::rows, 0, 0}, x[2]}, {x[1], {At::slice, 0, 1}, {}}}, {5, 3}, x[0].dtype());
               }, -2, 2, {{4}}, 5}};
        },
};
namespace {
const Register accumulate_registered(accumulate_op);
}

Tensor accumulate(const std::vector<Contribution>& parts, const Shape& shape, DType dtype) {
  std::vector<Arg> in;
  std::vector<int64_t> list;
  in.reserve(parts.size());
  for (const Contribution& part : parts) in.emplace_back(part.value);
  for (const Contribution& part : parts) {
    const bool rows = part.place.at == Place::At::rows;
    list.insert(list.end(), {static_cast<int64_t>(part.place.at), part.place.axis, part.place.begin,
                             rows ? static_cast<int64_t>(in.size()) : -1});
    if (rows) in.emplace_back(part.ids);
  }
  return record(accumulate_op, in, {.attrs = {}, .shape = shape, .dtype = dtype, .list = std::move(list)});
}

}  // namespace reel
