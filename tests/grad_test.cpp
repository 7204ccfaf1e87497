// Differentiation: orders, places, intermediate values, versions of variables, what backward() keeps and
// releases.
#include <doctest/doctest.h>

#include <optional>

#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/shape.h"

namespace reel {
namespace {

using Numbers = std::vector<double>;

Tensor vector(const Numbers& values) { return Tensor::from(values, {static_cast<int64_t>(values.size())}); }
Tensor variable(double x) { return Tensor::from(Numbers{x}, {}).requires_grad_(); }
Tensor ids(const std::vector<int64_t>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}
Tensor sum(const Tensor& x) { return sum_to(x, {}); }
Numbers numbers(const Tensor& x) { return x.to_vector<double>(); }

TEST_CASE("first, second, third and fourth derivative of x^3") {
  const Tensor x = variable(2);
  const Tensor y = x * x * x;
  const Tensor d1 = grad(y, x), d2 = grad(d1, x), d3 = grad(d2, x), d4 = grad(d3, x);
  CHECK(y.item() == 8);
  CHECK(d1.item() == 12);
  CHECK(d2.item() == 12);
  CHECK(d3.item() == 6);
  CHECK(d4.item() == 0);
  CHECK_FALSE(grad(y, x, {.cotangents = {}, .create_graph = false}).requires_grad());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("mixed second derivatives") {
  const Tensor x = variable(3), y = variable(5);
  const Tensor z = x * x * y;  // dz/dx = 2xy
  const Tensor gx = grad(z, x);
  CHECK(grad(gx, y).item() == 6);
  CHECK(grad(gx, x).item() == 10);
  const Tensors both = grad(Tensors{z, gx}, Tensors{x, y, x});
  CHECK(both[0].item() == 30 + 10);
  CHECK(both[1].item() == 9 + 6);
  CHECK(both[2].item() == 40);
  const Tensor twice = z + z;
  const NoGrad no_grad;  // asked for a graph, grad() makes one all the same, with several contributions too
  CHECK(grad(grad(twice, x), x).item() == 20);
}

TEST_CASE("derivatives by values in the middle") {
  const Tensor x = variable(2);
  const Tensor m = x * x, y = m * m * x;
  const Tensors g = grad(Tensors{y}, Tensors{m, x});
  CHECK(g[0].item() == 2 * 4 * 2);
  CHECK(g[1].item() == 16 * 5);
  CHECK(grad(y, y).item() == 1);
  CHECK(grad(m, y).item() == 0);  // m does not depend on y
  CHECK_THROWS_WITH_AS(grad(y, detach(x)), doctest::Contains("requires no gradient"), Error);
  CHECK_THROWS_WITH_AS(grad(Tensors{y}, Tensors{x}, {.cotangents = {vector({1})}}),
                       doctest::Contains("want f64 []"), Error);
  CHECK_THROWS_WITH_AS(grad(Tensors{y}, Tensors{x}, {.cotangents = {m, m}}),
                       doctest::Contains("2 cotangents"), Error);
}

TEST_CASE("gradients through slices that tile, overlap and leave gaps") {
  for (const bool eager : {false, true}) {
    const Eager mode(eager);
    const auto check = [](const std::vector<std::pair<int, int>>& pieces, const Numbers& want) {
      const Tensor x = vector({1, 2, 3, 4, 5}).requires_grad_();
      Tensor total = Tensor::from(Numbers{0}, {});
      double weight = 1;
      for (const auto& [begin, end] : pieces) total = total + sum(slice(x, 0, begin, end)) * weight++;
      CHECK(numbers(grad(total, x)) == want);
    };
    check({{0, 2}, {2, 5}}, {1, 1, 2, 2, 2});
    check({{2, 5}, {0, 2}}, {2, 2, 1, 1, 1});
    check({{0, 3}, {2, 5}}, {1, 1, 3, 2, 2});
    check({{0, 1}, {3, 4}}, {1, 0, 0, 2, 0});
    check({{1, 4}}, {0, 1, 1, 1, 0});
    check({{0, 5}, {2, 2}}, {1, 1, 1, 1, 1});
    check({{2, 2}}, {0, 0, 0, 0, 0});
    check({{0, 2}, {0, 2}, {2, 5}}, {3, 3, 3, 3, 3});
    check({{0, 2}, {3, 5}}, {1, 1, 0, 2, 2});
    // Columns: every part leaves the rest of each row to the others.
    const Tensor x = Tensor::from(Numbers{1, 2, 3, 4, 5, 6}, {2, 3}).requires_grad_();
    const Tensor y = slice(x, 1, 0, 1) * 2.0, z = slice(x, 1, 1, 3) * 3.0;
    CHECK(numbers(grad(sum(y) + sum(z), x)) == Numbers{2, 3, 3, 2, 3, 3});
  }
}

TEST_CASE("gradients of rows that are read repeatedly, and of all kinds of reading together") {
  for (const bool eager : {false, true}) {
    const Eager mode(eager);
    const Tensor x = vector({1, 2, 3, 4}).requires_grad_();
    const Tensor weights = vector({1, 10, 100, 1000});
    const Tensor rows = sum(index_select(x, 0, ids({3, 0, 3, 3})) * weights);
    CHECK(numbers(grad(rows, x)) == Numbers{10, 0, 0, 1101});
    // ids that do not lie side by side in memory
    const Tensor pairs = Tensor::from(std::vector<int64_t>{3, 9, 0, 9, 3, 9, 3, 9}, {4, 2});
    CHECK(numbers(grad(sum(index_select(x, 0, select(pairs, 1, 0)) * weights), x)) ==
          Numbers{10, 0, 0, 1101});
    const Tensor all = rows + sum(x * 0.5) + sum(slice(x, 0, 1, 3));
    CHECK(numbers(grad(all, x)) == Numbers{10.5, 1.5, 1.5, 1101.5});
    // d2/dx2 of sum over rows of x^3
    const Tensor r = index_select(x, 0, ids({1, 1, 2}));
    const Tensor g = grad(sum(r * r * r), x);
    CHECK(numbers(g) == Numbers{0, 24, 27, 0});
    CHECK(numbers(grad(sum(g), x)) == Numbers{0, 24, 18, 0});
  }
}

TEST_CASE("gradients of what was broadcast") {
  const Tensor x = vector({1, 2}).requires_grad_(), s = variable(3);
  const Tensor column = Tensor::from(Numbers{1, 2, 3}, {3, 1}).requires_grad_();
  sum(x * column * s).backward();
  CHECK(numbers(x.grad()) == Numbers{18, 18});
  CHECK(numbers(column.grad()) == Numbers{9, 9, 9});
  CHECK(s.grad().shape() == Shape{});
  CHECK(s.grad().item() == 18);
}

TEST_CASE("backward() adds to .grad and releases the graph; twice is a sentence") {
  const Tensor x = variable(3);
  const Tensor m = x * x, y = m * x;
  y.backward({}, {.retain_graph = true});
  CHECK(x.grad().item() == 27);
  y.backward();
  CHECK(x.grad().item() == 54);
  CHECK_THROWS_WITH_AS(y.backward(), doctest::Contains("consumed by an earlier backward()"), Error);
  CHECK_THROWS_WITH_AS((m * 2.0).backward(), doctest::Contains("retain_graph"), Error);
  CHECK_THROWS_WITH_AS(grad(y, x), doctest::Contains("consumed"), Error);
  CHECK(y.item() == 27);
  CHECK(m.item() == 9);
  CHECK(x.grad().item() == 54);
  CHECK_THROWS_WITH_AS(detach(y).backward(), doctest::Contains("depends on no variable"), Error);
}

TEST_CASE("a look at a value in the middle changes no gradient") {
  const auto run = [](bool look) {
    const Tensor w = vector({0.5, -0.25}).requires_grad_();
    Tensor h = vector({1, 2});
    for (int t = 0; t < 5; ++t) {
      h = erf(h * w + 0.3);
      if (look && t % 2 == 0) h.to_vector<double>();
    }
    sum(h * h).backward();
    return numbers(w.grad());
  };
  CHECK(run(false) == run(true));
}

TEST_CASE("a carried state: detached it works, otherwise it is a sentence") {
  const Tensor w = variable(0.5);
  Tensor h = Tensor::from(Numbers{1}, {});
  const auto step = [&] { h = h * w + 1.0; };
  step();
  h.backward();
  CHECK(w.grad().item() == 1);
  h = detach(h);
  step();
  h.backward();
  CHECK(w.grad().item() == 1 + 1.5);
  step();
  CHECK_THROWS_WITH_AS(h.backward(),
                       doctest::Contains("detach() where the value is carried on (grad_test.cpp"), Error);
  CHECK(w.grad().item() == 2.5);
}

TEST_CASE("versions: an update leaves the old value to all that was recorded before") {
  for (const bool eager : {false, true}) {
    const Eager mode(eager);
    Tensor w = variable(3);
    const Tensor pending = w * 2.0;
    const Tensor y = w * w * w;  // not differentiated yet
    w.assign(Tensor::from(Numbers{10}, {}));
    const Tensor second = w * w;
    *writable(w).as<double>() = 100;
    const Tensor third = w * w;
    CHECK(pending.item() == 6);
    CHECK(y.item() == 27);
    CHECK(second.item() == 100);
    CHECK(third.item() == 10'000);
    (y + second + third).backward();
    CHECK(w.grad().item() == 27 + 20 + 200);
    CHECK(w.item() == 100);
  }
}

TEST_CASE("versions: views, gradients and detached copies of a variable keep what they saw") {
  Tensor w = vector({1, 2, 3}).requires_grad_();
  const Tensor view = slice(w, 0, 1, 3), kept = detach(w);
  eval({view, kept});
  w.assign(vector({7, 8, 9}));
  CHECK(numbers(view) == Numbers{2, 3});
  CHECK(numbers(kept) == Numbers{1, 2, 3});
  w.assign(w * w);
  CHECK(numbers(w) == Numbers{49, 64, 81});
  w.assign(w);
  CHECK(numbers(w) == Numbers{49, 64, 81});
}

TEST_CASE("a constant made a variable: what read it before goes on reading a constant") {
  for (const bool eager : {false, true}) {
    const Eager mode(eager);
    const Tensor w = variable(3);
    Tensor c = Tensor::from(Numbers{5}, {});
    const Tensor y = w * c;
    const Tensor z = w * c;
    z.item();
    c.requires_grad_();
    c.assign(Tensor::from(Numbers{100}, {}));
    (y + z + c * w).backward();
    CHECK(w.grad().item() == 5 + 5 + 100);
    CHECK(c.grad().item() == 3);
  }
}

TEST_CASE("a variable may lie in memory as a view; an update stays inside it") {
  const Tensor base = Tensor::from(Numbers{1, 2, 3, 4, 5, 6}, {2, 3});
  Tensor turned = transpose(base, 0, 1), row = broadcast_to(vector({1, 2}), {3, 2});
  turned.requires_grad_();
  row.requires_grad_();
  const Numbers six{1, 2, 3, 4, 5, 6};
  turned.assign(Tensor::from(six, {3, 2}));
  row.assign(Tensor::from(six, {3, 2}));
  CHECK(numbers(turned) == six);
  CHECK(numbers(row) == six);
  CHECK(numbers(base) == six);
  CHECK(writable(row).contiguous());
}

TEST_CASE("a variable that dies before its graph gets no gradient, and the others do") {
  for (const bool assigned : {false, true}) {
    const Tensor x = variable(2);
    std::optional<Tensor> w = variable(3);
    const Tensor y = *w * x * *w;
    if (assigned) w->assign(Tensor::from(Numbers{8}, {}));
    w.reset();
    y.backward();
    CHECK(x.grad().item() == 9);
    CHECK(y.item() == 18);
  }
}

TEST_CASE("a frozen variable collects nothing, and thawed it does again") {
  Tensor w = variable(3), x = variable(2);
  w.requires_grad_(false);
  CHECK_FALSE(w.requires_grad());
  (w * x).backward();
  CHECK_FALSE(w.grad().defined());
  CHECK(x.grad().item() == 3);
  CHECK_FALSE((w * w).requires_grad());
  w.assign(Tensor::from(Numbers{4}, {}));
  CHECK_FALSE(w.requires_grad());
  w.requires_grad_();
  (w * x).backward();
  CHECK(w.grad().item() == 2);
  CHECK(x.grad().item() == 7);
}

TEST_CASE("under NoGrad nothing is recorded for a gradient") {
  const Tensor w = variable(3);
  Tensor y;
  {
    const NoGrad no_grad;
    y = w * w;
    CHECK_FALSE(y.requires_grad());
  }
  CHECK((w * w).requires_grad());
  CHECK_THROWS_AS(y.backward(), Error);
  (y * w).backward();
  CHECK(w.grad().item() == 9);
}

TEST_CASE("gradients of gradients through .grad") {
  const Tensor x = variable(2);
  (x * x * x).backward({}, {.create_graph = true});
  const Tensor g = x.grad();
  CHECK(g.item() == 12);
  CHECK(grad(g * g, x).item() == 2 * 12 * 12);
  x.node()->variable->grad = {};  // the graph of a gradient that x holds would hold x
}

}  // namespace
}  // namespace reel
