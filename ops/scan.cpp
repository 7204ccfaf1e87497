#include "ops/scan.h"

#include <algorithm>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "ops/shape.h"

namespace reel {

namespace {

// The axes before and behind: element (o, k, i) lies at (o * n + k) * inner + i.
struct Around {
  int64_t outer = 1, n, inner = 1;
  Around(const Shape& shape, int64_t axis) : n(shape[static_cast<int>(axis)]) {
    for (int k = 0; k < shape.rank(); ++k) {
      if (k != axis) (k < axis ? outer : inner) *= shape[k];
    }
  }
};

template <class T, class Total>
void add_up(const Exec& e) {
  const Around a(e.in[0].shape, e.attrs.i[0]);
  parallel_for(a.outer, a.n * a.inner, [&](int64_t begin, int64_t end) {
    std::vector<Total> total(static_cast<size_t>(a.inner));
    for (int64_t o = begin; o < end; ++o) {
      std::fill(total.begin(), total.end(), Total{0});
      const T* x = e.in[0].as<T>() + o * a.n * a.inner;
      T* y = e.out.as<T>() + o * a.n * a.inner;
      for (int64_t k = 0; k < a.n; ++k, x += a.inner, y += a.inner) {
        for (int64_t i = 0; i < a.inner; ++i) {
          total[static_cast<size_t>(i)] += static_cast<Total>(x[i]);
          y[i] = static_cast<T>(total[static_cast<size_t>(i)]);
        }
      }
    }
  });
}

const Op cumsum_op{
    .name = "cumsum",
    .doc = "y[k] = x[0] + .. + x[k] along an axis",
    .kind = Kind::other,
    .shape =
        [](Signature& s) {
          if (s.in_dtype(0) == DType::boolean) s.fail("x is bool: want f32, f64 or i64");
          s.shape = s.in(0);
        },
    .vjp =
        [](Vjp& g) {
          const int64_t axis = g.attrs().i[0];
          g[0] = flip(cumsum(flip(g.dy, {axis}), axis), {axis});
        },
    .f32 =
        [](const Exec& e) {
          // Unsigned totals wrap around where signed ones would be undefined.
          if (e.out.dtype == DType::i64) return add_up<int64_t, uint64_t>(e);
          add_up<float, double>(e);
        },
    .f64 =
        [](const Exec& e) {
          const Around a(e.in[0].shape, e.attrs.i[0]);
          for (int64_t j = 0; j < a.outer * a.inner; ++j) {
            double total = 0;
            for (int64_t k = 0; k < a.n; ++k) {
              const int64_t at = (j / a.inner * a.n + k) * a.inner + j % a.inner;
              e.out.as<double>()[at] = total += e.in[0].as<double>()[at];
            }
          }
        },
    .samples =
        [] {
          const auto along = [](int64_t axis) { return [axis](auto x) { return cumsum(x[0], axis); }; };
          return std::vector<Sample>{{{{2, 3}}, along(0)}, {{{2, 3}}, along(-1)}, {{{2, 5, 17}}, along(1)},
                                     {{{1}}, along(0)},    {{{0, 3}}, along(0)},  {{{2, 0}}, along(0)},
                                     {{{33}}, along(0)},   {{{2, 300}}, along(1)}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] {
                 return cumsum(zeros({2, 3}), 2);
               },
               "[cumsum] axis 2"},
              {[] { return cumsum(zeros({}), 0); }, "axis 0 of a value of shape []"},
              {[] { return cumsum(full({2}, 1, DType::boolean), 0); }, "x is bool"}};
        },
};
const Register cumsum_registered(cumsum_op);

}  // namespace

Tensor cumsum(Arg x, int64_t axis) {
  return record(cumsum_op, {x}, {.i = {axis_of(x, axis, "cumsum")}, .f = {}});
}

}  // namespace reel
