// Reshaping, joining, cutting, indexing and running sums, on numbers worked by hand. What must hold for every
// op (gradients, kernels against references) is checked on their samples elsewhere.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "core/gradcheck.h"
#include "ops/arithmetic.h"
#include "ops/indexing.h"
#include "ops/scan.h"
#include "ops/shape.h"
#include "tests/scratch.h"

using namespace reel;
using scratch::Contains;
using scratch::message_of;

namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int64_t>;

// 0, 1, 2, .. row by row.
Tensor counted(Shape shape, float first = 0) {
  Floats values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), first);
  return Tensor::from(values, shape);
}
Tensor ids(Ints values, Shape shape) { return Tensor::from(values, shape); }
Floats floats(const Tensor& x) { return x.to_vector<float>(); }
Ints ints(const Tensor& x) { return x.to_vector<int64_t>(); }
Tensor leaf(Shape shape) { return counted(shape).requires_grad_(); }
Tensor total(const Tensor& x) { return sum_to(x, {}); }
size_t copies(const std::string& plan) {
  size_t count = 0;
  for (size_t at = plan.find(" = copy"); at != std::string::npos; at = plan.find(" = copy", at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("reshape keeps the order of elements and works out -1") {
  const Tensor x = counted({2, 3, 4});
  CHECK(reshape(x, {4, 6}).shape() == Shape{4, 6});
  CHECK(reshape(x, {-1, 8}).shape() == Shape{3, 8});
  CHECK(reshape(x, {2, -1, 2, 1}).shape() == Shape{2, 6, 2, 1});
  CHECK(reshape(x, Shape{24}).shape() == Shape{24});
  CHECK(reshape(x, Ints{12, -1}).shape() == Shape{12, 2});
  CHECK(reshape(counted({1, 1}), {}).shape() == Shape{});
  CHECK(reshape(zeros({0, 3}), {-1, 5}).shape() == Shape{0, 5});
  CHECK(floats(reshape(x, {6, 4})) == floats(x));
  CHECK(floats(reshape(transpose(counted({2, 3}), 0, 1), {2, 3})) == Floats{0, 3, 1, 4, 2, 5});
  CHECK(floats(reshape(broadcast_to(counted({2, 1}), {2, 3}), {6})) == Floats{0, 0, 0, 1, 1, 1});
}

TEST_CASE("reshape copies only where no strides read the input so") {
  const Eager planned(false);
  const Tensor x = counted({4, 6});
  const auto copies_of = [](const Tensor& y) {
    const size_t count = copies(plan_text());
    eval({y});
    return count;
  };
  CHECK(copies_of(reshape(x, {2, 2, 3, 2})) == 0);
  CHECK(copies_of(reshape(transpose(x, 0, 1), {3, 2, 2, 2})) == 0);
  CHECK(copies_of(reshape(slice(x, 1, 1, 5), {4, 2, 2})) == 0);
  CHECK(copies_of(reshape(slice(x, 0, 1, 3), {-1})) == 0);
  CHECK(copies_of(reshape(transpose(x, 0, 1), {-1})) == 1);
  CHECK(copies_of(reshape(slice(x, 1, 1, 5), {2, 8})) == 1);
}

TEST_CASE("reshape of any strides reads the elements in their order") {
  const Eager planned(false);
  std::mt19937 random(3);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  size_t copied = 0;
  constexpr size_t kTrials = 400;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    Shape shape;
    for (int k = 0; k < 4; ++k) shape.push_back(1 + below(4));
    Tensor x = counted(shape);
    Ints axes{0, 1, 2, 3};
    if (below(2)) std::swap(axes[static_cast<size_t>(below(4))], axes[static_cast<size_t>(below(4))]);
    x = permute(x, axes);
    const int64_t cut = below(4);
    if (below(2)) x = slice(x, cut, below(x.size(cut)), x.size(cut));
    Shape wide = x.shape();
    wide.insert(static_cast<int>(below(4)), 1);
    x = reshape(x, wide);
    for (int k = 0; k < 5; ++k) {
      if (wide[k] == 1) wide[k] = 1 + below(2);
    }
    x = broadcast_to(x, wide);
    // Another shape: neighbouring axes joined, or the elements cut at a factor.
    Shape to;
    int64_t joined = 1;
    for (int k = 0; k < 5; ++k) {
      joined *= wide[k];
      if (below(2) == 0 && k < 4) continue;
      if (joined % 2 == 0 && below(2) && to.rank() + 6 - k <= kMaxRank) {
        to.push_back(joined / 2);
        joined = 2;
      }
      to.push_back(joined);
      joined = 1;
    }
    const Tensor y = reshape(x, to);
    copied += copies(plan_text());
    REQUIRE(floats(y) == floats(x));
  }
  CHECK(copied > kTrials / 10);
  CHECK(copied < kTrials * 9 / 10);
}

TEST_CASE("axes come and go: flatten, unsqueeze, squeeze, select") {
  const Tensor x = counted({2, 3, 4});
  CHECK(flatten(x).shape() == Shape{24});
  CHECK(flatten(x, 1).shape() == Shape{2, 12});
  CHECK(flatten(x, -3, -2).shape() == Shape{6, 4});
  CHECK(flatten(counted({})).shape() == Shape{1});
  CHECK(unsqueeze(x, 0).shape() == Shape{1, 2, 3, 4});
  CHECK(unsqueeze(x, -1).shape() == Shape{2, 3, 4, 1});
  CHECK(unsqueeze(x, -3).shape() == Shape{2, 1, 3, 4});
  CHECK(squeeze(counted({2, 1, 3}), -2).shape() == Shape{2, 3});
  CHECK(squeeze(x, 1).shape() == Shape{2, 3, 4});
  CHECK(floats(select(counted({2, 3}), 0, 1)) == Floats{3, 4, 5});
  CHECK(floats(select(counted({2, 3}), -1, -1)) == Floats{2, 5});
  CHECK(select(x, 1, 0).shape() == Shape{2, 4});
}

TEST_CASE("permute and transpose") {
  const Tensor y = permute(counted({2, 3, 4}), {2, 0, -2});
  REQUIRE(y.shape() == Shape{4, 2, 3});
  const Floats values = floats(y);
  for (size_t a = 0; a < 4; ++a) {
    for (size_t b = 0; b < 2; ++b) {
      for (size_t c = 0; c < 3; ++c)
        CHECK(values[(a * 2 + b) * 3 + c] == static_cast<float>(b * 12 + c * 4 + a));
    }
  }
  CHECK(floats(transpose(counted({2, 3}), 0, -1)) == Floats{0, 3, 1, 4, 2, 5});
  CHECK(ints(transpose(ids({1, 2, 3, 4}, {2, 2}), 0, 1)) == Ints{1, 3, 2, 4});
}

TEST_CASE("concat and stack") {
  const Tensor a = counted({2, 2}), b = counted({2, 1}, 10);
  CHECK(floats(concat({a, b, a}, 1)) == Floats{0, 1, 10, 0, 1, 2, 3, 11, 2, 3});
  CHECK(floats(concat({a, a}, -2)) == Floats{0, 1, 2, 3, 0, 1, 2, 3});
  CHECK(floats(concat({a, zeros({2, 0}), b}, 1)) == Floats{0, 1, 10, 2, 3, 11});
  CHECK(floats(concat({transpose(a, 0, 1), broadcast_to(b, {2, 2})}, 1)) ==
        Floats{0, 2, 10, 10, 1, 3, 11, 11});
  CHECK(ints(concat({ids({1, 2}, {2}), ids({3}, {1})}, 0)) == Ints{1, 2, 3});
  CHECK(ints(concat({Tensor::from(std::vector<bool>{true}, {1}), Tensor::from(std::vector<bool>{false}, {1})},
                    0)) == Ints{1, 0});
  CHECK(floats(stack({b, b}, 0)) == Floats{10, 11, 10, 11});
  CHECK(floats(stack({b, b}, -1)) == Floats{10, 10, 11, 11});
  CHECK(stack(Tensors(20, a), 1).shape() == Shape{2, 20, 2});
  CHECK(stack({counted({}), counted({}, 1)}, 0).shape() == Shape{2});
  const Tensor x = leaf({2, 2}), y = leaf({2, 1});
  const Tensors g = grad({total(concat({x, y, x}, 1) * counted({2, 5}))}, {x, y});
  CHECK(floats(g[0]) == Floats{3, 5, 13, 15});
  CHECK(floats(g[1]) == Floats{2, 7});
}

TEST_CASE("what is large is joined by all threads alike") {
  const Tensor x = counted({300, 200}), y = transpose(counted({400, 300}), 0, 1);
  set_num_threads(1);
  const Floats one = floats(concat({x, y, x}, 1));
  set_num_threads(3);
  const Floats three = floats(concat({x, y, x}, 1));
  set_num_threads(0);
  CHECK(one == three);
  REQUIRE(one.size() == 300 * 800);
  CHECK(one[7 * 800 + 200 + 5] == 5 * 300 + 7);
  CHECK(one[299 * 800 + 799] == 300 * 200 - 1);
}

TEST_CASE("split and chunk") {
  const Tensor x = counted({2, 6});
  const Tensors parts = split(x, {1, 0, 5}, 1);
  REQUIRE(parts.size() == 3);
  CHECK(floats(parts[0]) == Floats{0, 6});
  CHECK(parts[1].shape() == Shape{2, 0});
  CHECK(floats(parts[2]) == Floats{1, 2, 3, 4, 5, 7, 8, 9, 10, 11});
  const auto [a, b, c] = split<3>(x);
  CHECK(floats(a) == Floats{0, 1, 6, 7});
  CHECK(floats(c) == Floats{4, 5, 10, 11});
  CHECK(floats(split<2>(x, 0)[1]) == Floats{6, 7, 8, 9, 10, 11});
  const Tensors chunks = chunk(counted({7}), 5, -1);  // as PyTorch: two each, so four of them
  REQUIRE(chunks.size() == 4);
  CHECK(floats(chunks[3]) == Floats{6});
  CHECK(chunk(counted({2}), 5, 0).size() == 2);
  CHECK(chunk(zeros({0, 2}), 3, 0).size() == 3);
  // Only what was used gets a gradient.
  const Tensor w = leaf({6});
  const auto [p, q, r] = split<3>(w);
  CHECK(floats(grad(total(p * p + 3.0 * r), w)) == Floats{0, 2, 0, 0, 3, 3});
}

TEST_CASE("flip, roll and pad") {
  const Tensor x = counted({2, 3});
  CHECK(floats(flip(x, {0})) == Floats{3, 4, 5, 0, 1, 2});
  CHECK(floats(flip(x, {-1})) == Floats{2, 1, 0, 5, 4, 3});
  CHECK(floats(flip(transpose(x, 0, 1), {1, 0})) == Floats{5, 2, 4, 1, 3, 0});
  CHECK(ints(flip(ids({1, 2, 3}, {3}), {0})) == Ints{3, 2, 1});
  CHECK(floats(roll(x, 1, 1)) == Floats{2, 0, 1, 5, 3, 4});
  CHECK(floats(roll(x, -4, -1)) == Floats{1, 2, 0, 4, 5, 3});
  CHECK(floats(roll(x, 6, 1)) == floats(x));
  CHECK(floats(pad(x, 1, 1, 2)) == Floats{0, 0, 1, 2, 0, 0, 0, 3, 4, 5, 0, 0});
  CHECK(floats(pad(x, -2, 0, 1, -7)) == Floats{0, 1, 2, 3, 4, 5, -7, -7, -7});
  CHECK(ints(pad(ids({5}, {1}), 0, 1, 1, 9)) == Ints{9, 5, 9});
  CHECK(floats(pad(zeros({0, 2}), 0, 1, 0, 3)) == Floats{3, 3});
  const Tensor w = leaf({3});
  CHECK(floats(grad(total(pad(w, 0, 2, 1, 5) * counted({6})), w)) == Floats{2, 3, 4});
}

TEST_CASE("gather and scatter_add") {
  const Tensor x = counted({2, 3});
  CHECK(floats(gather(x, 1, ids({2, 0, 1, 1}, {2, 2}))) == Floats{2, 0, 4, 4});
  CHECK(floats(gather(x, -2, ids({1, 0, 1}, {1, 3}))) == Floats{3, 1, 5});
  CHECK(ints(gather(ids({7, 8, 9}, {3}), 0, ids({2, 2}, {2}))) == Ints{9, 9});
  CHECK(floats(gather(transpose(x, 0, 1), 0, ids({2, 0, 1, 1}, {2, 2}))) == Floats{2, 3, 1, 4});
  const Tensor source = counted({2, 3}, 10);
  CHECK(floats(scatter_add(x, 1, ids({0, 0, 0, 2, 1, 2}, {2, 3}), source)) == Floats{33, 1, 2, 3, 18, 33});
  CHECK(floats(scatter_add(x, 0, ids({1, 1}, {1, 2}), source)) ==
        Floats{0, 1, 2, 13, 15, 5});  // a corner of source
  const Tensor w = leaf({2, 3});
  const Tensor picked = gather(w, 1, ids({2, 2, 0, 1}, {2, 2}));
  CHECK(floats(grad(total(picked * counted({2, 2}, 1)), w)) == Floats{0, 0, 3, 3, 4, 0});
}

TEST_CASE("embedding looks rows up, and its gradient is rows") {
  const Eager planned(false);
  const Tensor weight = leaf({1000, 2});
  const Tensor y = embedding(weight, ids({3, 0, 3, 999}, {2, 2}));
  CHECK(y.shape() == Shape{2, 2, 2});
  CHECK(floats(y) == Floats{6, 7, 0, 1, 6, 7, 1998, 1999});
  CHECK(embedding(weight, ids({}, {0, 4})).shape() == Shape{0, 4, 2});
  CHECK(embedding(weight, ids({5}, {})).shape() == Shape{2});

  // Three look-ups: the sum of their gradients is the only value of the weight's size.
  Tensor loss = full({}, 0);
  for (int64_t id : {1, 2, 1}) loss = loss + total(square(embedding(weight, ids({id, 5}, {2}))));
  const Tensor g = grad(loss, weight, {.create_graph = false});
  const std::string plan = plan_text();
  size_t whole = 0;
  for (size_t at = plan.find("[1000, 2] ="); at != std::string::npos; at = plan.find("[1000, 2] =", at + 1))
    ++whole;
  CHECK_MESSAGE(whole == 1, plan);
  const Floats values = floats(g);
  CHECK(Floats(values.begin(), values.begin() + 6) == Floats{0, 0, 8, 12, 8, 10});
  CHECK(Floats(values.begin() + 10, values.begin() + 14) == Floats{60, 66, 0, 0});
}

TEST_CASE("no gradient reaches an embedding's padding row") {
  const Tensor weight = leaf({3, 2});
  for (int64_t padding : {1, -2}) {
    const Tensor y = embedding(weight, ids({0, 1, 1, 2}, {4}), padding);
    CHECK(floats(y) == Floats{0, 1, 2, 3, 2, 3, 4, 5});
    CHECK(floats(grad(total(y * counted({4, 2}, 1)), weight)) == Floats{1, 2, 0, 0, 7, 8});
  }
  const auto f = [](const Tensors& x) { return square(embedding(x[0], x[1])); };
  const Tensors in{weight, ids({2, 0, 2}, {3, 1})};
  CHECK_MESSAGE(gradcheck(f, in).ok, gradcheck(f, in).text());
  CHECK_MESSAGE(gradgradcheck(f, in).ok, gradgradcheck(f, in).text());
}

TEST_CASE("one_hot") {
  const Tensor y = one_hot(ids({2, 0}, {2, 1}), 3);
  CHECK(y.shape() == Shape{2, 1, 3});
  CHECK(floats(y) == Floats{0, 0, 1, 1, 0, 0});
  for (DType dtype : {DType::f64, DType::f32, DType::f64}) {  // one plan must not serve both
    const DefaultDType scope(dtype);
    const Tensor z = one_hot(ids({1}, {1}), 2);
    CHECK(z.dtype() == dtype);
    CHECK(floats(z) == Floats{0, 1});
  }
}

TEST_CASE("argmax takes the first of equals, and a NaN above all") {
  const Tensor x = Tensor::from(Floats{1, 5, 5, -1, -3, -2}, {2, 3});
  CHECK(ints(argmax(x, 1)) == Ints{1, 0});
  CHECK(ints(argmax(x, 0)) == Ints{0, 0, 0});
  CHECK(argmax(x, -1, true).shape() == Shape{2, 1});
  CHECK(ints(argmax(Tensor::from(Floats{1, NAN, 9, NAN}, {4}), 0)) == Ints{1});
  CHECK(ints(argmax(broadcast_to(counted({4}), {1, 4}), 0)) == Ints{0, 0, 0, 0});  // an axis of stride 0
  CHECK(ints(argmax(transpose(x, 0, 1), 0)) == Ints{1, 0});
  CHECK(argmax(x, 0).dtype() == DType::i64);
}

TEST_CASE("topk is in descending order, ties to the lower index") {
  const Tensor x = Tensor::from(Floats{1, 5, 4, 5, -1, -3, -2, -1}, {2, 4});
  const TopK top = topk(x, 3);
  CHECK(ints(top.indices) == Ints{1, 3, 2, 0, 3, 2});
  CHECK(floats(top.values) == Floats{5, 5, 4, -1, -1, -2});
  CHECK(ints(topk(x, 1, 0).indices) == Ints{0, 0, 0, 0});
  CHECK(ints(topk(transpose(x, 0, 1), 2, 0).indices) == Ints{1, 0, 3, 3});
  CHECK(topk(x, 0).values.shape() == Shape{2, 0});
  CHECK(ints(topk(Tensor::from(Floats{1, NAN, 3, NAN, INFINITY}, {5}), 4).indices) == Ints{1, 3, 4, 2});
  const Tensor w = leaf({4});
  CHECK(floats(grad(total(topk(w, 2).values * counted({2}, 1)), w)) == Floats{0, 0, 2, 1});
  const auto f = [](const Tensors& v) { return square(topk(v[0], 2, 0).values); };
  CHECK_MESSAGE(gradcheck(f, {x}).ok, gradcheck(f, {x}).text());
  CHECK_MESSAGE(gradgradcheck(f, {x}).ok, gradgradcheck(f, {x}).text());
}

TEST_CASE("cumsum") {
  CHECK(floats(cumsum(counted({2, 3}), 1)) == Floats{0, 1, 3, 3, 7, 12});
  CHECK(floats(cumsum(counted({2, 3}), -2)) == Floats{0, 1, 2, 3, 5, 7});
  CHECK(ints(cumsum(ids({1, -2, 5}, {3}), 0)) == Ints{1, -1, 4});
  // In f32 alone 2^24 + 1 + 1 would stay 2^24.
  CHECK(floats(cumsum(Tensor::from(Floats{16777216, 1, 1}, {3}), 0))[2] == 16777218);
  const Tensor w = leaf({3});
  CHECK(floats(grad(total(cumsum(w, 0) * counted({3}, 1)), w)) == Floats{6, 5, 3});
}

TEST_CASE("errors are sentences with the caller's place") {
  const Tensor x = counted({2, 3});
  const auto of = [](auto call) { return message_of([&] { call(); }); };
  CHECK(of([&] {
          reshape(x, {4, -1});
        }) == Contains("[reshape] x [2, 3] to [4, -1]: want -1 where 6 elements are left to share out evenly "
                       "(ops_shape_test.cpp:"));
  CHECK(of([&] { reshape(x, {7}); }) ==
        Contains("[reshape] x [2, 3] to [7]: 6 elements do not fit 7 (ops_shape_test.cpp:"));
  CHECK(of([&] { transpose(x, 0, 2); }) ==
        Contains("[transpose] axis 2 of a value of shape [2, 3]: want -2 to 1 (ops_shape_test.cpp:"));
  CHECK(of([&] { select(x, 0, -3); }) ==
        Contains(
            "[select] index -3 along axis 0 of a value of shape [2, 3]: want -2 to 1 (ops_shape_test.cpp:"));
  CHECK(of([&] {
          concat({x, counted({2})}, 0);
        }) ==
        Contains(
            "[concat] part 1 [2, 3] and part 2 [2]: want shapes equal but for axis 0 (ops_shape_test.cpp:"));
  CHECK(of([&] { stack({x, Tensor()}, 0); }) == Contains("[stack] got an undefined tensor"));
  CHECK(of([&] { split<4>(x); }) == Contains("[split] 4 equal parts of axis 1 of a value of shape [2, 3]"));
  CHECK(of([&] { flip(x, {5}); }) == Contains("[flip] axis 5 of a value of shape [2, 3]"));
  CHECK(of([&] { embedding(x, counted({2})); }) == Contains("ids of dtype f32: want i64"));
  CHECK(of([&] { embedding(counted({3}), ids({0}, {1})); }) ==
        Contains("[embedding] weight [3]: want [entries, features]"));
  CHECK(of([&] { embedding(x, ids({0}, {1}), 2); }) ==
        Contains("[embedding] padding_idx 2 with weight [2, 3]: want -2 to 1"));
  CHECK(of([&] { embedding(x, ids({0, 2}, {2})).to_bytes(); }) == Contains("id 2 at position 1"));
  CHECK(of([&] { one_hot(ids({-1}, {1}), 3).to_bytes(); }) ==
        Contains("[one_hot] id -1 at position 0: want from 0 to below 3"));
  CHECK(of([&] {
          gather(zeros({2, 0}), 1, ids({0}, {1, 1})).to_bytes();
        }) == Contains("id 0 at position 0: want from 0 to below 0"));
  CHECK(of([&] { topk(x, 4); }) == Contains("[topk] k 4 of x [2, 3] along axis 1: want 0 to 3"));
  for (int64_t count : {0, 1}) {  // even where there is no element: strides would overflow
    CHECK(of([&] { one_hot(full({count}, 0, DType::i64), int64_t{1} << 62); }) ==
          Contains("more elements than memory can hold"));
  }
}
