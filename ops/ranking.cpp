// Which entries are the largest: argmax, topk.
#include "ops/indexing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "ops/shape.h"

namespace reel {

namespace {

// Calls line(first, step, line's number) for each line of x, which is contiguous, along the axis.
template <class Line>
void for_each_line(const Array& x, int axis, const Line& line) {
  const int64_t n = x.shape[axis];
  int64_t step = 1;
  for (int k = axis + 1; k < x.shape.rank(); ++k) step *= x.shape[k];
  if (x.shape.numel() == 0) return;
  parallel_for(x.shape.numel() / n, n, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) line(k / step * step * n + k % step, step, k);
  });
}

template <class T>
bool above(T a, T b) {
  return a > b || (std::isnan(a) && !std::isnan(b));
}

// ---- argmax ----

template <class T>
void argmax_as(const Exec& e) {
  const auto axis = static_cast<int>(e.attrs.i[0]);
  const T* x = e.in[0].as<T>();
  for_each_line(e.in[0], axis, [&](int64_t first, int64_t step, int64_t k) {
    int64_t best = 0;
    for (int64_t j = 1; j < e.in[0].shape[axis]; ++j) {
      if (above(x[first + j * step], x[first + best * step])) best = j;
    }
    e.out.as<int64_t>()[k] = best;
  });
}

const Op argmax_op{
    .name = "argmax",
    .doc = "y = the index of the largest entry along an axis, the first of equals",
    .kind = Kind::other,
    .shape =
        [](Signature& s) {
          s.want_float(0);
          const auto axis = static_cast<int>(s.attrs.i[0]);
          s.shape = s.in(0);
          if (s.shape[axis] == 0) s.fail("x {} along axis {}: want at least one entry", s.shape, axis);
          s.shape.erase(axis);
          s.dtype = DType::i64;
        },
    .f32 = argmax_as<float>,
    .f64 = argmax_as<double>,
    .samples =
        [] {
          const auto along = [](int64_t axis) { return [axis](auto x) { return argmax(x[0], axis); }; };
          return std::vector<Sample>{{{{2, 3}}, along(-1)},
                                     {{{33}}, along(0)},
                                     {{{5, 1, 17}}, along(1)},
                                     {{{4, 5, 3}}, along(1)},
                                     {{{0, 3}}, along(1)},
                                     {{{70, 1000}}, along(0)},
                                     {{{4, 5, 3}}, [](auto x) { return argmax(x[0], 0, true); }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] {
                 return argmax(zeros({2, 0}), 1);
               },
               "[argmax] x [2, 0] along axis 1: want at least one entry"},
              {[] { return argmax(zeros({2}), 1); }, "[argmax] axis 1"},
              {[] { return argmax(full({2}, 1, DType::i64), 0); }, "argument 1 is i64"}};
        },
};
const Register argmax_registered(argmax_op);

// ---- topk ----

template <class T>
void topk_as(const Exec& e) {
  const auto axis = static_cast<int>(e.attrs.i[0]);
  const int64_t n = e.in[0].shape[axis], count = e.attrs.i[1];
  const T* x = e.in[0].as<T>();
  for_each_line(e.in[0], axis, [&](int64_t first, int64_t step, int64_t k) {
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
      const T xa = x[first + a * step], xb = x[first + b * step];
      return above(xa, xb) || (!above(xb, xa) && a < b);
    });
    int64_t* y = e.out.as<int64_t>() + k / step * step * count + k % step;
    for (int64_t j = 0; j < count; ++j) y[j * step] = order[static_cast<size_t>(j)];
  });
}

const Op topk_op{
    .name = "topk",
    .doc = "y = the indices of the k largest along an axis, in descending order",
    .kind = Kind::other,
    .shape =
        [](Signature& s) {
          s.want_float(0);
          const auto axis = static_cast<int>(s.attrs.i[0]);
          s.shape = s.in(0);
          const int64_t k = s.attrs.i[1];
          if (k < 0 || k > s.shape[axis]) {
            s.fail("k {} of x {} along axis {}: want 0 to {}", k, s.shape, axis, s.shape[axis]);
          }
          s.shape[axis] = k;
          s.dtype = DType::i64;
        },
    .f32 = topk_as<float>,
    .f64 = topk_as<double>,
    .samples =
        [] {
          const auto values = [](int64_t k, int64_t axis) {
            return [k, axis](auto x) { return topk(x[0], k, axis).values; };
          };
          return std::vector<Sample>{
              {{{2, 5}}, values(3, -1)}, {{{17, 2}}, values(16, 0)},
              {{{2, 1}}, values(1, 1)},  {{{4, 5, 3}}, values(2, 1)},
              {{{2, 5}}, values(0, 1)},  {{{0, 3}}, values(2, 1)},
              {{{2, 0}}, values(0, 1)},  {{{2, 5}}, [](auto x) { return topk(x[0], 5).indices; }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return topk(zeros({2, 3}), 4).values;
                                         },
                                         "[topk] k 4 of x [2, 3]"},
                                        {[] {
                                           return topk(zeros({2, 3}), -1).values;
                                         },
                                         "k -1"},
                                        {[] {
                                           return topk(zeros({2, 3}), 1, 2).values;
                                         },
                                         "[topk] axis 2"}};
        },
};
const Register topk_registered(topk_op);

}  // namespace

Tensor argmax(Arg x, int64_t axis, bool keepdim) {
  const int64_t normal = axis_of(x, axis, "argmax");
  const Tensor best = record(argmax_op, {x}, {.i = {normal}, .f = {}});
  return keepdim ? unsqueeze(Arg(best, x.where()), normal) : best;
}

TopK topk(Arg x, int64_t k, int64_t axis) {
  const int64_t normal = axis_of(x, axis, "topk");
  const Tensor indices = record(topk_op, {x}, {.i = {normal, k}, .f = {}});
  return {gather(x, normal, Arg(indices, x.where())), indices};
}

}  // namespace reel
