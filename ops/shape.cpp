// The same elements under another shape or in another order of axes: reshape, permute and what is made of
// them.
#include "ops/shape.h"

#include <fmt/ranges.h>

#include <array>
#include <numeric>
#include <utility>

#include "core/structural.h"
#include "core/tape.h"

namespace reel {

namespace {

// ---- reshape: the op is core's ----

const MoreSamples reshape_samples(
    reshape_op,
    [] {
      return std::vector<Sample>{
          {{{2, 3}},
           [](auto x) {
             return reshape(x[0], {3, 2});
           }},
          {{{2, 1, 17}},
           [](auto x) {
             return reshape(x[0], {-1, 1});
           }},
          {{{}},
           [](auto x) {
             return reshape(x[0], {1, 1});
           }},
          {{{1, 1}}, [](auto x) { return reshape(x[0], {}); }},
          {{{0, 3}},
           [](auto x) {
             return reshape(x[0], {3, 2, 0});
           }},
          {{{2, 3}}, [](auto x) { return reshape(transpose(x[0], 0, 1), {-1}); }},  // a copy
          {{{2, 3, 4}},
           [](auto x) {
             return reshape(transpose(x[0], 0, 1), {3, 2, 2, 2});
           }},  // a view
          {{{3, 1}},
           [](auto x) {
             return reshape(broadcast_to(x[0], {2, 3, 4}), {2, 12});
           }},
          {{{5, 4}},
           [](auto x) {
             return reshape(slice(x[0], 1, 1, 3), {2, 5});
           }},
          {{{2, 3, 4}}, [](auto x) { return flatten(x[0], 1); }},
          {{{2, 3}}, [](auto x) { return unsqueeze(x[0], -2); }},
          {{{2, 1, 3}}, [](auto x) { return squeeze(x[0], 1); }},
      };
    },
    [] {
      return std::vector<BadSample>{
          {[] {
             return reshape(zeros({2, 3}), {4, 2});
           },
           "[2, 3] to [4, 2]: 6 elements do not fit 8"},
          {[] {
             return reshape(zeros({2, 3}), {-1, 4});
           },
           "-1 where 6 elements"},
          {[] {
             return reshape(zeros({2, 3}), {-1, -1});
           },
           "[-1, -1]: want at most one -1"},
          {[] {
             return reshape(zeros({0, 3}), {-1, 0});
           },
           "-1 where 0 elements"},
          {[] {
             return reshape(zeros({2}), {-2, -1});
           },
           "want sizes from 0"},
          {[] {
             return reshape(zeros({2}), {1, 1, 1, 1, 1, 1, 2});
           },
           "at most 6 axes"},
          {[] {
             return reshape(zeros({2}), {int64_t{1} << 40, int64_t{1} << 40});
           },
           "more elements"},
          {[] { return reshape(Tensor(), {1}); }, "undefined"},
          {[] {
             return flatten(zeros({2, 3}), 1, 0);
           },
           "axes 1 to 0"},
          {[] {
             return unsqueeze(zeros({2, 3}), 3);
           },
           "new axis 3 of a value of shape [2, 3]: want -3 to 2"},
          {[] {
             return squeeze(zeros({2, 3}), 2);
           },
           "axis 2 of a value of shape [2, 3]: want -2 to 1"},
      };
    });

// ---- permute ----

// The permutation, four bits an axis.
int permuted(const Attrs& attrs, int k) { return static_cast<int>(attrs.i[0] >> (4 * k) & 15); }

const Op permute_op{
    .name = "permute",
    .doc = "y = x with its axes in another order: axis k of y is axis axes[k] of x",
    .kind = Kind::view,
    .shape =
        [](Signature& s) {
          s.shape = s.in(0);
          for (int k = 0; k < s.shape.rank(); ++k) s.shape[k] = s.in(0)[permuted(s.attrs, k)];
        },
    .vjp =
        [](Vjp& g) {
          std::array<int64_t, kMaxRank> back{};
          const int rank = g.dy.shape().rank();
          for (int k = 0; k < rank; ++k) back[static_cast<size_t>(permuted(g.attrs(), k))] = k;
          g[0] = permute(g.dy, std::span(back.data(), static_cast<size_t>(rank)));
        },
    .view =
        [](const Array& in, const Attrs& attrs, Array& out) {
          for (int k = 0; k < in.shape.rank(); ++k)
            out.strides[static_cast<size_t>(k)] = in.stride(permuted(attrs, k));
          return true;
        },
    .samples =
        [] {
          return std::vector<Sample>{
              {{{2, 3, 4}},
               [](auto x) {
                 return permute(x[0], {1, 2, 0});
               }},
              {{{1, 17}},
               [](auto x) {
                 return permute(x[0], {-1, 0});
               }},
              {{{2, 0, 3}},
               [](auto x) {
                 return permute(x[0], {2, 0, 1});
               }},
              {{{}}, [](auto x) { return permute(x[0], std::span<const int64_t>()); }},
              {{{2, 3, 1, 2, 2, 3}},
               [](auto x) {
                 return permute(x[0], {5, 3, 1, 0, 2, 4});
               }},
              {{{5, 3, 2}}, [](auto x) { return transpose(x[0], 0, -1); }},
              {{{3, 4}}, [](auto x) { return transpose(x[0], 1, 1); }},
          };
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] {
                 return permute(zeros({2, 3}), {0});
               },
               "1 axes for a value of shape [2, 3]"},
              {[] {
                 return permute(zeros({2, 3}), {0, -2});
               },
               "axis 0 twice"},
              {[] {
                 return permute(zeros({2, 3}), {0, 2});
               },
               "axis 2 of a value of shape [2, 3]"},
              {[] {
                 return transpose(zeros({2, 3}), 0, -3);
               },
               "[transpose] axis -3"},
          };
        },
};
const Register permute_registered(permute_op);

}  // namespace

int64_t new_axis_of(const Arg& x, int64_t axis, std::string_view op) {
  const Shape shape = shape_of(x, op);
  const int64_t normal = axis < 0 ? axis + shape.rank() + 1 : axis;
  if (normal < 0 || normal > shape.rank()) {
    fail("[{}] new axis {} of a value of shape {}: want {} to {}{}", op, axis, shape, -shape.rank() - 1,
         shape.rank(), at(x.where()));
  }
  return normal;
}

Tensor reshape(Arg x, std::span<const int64_t> shape) {
  const Shape from = shape_of(x, "reshape");
  const auto refuse = [&](std::string_view want) {
    fail("[reshape] x {} to [{}]: want {}{}", from, fmt::join(shape, ", "), want, at(x.where()));
  };
  if (shape.size() > kMaxRank) refuse(fmt::format("at most {} axes", kMaxRank));
  Shape to;
  int open = -1;  // the axis of size -1
  for (int64_t size : shape) {
    if (size < -1) refuse("sizes from 0, or -1 for what is left");
    if (size == -1 && open >= 0) refuse("at most one -1");
    if (size == -1) open = to.rank();
    to.push_back(size == -1 ? 1 : size);
  }
  if (open >= 0) {
    const int64_t others = checked_numel(to);
    if (others == 0 || from.numel() % others != 0) {
      refuse(fmt::format("-1 where {} elements are left to share out evenly", from.numel()));
    }
    to[open] = from.numel() / others;
  }
  if (x.tensor() && to == from) return *x.tensor();
  return record(reshape_op, {&x, 1}, {.attrs = {}, .shape = to, .list = {}});
}

Tensor flatten(Arg x, int64_t first, int64_t last) {
  const Shape from = shape_of(x, "flatten");
  if (from.rank() == 0) return reshape(x, {1});
  const int64_t begin = axis_of(x, first, "flatten"), end = axis_of(x, last, "flatten");
  if (begin > end) {
    fail("[flatten] axes {} to {} of a value of shape {}: want first <= last{}", begin, end, from,
         at(x.where()));
  }
  Shape to;
  int64_t joined = 1;
  for (int k = 0; k < from.rank(); ++k) {
    if (k < begin || k > end) {
      to.push_back(from[k]);
      continue;
    }
    joined *= from[k];
    if (k == end) to.push_back(joined);
  }
  return reshape(x, to);
}

Tensor unsqueeze(Arg x, int64_t axis) {
  Shape to = shape_of(x, "unsqueeze");
  to.insert(static_cast<int>(new_axis_of(x, axis, "unsqueeze")), 1);
  return reshape(x, to);
}

Tensor squeeze(Arg x, int64_t axis) {
  Shape to = shape_of(x, "squeeze");
  const auto k = static_cast<int>(axis_of(x, axis, "squeeze"));
  if (to[k] == 1) to.erase(k);
  return reshape(x, to);
}

Tensor transposed_from(const Tensor& x) {
  const Node* node = x.node();
  const int rank = node ? node->shape.rank() : 0;
  if (rank < 2 || node->op != &permute_op || node->inputs != 1) return {};
  for (int k = 0; k < rank; ++k) {
    const int from = k == rank - 1 ? rank - 2 : k == rank - 2 ? rank - 1 : k;
    if (permuted(node->attrs, k) != from) return {};
  }
  // Where one was cut off from gradients and the other is not, they are not the same to a gradient.
  return node->requires_grad == node->in[0]->requires_grad ? Tensor(node->in[0]) : Tensor();
}

Tensor permute(Arg x, std::span<const int64_t> axes) {
  const Shape shape = shape_of(x, "permute");
  if (axes.size() != static_cast<size_t>(shape.rank())) {
    fail("[permute] {} axes for a value of shape {}: want each of its axes once{}", axes.size(), shape,
         at(x.where()));
  }
  int64_t packed = 0, seen = 0;
  for (size_t k = 0; k < axes.size(); ++k) {
    const int64_t axis = axis_of(x, axes[k], "permute");
    if (seen >> axis & 1) {
      fail("[permute] axis {} twice: want each axis of a value of shape {} once{}", axis, shape,
           at(x.where()));
    }
    seen |= int64_t{1} << axis;
    packed |= axis << (4 * k);
  }
  return record(permute_op, {x}, {.i = {packed}, .f = {}});
}

Tensor transpose(Arg x, int64_t a, int64_t b) {
  std::array<int64_t, kMaxRank> axes{};
  std::iota(axes.begin(), axes.end(), 0);
  std::swap(axes[static_cast<size_t>(axis_of(x, a, "transpose"))],
            axes[static_cast<size_t>(axis_of(x, b, "transpose"))]);
  return permute(x, std::span(axes.data(), static_cast<size_t>(shape_of(x, "transpose").rank())));
}

}  // namespace reel
