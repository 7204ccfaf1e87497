// pick_rows and its gradient: rows from several values, as the planner joins them.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"
#include "core/structural.h"

namespace reel {

namespace {

constexpr size_t kRun = 3;  // words of `list`: input, its first row, rows

int64_t row_size(const Shape& shape) { return shape.numel() / std::max<int64_t>(shape[0], 1); }

// Threads take rows of the output, of each run those that are theirs.
void pick(const Exec& e) {
  const auto bytes = static_cast<size_t>(row_size(e.out.shape)) * size_of(e.out.dtype);
  parallel_for(e.out.shape[0], row_size(e.out.shape), [&](int64_t first, int64_t last) {
    int64_t row = 0;
    for (size_t k = 0; k < e.list.size() && row < last; k += kRun) {
      const int64_t begin = std::max(row, first), end = std::min(row + e.list[k + 2], last);
      if (begin < end) {
        const std::byte* from = e.in[static_cast<size_t>(e.list[k])].data;
        std::memcpy(e.out.data + static_cast<size_t>(begin) * bytes,
                    from + static_cast<size_t>(e.list[k + 1] + begin - row) * bytes,
                    static_cast<size_t>(end - begin) * bytes);
      }
      row += e.list[k + 2];
    }
  });
}

// `list` of the gradient: row of dy, row of y, rows.
template <class T>
void put_back(const Exec& e) {
  const int64_t size = row_size(e.out.shape);
  parallel_for(e.out.shape[0], size, [&](int64_t first, int64_t last) {
    T* out = e.out.as<T>();
    if (!e.add) std::fill(out + first * size, out + last * size, T(0));
    for (size_t k = 0; k < e.list.size(); k += kRun) {
      const int64_t row = e.list[k + 1];
      const int64_t begin = std::max(row, first), end = std::min(row + e.list[k + 2], last);
      if (begin >= end) continue;
      const T* from = e.in[0].as<T>() + (e.list[k] + begin - row) * size;
      simd::add_to(out + begin * size, from, static_cast<size_t>((end - begin) * size));
    }
  });
}

Tensor picked(const std::vector<Arg>& in, const Shape& shape, DType dtype, std::vector<int64_t> list) {
  return record(pick_rows_op, in, {.attrs = {}, .shape = shape, .dtype = dtype, .list = std::move(list)});
}
Tensor put_back(const Tensor& dy, const Shape& shape, std::vector<int64_t> list) {
  return record(put_rows_op, {{dy}},
                {.attrs = {}, .shape = shape, .dtype = dy.dtype(), .list = std::move(list)});
}

void pick_vjp(Vjp& g) {
  std::vector<std::vector<int64_t>> lists(g.inputs());
  int64_t row = 0;
  for (size_t k = 0; k < g.list().size(); k += kRun) {
    const int64_t rows = g.list()[k + 2];
    auto& list = lists[static_cast<size_t>(g.list()[k])];
    list.insert(list.end(), {row, g.list()[k + 1], rows});
    row += rows;
  }
  for (size_t k = 0; k < g.inputs(); ++k) {
    if (g.needs(k)) g[k] = put_back(g.dy, g.x(k).shape(), std::move(lists[k]));
  }
}

void put_vjp(Vjp& g) {
  // Each row of x was added somewhere: its gradient is picked from there, in the order of x's rows.
  std::vector<std::array<int64_t, 3>> runs;
  for (size_t k = 0; k < g.list().size(); k += kRun)
    runs.push_back({g.list()[k], g.list()[k + 1], g.list()[k + 2]});
  std::sort(runs.begin(), runs.end());
  // Rows of x that went to another source have no gradient here.
  std::vector<int64_t> list;
  Tensors in{g.dy, full(g.x(0).shape(), 0, g.dy.dtype())};
  int64_t row = 0;
  for (const auto& [from, to, rows] : runs) {
    if (from > row) list.insert(list.end(), {1, row, from - row});
    list.insert(list.end(), {0, to, rows});
    row = from + rows;
  }
  if (row < g.x(0).shape()[0]) list.insert(list.end(), {1, row, g.x(0).shape()[0] - row});
  g[0] = picked({in[0], in[1]}, g.x(0).shape(), g.dy.dtype(), std::move(list));
}

}  // namespace

const Op pick_rows_op{
    .name = "pick_rows",
    .doc = "y = rows of the inputs, one below another; made by the planner",
    .kind = Kind::gather,
    .vjp = pick_vjp,
    .bytes = pick,
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{
              {{{4, 3}, {2, 3}},
               [](auto x) {
                 return picked({x[0], x[1]}, {6, 3}, x[0].dtype(), {0, 2, 2, 1, 0, 1, 0, 2, 1, 1, 0, 2});
               }},
              {{{5, 2}},
               [](auto x) {
                 return picked({x[0]}, {3, 2}, x[0].dtype(), {0, 4, 1, 0, 1, 2});
               }},
              {{{3}, {2}}, [](auto x) {
                 return picked({x[0], x[1]}, {2}, x[0].dtype(), {1, 1, 1, 0, 0, 1});
               }}};
        },
};
const Op put_rows_op{
    .name = "put_rows",
    .doc = "y = 0 but for rows of x, added at their places; made by the planner",
    .kind = Kind::other,
    .vjp = put_vjp,
    .f32 = put_back<float>,
    .f64 = put_back<double>,
    .accumulates = true,
    .shape_is_argument = true,
    .samples =
        [] {
          return std::vector<Sample>{{{{3, 2}},
                                      [](auto x) {
                                        return put_back(x[0], {4, 2}, {0, 3, 1, 2, 0, 1});
                                      }},
                                     {{{4}},
                                      [](auto x) {
                                        return put_back(x[0], {4}, {0, 1, 2});
                                      }},
                                     {{{3, 17}}, [](auto x) {
                                        return put_back(x[0], {3, 17}, {0, 0, 3});
                                      }}};
        },
};
namespace {
const Register pick_registered(pick_rows_op), put_registered(put_rows_op);
}

}  // namespace reel
