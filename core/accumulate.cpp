// accumulate: the sum of contributions at their places, which is how the tape adds up gradients.
#include <algorithm>
#include <cstring>

#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/kernels/simd.h"
#include "core/structural.h"

namespace reel {

namespace {

template <class T>
void put_run(T* to, const T* from, int64_t step, int64_t n, bool add) {
  if (step == 1)
    return add ? simd::add_to(to, from, static_cast<size_t>(n)) : static_cast<void>(std::copy_n(from, n, to));
  for (int64_t i = 0; i < n; ++i) to[i] = add ? to[i] + from[i * step] : from[i * step];
}

// to[..] = or += part[..], where `to` reads as a strided array.
template <class T>
void add_strided(const Array& part, const Array& to, bool add) {
  if (to.shape.numel() == 0) return;
  if (part.contiguous() && to.contiguous()) {
    return parallel_for(to.shape.numel(), 1, [&](int64_t begin, int64_t end) {
      put_run(to.as<T>() + begin, part.as<T>() + begin, 1, end - begin, add);
    });
  }
  const int rank = to.shape.rank();
  const int64_t n = rank == 0 ? 1 : to.shape[rank - 1];
  const int64_t step = rank == 0 ? 1 : part.stride(rank - 1);
  parallel_for(to.shape.numel() / n, n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, from = 0, at = 0;
      for (int axis = rank - 1; axis-- > 0;) {
        from += rest % to.shape[axis] * part.stride(axis);
        at += rest % to.shape[axis] * to.stride(axis);
        rest /= to.shape[axis];
      }
      put_run(to.as<T>() + at, part.as<T>() + from, step, n, add);
    }
  });
}

// Each thread adds some columns of all rows, so that every element's sum has the order of the ids.
template <class T>
void add_whole_rows(const Array& part, const int64_t* ids, int64_t count, const Array& whole) {
  constexpr int64_t kBlock = 16;
  const int64_t columns = part.shape.numel() / std::max<int64_t>(count, 1);
  parallel_for((columns + kBlock - 1) / kBlock, count * kBlock, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kBlock, end = std::min(columns, last * kBlock);
    for (int64_t j = 0; j < count; ++j) {
      constexpr int64_t kSoon = 2, kLine = 64 / sizeof(T);
      if (j + kSoon < count) {
        const T* soon = whole.as<T>() + ids[j + kSoon] * columns;
        for (int64_t k = begin; k < end; k += kLine) __builtin_prefetch(soon + k, 1);
      }
      simd::add_to(whole.as<T>() + ids[j] * columns + begin, part.as<T>() + j * columns + begin,
                   static_cast<size_t>(end - begin));
    }
  });
}

template <class T>
void add_rows(const Array& part, int axis, const Array& ids, const Array& whole) {
  const int64_t count = ids.shape.numel(), size = whole.shape[axis];
  for (int64_t j = 0; j < count; ++j) {
    const int64_t id = ids.as<int64_t>()[j];
    if (id < 0 || id >= size) fail("[accumulate] id {}: want 0 to {}", id, size - 1);
  }
  if (axis == 0 && part.contiguous() && whole.contiguous())
    return add_whole_rows<T>(part, ids.as<int64_t>(), count, whole);
  Array row = part, to = whole;
  row.shape[axis] = to.shape[axis] = 1;
  for (int64_t j = 0; j < count; ++j) {
    row.data = part.data + j * part.stride(axis) * static_cast<int64_t>(sizeof(T));
    to.data = whole.data + ids.as<int64_t>()[j] * whole.stride(axis) * static_cast<int64_t>(sizeof(T));
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
  if (!tiled && !first_covers)
    std::memset(e.out.data, 0, static_cast<size_t>(e.out.shape.numel()) * size_of(e.out.dtype));
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
                g[k] =
                    index_select(g.dy, place.axis, g.x(static_cast<size_t>(g.list()[k * kPlaceWords + 3])));
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
              {{{2, 3}, {2, 3}},
               [](auto x) {
                 return accumulate({{x[0], {}, {}}, {x[1], {}, {}}}, {2, 3}, x[0].dtype());
               }},
              {{{2, 3}, {1, 3}},
               [](auto x) {
                 return accumulate({{x[0], {At::slice, 0, 0}, {}}, {x[1], {At::slice, 0, 2}, {}}}, {3, 3},
                                   x[0].dtype());
               }},
              {{{2, 17}, {2, 16}},
               [](auto x) {
                 return accumulate({{x[0], {}, {}}, {x[1], {At::slice, 1, 1}, {}}}, {2, 17}, x[0].dtype());
               }},
              {{{4, 3}, {2, 3}},
               [](auto x) {
                 return accumulate({{x[0], {At::rows, 0, 0}, x[2]}, {x[1], {At::slice, 0, 1}, {}}}, {5, 3},
                                   x[0].dtype());
               },
               -2,
               2,
               {{4}},
               5}};
        },
};
namespace {
const Register accumulate_registered(accumulate_op);
}

const Op& plus_op() {
  static const Op op = [] {
    Op plus{.name = "plus",
            .doc = "y = a + b, of one shape, made by the planner",
            .kind = Kind::pointwise,
            .vjp =
                [](Vjp& g) {
                  for (size_t k = 0; k < 2; ++k) {
                    if (g.needs(k)) g[k] = g.dy;
                  }
                },
            .inputs = 2,
            .lanes = [](const lanes::Inputs& x) { return x[0] + x[1]; }};
    plus.program = lanes::trace(plus.inputs, plus.lanes);
    return plus;
  }();
  return op;
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
