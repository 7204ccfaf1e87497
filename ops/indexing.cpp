#include "ops/indexing.h"

#include <algorithm>
#include <vector>

#include "core/kernels/pointwise.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/shape.h"

namespace reel {

namespace {

void want_ids(Signature& s, size_t k) {
  if (s.in_dtype(k) != DType::i64) s.fail("ids of dtype {}: want i64", name_of(s.in_dtype(k)));
}

// ids fit x: the same rank and, off the axis, no larger.
void want_fitting_ids(Signature& s) {
  want_ids(s, 1);
  const Shape &x = s.in(0), &ids = s.in(1);
  const int64_t axis = s.attrs.i[0];
  bool fits = ids.rank() == x.rank();
  for (int k = 0; fits && k < x.rank(); ++k) fits = k == axis || ids[k] <= x[k];
  if (!fits) {
    s.fail("x {} and ids {}: want one rank, and no axis of ids but axis {} longer than x's", x, ids, axis);
  }
}

// For each id in row-major order: visit(offset into `small`, offset into `large` with the id on the axis).
// Offsets count elements; small has at least the sizes of ids.
template <class Visit>
void for_each_id(const Exec& e, const Array& ids, const Array& small, const Array& large,
                 const Visit& visit) {
  const auto axis = static_cast<int>(e.attrs.i[0]);
  const int last = ids.shape.rank() - 1;
  const int64_t n = ids.shape[last], size = large.shape[axis];
  if (ids.shape.numel() == 0) return;
  for (int64_t row = 0; row < ids.shape.numel() / n; ++row) {
    int64_t at_id = 0, at_small = 0, at_large = 0, rest = row;
    for (int k = last; k-- > 0;) {
      const int64_t index = rest % ids.shape[k];
      rest /= ids.shape[k];
      at_id += index * ids.stride(k);
      at_small += index * small.stride(k);
      if (k != axis) at_large += index * large.stride(k);
    }
    for (int64_t j = 0; j < n; ++j) {
      const int64_t id = ids.as<int64_t>()[at_id + j * ids.stride(last)];
      if (id < 0 || id >= size) {
        e.fail("id {} at position {}: want from 0 to below {}, the entries of axis {}", id, row * n + j, size,
               axis);
      }
      visit(at_small + j * small.stride(last),
            at_large + id * large.stride(axis) + (axis == last ? 0 : j * large.stride(last)));
    }
  }
}

// ---- gather ----

template <class T>
void gather_as(const Exec& e) {
  const T* x = e.in[0].as<T>();
  T* y = e.out.as<T>();
  for_each_id(e, e.in[1], e.out, e.in[0], [&](int64_t at_y, int64_t at_x) { y[at_y] = x[at_x]; });
}

const Op gather_op{
    .name = "gather",
    .doc = "y[i, j, ..] = x[ids[i, j, ..], j, ..], the id being on one axis",
    .kind = Kind::gather,
    .shape =
        [](Signature& s) {
          want_fitting_ids(s);
          s.shape = s.in(1);
        },
    .vjp =
        [](Vjp& g) {
          const Tensor nothing = broadcast_to(full({}, 0, g.dy.dtype()), g.x(0).shape());
          g[0] = scatter_add(nothing, g.attrs().i[0], g.x(1), g.dy);
        },
    .bytes =
        [](const Exec& e) {
          switch (size_of(e.out.dtype)) {
            case 1: return gather_as<uint8_t>(e);
            case 4: return gather_as<uint32_t>(e);
            default: return gather_as<uint64_t>(e);
          }
        },
    .strided = true,
    .samples =
        [] {
          const auto along = [](int64_t axis) { return [axis](auto x) { return gather(x[0], axis, x[1]); }; };
          return std::vector<Sample>{
              {{{3, 4}}, along(0), -2, 2, {{5, 4}}, 3},
              {{{3, 17}}, along(-1), -2, 2, {{2, 1}}, 17},
              {{{2, 3, 5}}, along(1), -2, 2, {{1, 7, 4}}, 3},
              {{{1}}, along(0), -2, 2, {{3}}, 1},
              {{{0, 3}}, along(1), -2, 2, {{0, 2}}, 3},
              {{{3, 4}}, along(0), -2, 2, {{0, 4}}, 3},
              {{{3, 4}},
               [](auto x) { return gather(transpose(x[0], 0, 1), 1, transpose(x[1], 0, 1)); },
               -2,
               2,
               {{2, 4}},
               3},
          };
        },
    .bad =
        [] {
          const auto ids = [](int64_t id) { return Tensor::from(std::vector<int64_t>{0, id}, {1, 2}); };
          return std::vector<BadSample>{
              {[ids] {
                 return gather(zeros({2, 3}), 1, ids(3));
               },
               "[gather] id 3 at position 1: want from 0 to below 3"},
              {[ids] {
                 return gather(zeros({2, 3}), 1, ids(-1));
               },
               "id -1 at position 1"},
              {[ids] {
                 return gather(zeros({2, 1}), 0, ids(0));
               },
               "x [2, 1] and ids [1, 2]: want one rank"},
              {[ids] { return gather(zeros({2}), 0, ids(0)); }, "want one rank"},
              {[] { return gather(zeros({2}), 0, zeros({1})); }, "ids of dtype f32: want i64"},
          };
        },
};
const Register gather_registered(gather_op);

// ---- scatter_add ----

template <class T>
void scatter_add_as(const Exec& e) {
  copy(e.in[0], e.out);
  const T* source = e.in[2].as<T>();
  T* y = e.out.as<T>();
  for_each_id(e, e.in[1], e.in[2], e.out,
              [&](int64_t at_source, int64_t at_y) { y[at_y] += source[at_source]; });
}

const Op scatter_add_op{
    .name = "scatter_add",
    .doc = "y = x, then y[ids[i, j, ..], j, ..] += source[i, j, ..], the id being on one axis",
    .kind = Kind::gather,
    .shape =
        [](Signature& s) {
          s.want_float(0);
          want_fitting_ids(s);
          if (!(s.in(2) == s.in(1))) {
            s.fail("ids {} and source {}: want one rank, and source no smaller than ids", s.in(1), s.in(2));
          }
          if (s.in_dtype(2) != s.in_dtype(0)) {
            s.fail("x is {} and source is {}: want one dtype", name_of(s.in_dtype(0)),
                   name_of(s.in_dtype(2)));
          }
          s.shape = s.in(0);
        },
    .vjp =
        [](Vjp& g) {
          g[0] = g.dy;
          if (g.needs(2)) g[2] = gather(g.dy, g.attrs().i[0], g.x(1));
        },
    .f32 = scatter_add_as<float>,
    .f64 = scatter_add_as<double>,
    .strided = true,
    .samples =
        [] {
          const auto along = [](int64_t axis) {
            return [axis](auto x) { return scatter_add(x[0], axis, x[2], x[1]); };
          };
          return std::vector<Sample>{
              {{{3, 4}, {5, 4}}, along(0), -2, 2, {{5, 4}}, 3},
              {{{2, 17}, {2, 3}}, along(-1), -2, 2, {{2, 3}}, 17},
              {{{2, 3, 5}, {2, 7, 5}}, along(1), -2, 2, {{1, 7, 4}}, 3},  // of source only what has ids
              {{{1}, {3}}, along(0), -2, 2, {{3}}, 1},
              {{{0, 3}, {0, 2}}, along(1), -2, 2, {{0, 2}}, 3},
              {{{3, 4}, {0, 4}}, along(0), -2, 2, {{0, 4}}, 3},
          };
        },
    .bad =
        [] {
          const auto ids = [](int64_t id) { return Tensor::from(std::vector<int64_t>{0, id}, {1, 2}); };
          return std::vector<BadSample>{
              {[ids] {
                 return scatter_add(zeros({2, 3}), 1, ids(3), ones({1, 2}));
               },
               "[scatter_add] id 3 at position 1"},
              {[ids] {
                 return scatter_add(zeros({2, 3}), 1, ids(0), ones({1, 1}));
               },
               "ids [1, 2] and source [1, 1]"},
              {[ids] {
                 return scatter_add(zeros({2, 3}), 1, ids(0), full({1, 2}, 1, DType::f64));
               },
               "source is f64"},
              {[ids] { return scatter_add(ids(0), 1, ids(0), ids(0)); }, "argument 1 is i64"},
          };
        },
};
const Register scatter_add_registered(scatter_add_op);

// ---- one_hot ----

template <class T>
void one_hot_as(const Exec& e) {
  const int64_t classes = e.attrs.i[0], count = e.in[0].shape.numel();
  T* y = e.out.as<T>();
  std::fill(y, y + count * classes, T{0});
  for (int64_t k = 0; k < count; ++k) {
    const int64_t id = e.in[0].as<int64_t>()[k];
    if (id < 0 || id >= classes) {
      e.fail("id {} at position {}: want from 0 to below {}, the classes", id, k, classes);
    }
    y[k * classes + id] = 1;
  }
}

const Op one_hot_op{
    .name = "one_hot",
    .doc = "y[.., c] = 1 where c = ids[..], else 0",
    .kind = Kind::other,
    .shape =
        [](Signature& s) {
          want_ids(s, 0);
          s.shape = s.in(0);
          s.shape.push_back(s.attrs.i[0]);
          checked_numel(s.shape);
          s.dtype = static_cast<DType>(s.attrs.i[1]);
        },
    .f32 = one_hot_as<float>,
    .f64 = one_hot_as<double>,
    .samples =
        [] {
          const auto of = [](int64_t classes) {
            return [classes](auto x) { return one_hot(x[0], classes); };
          };
          return std::vector<Sample>{{{}, of(5), 0, 1, {{2, 3}}, 5},
                                     {{}, of(17), 0, 1, {{1}}, 17},
                                     {{}, of(1), 0, 1, {{}}, 1},
                                     {{}, of(3), 0, 1, {{0, 2}}, 3},
                                     {{}, of(0), 0, 1, {{0}}, 1}};
        },
    .bad =
        [] {
          const Tensor ids = Tensor::from(std::vector<int64_t>{0, 3}, {2});
          return std::vector<BadSample>{{[ids] { return one_hot(ids, 3); }, "[one_hot] id 3 at position 1"},
                                        {[ids] { return one_hot(ids, -1); }, "-1 classes"},
                                        {[] { return one_hot(zeros({2}), 3); }, "ids of dtype f32"}};
        },
};
const Register one_hot_registered(one_hot_op);

}  // namespace

Tensor gather(Arg x, int64_t axis, Arg ids) {
  return record(gather_op, {x, ids}, {.i = {axis_of(x, axis, "gather")}, .f = {}});
}

Tensor scatter_add(Arg x, int64_t axis, Arg ids, Arg source) {
  const int64_t normal = axis_of(x, axis, "scatter_add");
  const Shape want = shape_of(ids, "scatter_add"), have = shape_of(source, "scatter_add");
  Tensor part = source.tensor() ? *source.tensor() : Tensor();
  for (int k = 0; source.tensor() && have.rank() == want.rank() && k < want.rank(); ++k) {
    if (want[k] < have[k]) part = slice(Arg(part, source.where()), k, 0, want[k]);
  }
  return record(scatter_add_op, {x, ids, part.defined() ? Arg(part, source.where()) : source},
                {.i = {normal}, .f = {}});
}

Tensor embedding(Arg weight, Arg ids, std::optional<int64_t> padding_idx) {
  const Shape& table = shape_of(weight, "embedding");
  Shape shape = shape_of(ids, "embedding");
  if (table.rank() != 2) fail("[embedding] weight {}: want [entries, features]{}", table, at(weight.where()));
  if (shape.rank() == 1 && !padding_idx) return index_select(weight, 0, ids);
  Tensor rows = index_select(weight, 0, Arg(reshape(ids, {shape.numel()}), ids.where()));
  if (padding_idx) {
    const int64_t padding = *padding_idx < 0 ? *padding_idx + table[0] : *padding_idx;
    if (padding < 0 || padding >= table[0]) {
      fail("[embedding] padding_idx {} with weight {}: want {} to {}{}", *padding_idx, table, -table[0],
           table[0] - 1, at(weight.where()));
    }
    const Tensor is_padding = equal(reshape(ids, {shape.numel(), 1}), static_cast<double>(padding));
    rows = where(is_padding, detach(rows), rows);
  }
  shape.push_back(table[1]);
  return reshape(Arg(rows, ids.where()), shape);
}

Tensor one_hot(Arg ids, int64_t classes) {
  if (classes < 0) fail("[one_hot] {} classes: want a count{}", classes, at(ids.where()));
  return record(one_hot_op, {ids}, {.i = {classes, static_cast<int64_t>(default_dtype())}, .f = {}});
}

}  // namespace reel
