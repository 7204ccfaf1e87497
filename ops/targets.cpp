#include "ops/targets.h"

#include <cstring>

#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/reductions.h"

namespace reel {

namespace {

std::string position(int64_t flat, const Shape& shape) {
  Shape index = shape;
  for (int axis = shape.rank(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return index.str();
}

Tensor put_target(Arg dy, Arg targets, const Attrs& attrs, const Shape& shape);

const Op take_target_op{
    .name = "take_target",
    .doc = "y[..] = x[.., target[..]]; 0 where the target is ignored",
    .kind = Kind::gather,
    .shape = target_rows,
    .vjp = [](Vjp& g) { g[0] = put_target(g.dy, g.x(1), g.attrs(), g.x(0).shape()); },
    .bytes =
        [](const Exec& e) {
          const int64_t n = classes_of(e.in[0]);
          const int64_t* targets = checked_targets(e, n);
          const size_t width = size_of(e.out.dtype);
          for (int64_t row = 0, rows = e.out.shape.numel(); row < rows; ++row) {
            std::byte* to = e.out.data + static_cast<size_t>(row) * width;
            if (targets[row] == e.attrs.i[0]) {
              std::memset(to, 0, width);
            } else {
              std::memcpy(to, e.in[0].data + static_cast<size_t>(row * n + targets[row]) * width, width);
            }
          }
        },
    .samples =
        [] {
          const auto call = [](auto x) { return take_target(x[0], x[1], 1); };
          return std::vector<Sample>{{{{5, 3}}, call, -2, 2, {{5}}, 3},
                                     {{{4, 1}}, call, -2, 2, {{4}}, 1},
                                     {{{2, 3, 17}}, call, -2, 2, {{2, 3}}, 17},
                                     {{{3}}, call, -2, 2, {{}}, 3},
                                     {{{0, 3}}, call, -2, 2, {{0}}, 3}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] {
                 return nll_loss(zeros({1, 3}), Tensor::from(std::vector<int64_t>{3}, {1}));
               },
               "target 3"},
              {[] {
                 return nll_loss(zeros({2, 3}), zeros({2}));
               },
               "want i64"}};
        },
};
const Register take_target_registered(take_target_op);

const Op put_target_op{
    .name = "put_target",
    .doc =
        "y[.., target[..]] = x[..], 0 elsewhere and where the target is ignored; the transpose of "
        "take_target",
    .kind = Kind::gather,
    .shape =
        [](Signature& s) {
          if (!(s.in(0) == s.in(1))) s.fail("values {} and targets {}: want one shape", s.in(0), s.in(1));
        },
    .vjp =
        [](Vjp& g) {
          g[0] = record(take_target_op, {g.dy, g.x(1)}, g.attrs());
        },
    .bytes =
        [](const Exec& e) {
          const int64_t n = classes_of(e.out);
          const int64_t* targets = checked_targets(e, n);
          const size_t width = size_of(e.out.dtype);
          std::memset(e.out.data, 0, static_cast<size_t>(e.out.shape.numel()) * width);
          for (int64_t row = 0, rows = e.in[0].shape.numel(); row < rows; ++row) {
            if (targets[row] == e.attrs.i[0]) continue;
            std::memcpy(e.out.data + static_cast<size_t>(row * n + targets[row]) * width,
                        e.in[0].data + static_cast<size_t>(row) * width, width);
          }
        },
    .shape_is_argument = true,
    .samples =
        [] {
          const auto into = [](Shape shape) {
            return
                [=](std::span<const Tensor> x) { return put_target(x[0], x[1], {.i = {1}, .f = {}}, shape); };
          };
          return std::vector<Sample>{{{{5}}, into({5, 3}), -2, 2, {{5}}, 3},
                                     {{{4}}, into({4, 1}), -2, 2, {{4}}, 1},
                                     {{{2, 17}}, into({2, 17, 4}), -2, 2, {{2, 17}}, 4},
                                     {{{0}}, into({0, 3}), -2, 2, {{0}}, 3}};
        },
};
const Register put_target_registered(put_target_op);

Tensor put_target(Arg dy, Arg targets, const Attrs& attrs, const Shape& shape) {
  const Arg in[] = {dy, targets};
  return record(put_target_op, in, {.attrs = attrs, .shape = shape, .list = {}});
}

}  // namespace

const int64_t* checked_targets(const Exec& e, int64_t classes) {
  const Array& targets = e.in[1];
  const auto* t = targets.as<int64_t>();
  for (int64_t row = 0, rows = targets.shape.numel(); row < rows; ++row) {
    if ((t[row] < 0 || t[row] >= classes) && t[row] != e.attrs.i[0]) {
      e.fail("target {} at position {}: want 0 to {}, or {} to ignore the row", t[row],
             position(row, targets.shape), classes - 1, e.attrs.i[0]);
    }
  }
  return t;
}

void target_rows(Signature& s) {
  const Shape& x = s.in(0);
  if (x.rank() > 0) s.shape = Shape(std::span<const int64_t>(x.begin(), x.end() - 1));
  if (x.rank() == 0 || !(s.shape == s.in(1))) {
    s.fail("values {} and targets {}: want values [.., classes] and targets [..]", x, s.in(1));
  }
  if (s.in_dtype(1) != DType::i64) s.fail("targets of dtype {}: want i64", name_of(s.in_dtype(1)));
  s.want_float(0);
  s.dtype = s.in_dtype(0);
}

Tensor take_target(Arg x, Arg targets, int64_t ignore_index) {
  return record(take_target_op, {x, targets}, {.i = {ignore_index}, .f = {}});
}

Tensor target_weights(const Arg& x, const Arg& targets, const Tensor& weight, int64_t ignore_index,
                      std::string_view op) {
  const Shape shape = shape_of(x, op), given = shape_of(Arg(weight, x.where()), op);
  if (shape.rank() == 0 || given.rank() != 1 || given[0] != shape[shape.rank() - 1]) {
    fail("[{}] values {} and weight {}: want a weight for each class of the last axis{}", op, shape, given,
         at(x.where()));
  }
  return take_target(broadcast_to(weight, shape), targets, ignore_index);
}

Tensor reduced(const Tensor& rows, const Tensor& weights, const Arg& targets, int64_t ignore_index,
               Reduction reduction) {
  if (reduction != Reduction::mean) return reduced(rows, reduction);
  if (weights.defined()) return sum(rows) / sum(weights);
  return sum(rows) / sum(not_equal(targets, static_cast<double>(ignore_index)));
}

}  // namespace reel
