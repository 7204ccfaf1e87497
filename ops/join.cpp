// Joining, cutting and moving: concat, flip and what is made of them.
#include "ops/shape.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/tape.h"

namespace reel {

namespace {

// ---- concat (core/concat.cpp) and what is made of it ----

const MoreSamples concat_samples(
    concat_op,
    [] {
      return std::vector<Sample>{
          {{{2, 3}, {1, 3}},
           [](auto x) {
             return concat({x[0], x[1]}, 0);
           }},
          {{{2, 1}, {2, 17}, {2, 3}}, [](auto x) { return concat(x, -1); }},
          {{{0, 3}, {2, 3}}, [](auto x) { return concat(x, 0); }},
          {{{2, 0}, {2, 0}}, [](auto x) { return concat(x, 1); }},
          {{{5}}, [](auto x) { return concat(x, 0); }},
          {{{2, 3, 4}, {3, 4}},
           [](auto x) {
             return concat(
                 {transpose(x[0], 0, 2), broadcast_to(unsqueeze(transpose(x[1], 0, 1), 2), {4, 3, 2})}, 1);
           }},
          {{{2, 3}, {2, 3}},
           [](auto x) {
             return concat({x[0], x[1], x[0]}, 1);
           }},
          {{{2, 3}, {2, 3}}, [](auto x) { return stack(x, 1); }},
          {{{}, {}}, [](auto x) { return stack(x, -1); }},
          {{{2, 7}},
           [](auto x) {
             const Tensors p = split(x[0], {1, 4, 2}, 1);
             return concat({p[2], p[0], p[1]}, 1);
           }},
          {{{2, 7}},
           [](auto x) {
             return stack({chunk(x[0], 3, 1)[1], chunk(x[0], 3, 1)[0]}, 0);
           }},
          {{{2, 6}}, [](auto x) { return stack(split<3>(x[0]), 0); }},
          {{{3, 5}}, [](auto x) { return roll(x[0], -7, 1); }},
          {{{0, 3}}, [](auto x) { return roll(x[0], 1, 0); }},
          {{{2, 3}}, [](auto x) { return pad(x[0], -1, 2, 1, 0.5); }},
          {{{2, 3}}, [](auto x) { return pad(x[0], 0, 0, 1); }},
      };
    },
    [] {
      return std::vector<BadSample>{
          {[] {
             return concat({zeros({2, 3}), zeros({2, 4})}, 0);
           },
           "part 1 [2, 3] and part 2 [2, 4]: want shapes equal but for axis 0"},
          {[] {
             return concat({zeros({2, 3}), zeros({2})}, 0);
           },
           "part 2 [2]"},
          {[] {
             return concat({zeros({2}), full({2}, 0, DType::f64)}, 0);
           },
           "part 1 is f32 and part 2 is f64"},
          {[] { return concat(Tensors{}, 0); }, "no parts"},
          {[] { return concat({zeros({})}, 0); }, "axis 0 of a value of shape []"},
          {[] {
             return concat({zeros({2}), Tensor()}, 0);
           },
           "undefined"},
          {[] {
             return stack({zeros({2}), zeros({3})}, 0);
           },
           "[stack] part 1 [2] and part 2 [3]: want equal shapes"},
          {[] { return stack({zeros({2})}, 2); }, "new axis 2"},
          {[] {
             return split(zeros({2, 7}), {1, 4}, 1)[0];
           },
           "sizes [1, 4] along axis 1 of a value of shape [2, 7]: want sizes from 0 that add up to 7"},
          {[] {
             return split(zeros({2}), {3, -1}, 0)[0];
           },
           "sizes [3, -1]"},
          {[] {
             return split<3>(zeros({2, 7}))[0];
           },
           "3 equal parts of axis 1 of a value of shape [2, 7]"},
          {[] { return chunk(zeros({2}), 0, 0)[0]; }, "0 chunks"},
          {[] { return roll(zeros({2}), 1, 1); }, "[roll] axis 1"},
          {[] { return pad(zeros({2}), 0, -1, 0); }, "-1 before and 0 after"},
          {[] { return pad(zeros({2}), 0, int64_t{1} << 62, int64_t{1} << 62); }, "more elements"},
      };
    });

// ---- flip ----

const Op flip_op{
    .name = "flip",
    .doc = "y = x backwards along some axes: y[k] = x[n - 1 - k]",
    .kind = Kind::gather,
    .shape = [](Signature& s) { s.shape = s.in(0); },
    .vjp =
        [](Vjp& g) {
          std::vector<int64_t> axes;
          for (int64_t k = 0; k < g.dy.dim(); ++k) {
            if (g.attrs().i[0] >> k & 1) axes.push_back(k);
          }
          g[0] = flip(g.dy, axes);
        },
    .bytes =
        [](const Exec& e) {
          if (e.out.shape.numel() == 0) return;
          Array backwards = e.in[0];
          for (int k = 0; k < backwards.shape.rank(); ++k) {
            int64_t& stride = backwards.strides[static_cast<size_t>(k)];
            if ((e.attrs.i[0] >> k & 1) == 0) continue;
            backwards.data +=
                (backwards.shape[k] - 1) * stride * static_cast<int64_t>(size_of(backwards.dtype));
            stride = -stride;
          }
          copy(backwards, e.out);
        },
    .strided = true,
    .samples =
        [] {
          return std::vector<Sample>{
              {{{2, 3}}, [](auto x) { return flip(x[0], {0}); }},
              {{{2, 1, 17}},
               [](auto x) {
                 return flip(x[0], {1, -1});
               }},
              {{{2, 3, 4}},
               [](auto x) {
                 return flip(transpose(x[0], 0, 1), {0, 2});
               }},
              {{{0, 3}},
               [](auto x) {
                 return flip(x[0], {0, 1});
               }},
              {{{3}}, [](auto x) { return flip(x[0], std::span<const int64_t>()); }},
          };
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] {
                                           return flip(zeros({2, 3}), {0, -2});
                                         },
                                         "axis 0 twice"},
                                        {[] {
                                           return flip(zeros({2, 3}), {2});
                                         },
                                         "axis 2"}};
        },
};
const Register flip_registered(flip_op);

}  // namespace

Tensor concat(std::span<const Tensor> parts, int64_t axis, Where where) {
  if (parts.empty()) fail("[concat] no parts: want at least one{}", at(where));
  std::vector<Arg> in;
  in.reserve(parts.size());
  for (const Tensor& part : parts) in.emplace_back(part, where);
  return record(concat_op, in,
                {.attrs = {.i = {axis_of(in[0], axis, "concat")}, .f = {}}, .shape = {}, .list = {}});
}

Tensor stack(std::span<const Tensor> parts, int64_t axis, Where where) {
  if (parts.empty()) fail("[stack] no parts: want at least one{}", at(where));
  const Shape first = shape_of(Arg(parts[0], where), "stack");
  const int64_t normal = new_axis_of(Arg(parts[0], where), axis, "stack");
  for (size_t k = 0; k < parts.size(); ++k) {
    const Shape shape = shape_of(Arg(parts[k], where), "stack");
    if (!(shape == first))
      fail("[stack] part 1 {} and part {} {}: want equal shapes{}", first, k + 1, shape, at(where));
  }
  if (normal == 0 && first.rank() > 0) {  // one reshape of all instead of one of each
    Shape all = first;
    all.insert(0, static_cast<int64_t>(parts.size()));
    return reshape(Arg(concat(parts, 0, where), where), all);
  }
  Tensors rows;
  for (const Tensor& part : parts) rows.push_back(unsqueeze(Arg(part, where), normal));
  return concat(rows, normal, where);
}

Tensors split(Arg x, std::span<const int64_t> sizes, int64_t axis) {
  const int64_t normal = axis_of(x, axis, "split");
  const Shape shape = shape_of(x, "split");
  const int64_t n = shape[static_cast<int>(normal)];
  int64_t left = n;
  bool fits = true;
  for (int64_t size : sizes) {
    fits = fits && size >= 0 && size <= left;
    if (fits) left -= size;
  }
  if (!fits || left != 0) {
    fail("[split] sizes [{}] along axis {} of a value of shape {}: want sizes from 0 that add up to {}{}",
         fmt::join(sizes, ", "), normal, shape, n, at(x.where()));
  }
  Tensors parts;
  int64_t begin = 0;
  for (int64_t size : sizes) {
    parts.push_back(slice(x, normal, begin, begin + size));
    begin += size;
  }
  return parts;
}

Tensors chunk(Arg x, int64_t chunks, int64_t axis) {
  const int64_t normal = axis_of(x, axis, "chunk");
  const int64_t n = shape_of(x, "chunk")[static_cast<int>(normal)];
  if (chunks < 1) fail("[chunk] {} chunks: want at least one{}", chunks, at(x.where()));
  const int64_t size = n / chunks + (n % chunks != 0);
  Tensors parts;
  for (int64_t begin = 0; begin < n; begin += size)
    parts.push_back(slice(x, normal, begin, std::min(begin + size, n)));
  for (int64_t k = 0; n == 0 && k < chunks; ++k) parts.push_back(slice(x, normal, 0, 0));
  return parts;
}

int64_t even_part(const Arg& x, int64_t parts, int64_t axis) {
  const int64_t normal = axis_of(x, axis, "split");
  const Shape shape = shape_of(x, "split");
  const int64_t n = shape[static_cast<int>(normal)];
  if (parts < 1 || n % parts != 0) {
    fail("[split] {} equal parts of axis {} of a value of shape {}: {} entries cannot be shared out evenly{}",
         parts, normal, shape, n, at(x.where()));
  }
  return n / parts;
}

Tensor flip(Arg x, std::span<const int64_t> axes) {
  int64_t mask = 0;
  for (int64_t each : axes) {
    const int64_t axis = axis_of(x, each, "flip");
    if (mask >> axis & 1) fail("[flip] axis {} twice: want each axis at most once{}", axis, at(x.where()));
    mask |= int64_t{1} << axis;
  }
  return record(flip_op, {x}, {.i = {mask}, .f = {}});
}

Tensor roll(Arg x, int64_t shift, int64_t axis) {
  const int64_t normal = axis_of(x, axis, "roll");
  const int64_t n = shape_of(x, "roll")[static_cast<int>(normal)];
  const int64_t cut = n == 0 ? 0 : ((-(shift % n)) + n) % n;  // the entry that comes first
  if (cut == 0) return *x.tensor();
  return concat({slice(x, normal, cut, n), slice(x, normal, 0, cut)}, normal, x.where());
}

Tensor pad(Arg x, int64_t axis, int64_t before, int64_t after, double value) {
  const int64_t normal = axis_of(x, axis, "pad");
  if (before < 0 || after < 0) {
    fail("[pad] {} before and {} after: want counts from 0{}", before, after, at(x.where()));
  }
  const Tensor number = full({}, value, x.tensor()->dtype());
  const auto side = [&](int64_t entries) {
    Shape shape = x.tensor()->shape();
    shape[static_cast<int>(normal)] = entries;
    return broadcast_to(number, shape);
  };
  return concat({side(before), *x.tensor(), side(after)}, normal, x.where());
}

}  // namespace reel
