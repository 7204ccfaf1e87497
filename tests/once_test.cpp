// once: a function recorded once a step gives what calling it gives, values and gradients of any order, and
// sees what changes between steps.
#include "core/once.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/tape.h"
#include "reel.h"

namespace reel {
namespace {

Tensor parameter(const Shape& shape) { return normal(shape).requires_grad_(); }

bool close(const Tensor& a, const Tensor& b, double tolerance = 1e-12) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  if (x.size() != y.size()) return false;
  for (size_t k = 0; k < x.size(); ++k) {
    if (!(std::fabs(x[k] - y[k]) <= tolerance * (1 + std::fabs(y[k])))) return false;
  }
  return true;
}

// A cell of two states over a shared weight, called along a chain of rows that now and then join.
struct Cell {
  Tensor w = parameter({4, 4}), u = parameter({4, 4}), b = parameter({4});

  Tensors equations(const Tensors& in) const {
    const Tensor a = matmul(in[0], w) + matmul(in[1], transpose(u, 0, 1)) + b;
    return {tanh(a) * 0.9, sigmoid(a) * in[1] + in[0]};
  }

  template <class F>
  Tensor loss(const F& call, const Tensors& rows) const {
    Tensor h = rows[0], c = rows[1], total = zeros({});
    for (size_t k = 0; k + 1 < rows.size(); ++k) {
      const Tensors one = call({rows[k], rows[k + 1]}), two = call({one[0], c});
      h = two[0] + one[1];
      c = two[1];
      total = total + sum(h * c);
    }
    return total;
  }
};

struct Example {
  Example() {
    manual_seed(3);
    for (int k = 0; k < 5; ++k) rows.push_back(normal({1, 4}));
  }
  DefaultDType f64{DType::f64};
  Cell cell;
  Tensors rows;
  Once::Function direct = [this](const Tensors& in) { return cell.equations(in); };
  Tensors parameters() const { return {cell.w, cell.u, cell.b}; }
};

TEST_CASE("once: values and gradients are those of the function itself") {
  Example e;
  const Once cell = once(e.direct);
  const Tensor want = e.cell.loss(e.direct, e.rows), got = e.cell.loss(cell, e.rows);
  CHECK(close(got, want));
  const auto gradients = [&](const Once::Function& f, bool looked_at) {
    for (Tensor p : e.parameters()) p.zero_grad();
    const Tensor loss = e.cell.loss(f, e.rows);
    if (looked_at) CHECK(std::isfinite(loss.item()));  // takes the recorded way
    loss.backward();
    Tensors g;
    for (const Tensor& p : e.parameters()) g.push_back(p.grad());
    return g;
  };
  const Tensors expected = gradients(e.direct, false);
  for (const bool looked_at : {false, true}) {
    for (const char* passes : {"", "-batch", "none"}) {
      set_plan_passes(passes);
      const Tensors g = gradients(cell, looked_at);
      for (size_t k = 0; k < g.size(); ++k) CHECK(close(g[k], expected[k]));
    }
  }
  set_plan_passes("");
}

TEST_CASE("once: gradients of first and second order") {
  Example e;
  const Once cell = once(e.direct);
  const auto f = [&](const Tensors& x) {
    e.cell.w = x[0];
    e.cell.u = x[1];
    e.cell.b = x[2];
    return e.cell.loss(cell, {x[3], x[4], e.rows[2]});
  };
  Tensors in = e.parameters();
  in.push_back(parameter({1, 4}));
  in.push_back(parameter({1, 4}));
  const auto first = gradcheck(f, in), second = gradgradcheck(f, in);
  INFO(first.text(), second.text());
  CHECK(first.ok);
  CHECK(second.ok);
  CHECK(second.checked > 40);
}

TEST_CASE("once: a call is one node, however long the function") {
  Example e;
  const Once cell = once(e.direct);
  const Tensors before = cell({e.rows[0], e.rows[1]});  // traced
  const uint64_t recorded = tape_stats().recorded;
  const Tensors after = cell({e.rows[1], e.rows[2]});
  const Tensors third = cell({after[0], after[1]});
  CHECK(tape_stats().recorded - recorded == 2);
  CHECK(close(after[0], e.direct({e.rows[1], e.rows[2]})[0]));
}

TEST_CASE("once: an only output is the call itself, also where a part of it is read") {
  Example e;
  const auto direct = [&](const Tensors& in) -> Tensors { return {tanh(in[0] + matmul(in[1], e.cell.u))}; };
  const auto loss = [&](const Once::Function& f) {
    Tensor h = e.rows[0], total = zeros({});
    for (const Tensor& x : e.rows) {
      h = f({x, h})[0];
      total = total + sum(slice(h, 1, 1, 3)) + sum(slice(h, 1, 0, 4) * h);
    }
    return total;
  };
  const Once cell = once(direct);
  const Tensor first = cell({e.rows[0], e.rows[1]})[0];  // traced
  const uint64_t recorded = tape_stats().recorded;
  const Tensor second = cell({e.rows[1], first})[0];
  CHECK(tape_stats().recorded - recorded == 1);
  CHECK(close(second, direct({e.rows[1], first})[0]));
  const auto gradient = [&](const Once::Function& f, bool looked_at) {
    e.cell.u.zero_grad();
    const Tensor total = loss(f);
    if (looked_at) CHECK(std::isfinite(total.item()));
    total.backward();
    return e.cell.u.grad();
  };
  const Tensor expected = gradient(direct, false);
  for (const char* passes : {"", "-recur", "-batch", "none"}) {
    set_plan_passes(passes);
    CHECK(close(gradient(cell, false), expected));
    CHECK(close(gradient(cell, true), expected));
  }
  set_plan_passes("");
}

TEST_CASE("once: what changes between steps is seen") {
  Example e;
  double scale = 1;
  const Once cell = once([&](const Tensors& in) -> Tensors { return {matmul(in[0], e.cell.w) * scale}; });
  const auto value = [&] { return cell({e.rows[0]})[0].to_vector<double>(); };
  const auto direct = [&] { return (matmul(e.rows[0], e.cell.w) * scale).to_vector<double>(); };
  CHECK(value() == direct());
  e.cell.w.assign(normal({4, 4}));  // updated
  CHECK(value() == direct());
  e.cell.w = parameter({4, 4});  // replaced
  CHECK(value() == direct());
  scale = 2;  // another number
  CHECK(value() == direct());
  e.cell.w.requires_grad_(false);  // frozen
  CHECK_FALSE(cell({e.rows[0]})[0].requires_grad());
  e.cell.w.requires_grad_();
  CHECK(cell({e.rows[0]})[0].requires_grad());
  {
    const NoGrad no_grad;
    CHECK_FALSE(cell({e.rows[0]})[0].requires_grad());
  }
}

TEST_CASE("once: random numbers are drawn at every call") {
  manual_seed(1);
  const Once noisy = once([](const Tensors& in) -> Tensors { return {in[0] + uniform(in[0].shape())}; });
  const Tensor x = zeros({2, 3});
  const auto a = noisy({x})[0].to_vector<float>(), b = noisy({x})[0].to_vector<float>();
  CHECK(a != b);
}

TEST_CASE("once: whatever the function does, the sum is right") {
  Example e;
  const Tensor x = e.rows[0], y = e.rows[1];
  const auto same = [&](const Once::Function& f, const Tensors& in) {
    const Once call = once(f);
    const Tensors want = f(in), got = call(in);
    REQUIRE(got.size() == want.size());
    for (size_t k = 0; k < got.size(); ++k) CHECK(close(got[k], want[k]));
  };
  same([](const Tensors& in) { return Tensors{sum(in[0])}; }, {x});  // no matrix
  same([](const Tensors& in) { return Tensors{in[0]}; }, {x});       // handed through
  same(
      [](const Tensors& in) {
        return Tensors{in[0] * 2.0, exp(in[1])};
      },
      {x, y});  // two shapes of one width
  same([](const Tensors& in) { return Tensors{transpose(in[0], 0, 1) + 1.0}; },
       {x});  // rows that are columns
  same([](const Tensors& in) { return Tensors{concat({in[0], in[1]}, 0)}; }, {x, y});  // rows added
  same([&](const Tensors& in) { return Tensors{in[0] * exp(y)}; }, {x});  // captures what is pending
  const Once inner = once([](const Tensors& in) -> Tensors { return {tanh(in[0])}; });
  same([&](const Tensors& in) { return Tensors{inner({in[0] * 3.0})[0] + in[0]}; }, {x});  // nested
  same([](const Tensors& in) { return Tensors{in[0] + 1.0}; }, {zeros({0, 4})});
  const Eager eager;
  same([](const Tensors& in) { return Tensors{tanh(in[0])}; }, {x});
}

TEST_CASE("once: what the function does under NoGrad has no gradient on the recorded way either") {
  const auto f = [](const Tensors& in) -> Tensors {
    Tensor held;
    {
      const NoGrad none;
      held = in[0] * in[0];
    }
    return {tanh(in[0]) * held};
  };
  const Once g = once(f);
  const auto gradient = [](const auto& function) {
    const Tensor x = Tensor::from(std::vector<double>{0.3, -0.7}, {1, 2}).requires_grad_();
    return grad(sum(function({x})[0]), x, {.create_graph = true});
  };
  CHECK(close(gradient(g), gradient(f)));
}

TEST_CASE("once: a function that looks at a value is called every time") {
  const Tensor x = full({1, 2}, 3);
  const Once looking = once([](const Tensors& in) -> Tensors { return {in[0] * sum(in[0] * 2.0).item()}; });
  CHECK(looking({x})[0].to_vector<float>() == std::vector<float>{36, 36});
  CHECK(looking({x + 1.0})[0].to_vector<float>() == std::vector<float>{64, 64});
  CHECK_THROWS_WITH_AS(looking({Tensor()}), doctest::Contains("undefined"), Error);
  CHECK((x + 1.0).to_vector<float>() == std::vector<float>{4, 4});
}

TEST_CASE("once: a parameter is updated where it lies") {
  Example e;
  const Once cell = once(e.direct);
  const auto where = [&] { return static_cast<const void*>(writable(e.cell.w).data); };
  const void* before = where();
  for (int k = 0; k < 3; ++k) {
    e.cell.loss(cell, e.rows).backward();
    CHECK(where() == before);
  }
}

TEST_CASE("once: nothing is left behind") {
  const uint64_t before = tape_stats().live_nodes;
  {
    Example e;
    const Once cell = once(e.direct);
    for (int k = 0; k < 20; ++k) e.cell.loss(cell, e.rows).backward();
  }
  CHECK(tape_stats().live_nodes == before);
}

TEST_CASE("once: a value that was recorded before dies while the function is recorded") {
  Tensor held = full({2, 2}, 1) + 1.0;
  const Tensor other = full({2, 2}, 3) + 1.0;
  const Once f = once([&](const Tensors& in) -> Tensors {
    held = {};
    return {in[0] * 2.0};
  });
  const Tensor x = full({2, 2}, 5) + 0.0;
  CHECK(f({x})[0].to_vector<double>() == std::vector<double>(4, 10));
  CHECK(other.to_vector<double>() == std::vector<double>(4, 4));
}

TEST_CASE("once: an output that is given twice is one value") {
  const Tensor w = parameter({3, 3}), x = parameter({2, 3});
  const auto direct = [&](const Tensors& in) -> Tensors {
    const Tensor h = tanh(matmul(in[0], w));
    return {h, in[0] * 2.0, h};
  };
  const auto sum_of = [&](const Tensors& y) { return sum(y[0] * y[2] + y[1] * 0.5); };
  const Once cell = once(direct);
  const Tensors out = cell({x});
  CHECK(out.size() == 3);
  CHECK(out[0].node() == out[2].node());
  const Tensor expected = grad(sum_of(direct({direct({x})[0]})), x);
  CHECK(close(grad(sum_of(cell({cell({x})[0]})), x), expected, 1e-5));
}

TEST_CASE("once: what was recorded before eager mode is differentiated in it") {
  const Tensor w = parameter({3, 3}), x = parameter({2, 3});
  const auto f = [&](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w)), in[0] * 0.5}; };
  const Once cell = once(f);
  const auto loss = [&](const auto& call) {
    const Tensors a = call({x}), b = call({a[0] + a[1]});
    return mean(square(b[0])) + mean(b[1]);
  };
  const Tensors expected = grad({loss(f)}, {w, x});
  for (const bool traced_before : {false, true}) {
    const Tensor y = loss(cell);
    if (traced_before) (void)grad({loss(cell)}, {w, x});
    const Eager eager;
    const Tensors found = grad({y}, {w, x});
    for (size_t k = 0; k < 2; ++k) CHECK(close(found[k], expected[k], 1e-5));
  }
}

// y = x: a view, whose gradient rule reads a tensor of its own, or looks at a value.
Op with_own_rule(void (*vjp)(Vjp&)) {
  Op op{.name = "own_rule", .doc = "y = x"};
  op.kind = Kind::view;
  op.shape = [](Signature& s) { s.shape = s.in(0); };
  op.vjp = vjp;
  op.view = [](const Array& in, const Attrs&, Array& out) {
    out.strides = in.strides;
    return true;
  };
  return op;
}

TEST_CASE("once: a rule that reads a tensor of its own, or looks at a value") {
  static const Op reads = with_own_rule([](Vjp& g) {
    g[0] = g.dy * Tensor::from(std::vector<float>{1, 2, 3}, {3});
  });
  static const Op looks = with_own_rule([](Vjp& g) { g[0] = g.dy * sum(g.dy).item(); });
  for (const Op* op : {&reads, &looks}) {
    Tensor x = parameter({2, 3});
    const auto f = [&](const Tensors& in) -> Tensors { return {tanh(record(*op, {in[0]}))}; };
    const Once cell = once(f);
    const Tensor expected = grad(mean(square(f({x})[0])), x);
    const Tensor y = mean(square(cell({x})[0]));
    (void)y.item();
    CHECK(close(grad(y, x), expected, 1e-5));
    x.zero_grad();
  }
}

TEST_CASE("once: a constant that becomes a variable between two calls") {
  Tensor w = normal({3, 3});
  (void)w.to_vector<float>();
  const Once cell = once([&](const Tensors& in) -> Tensors { return {matmul(in[0], w)}; });
  const Tensor x = normal({2, 3});
  const Tensor a = cell({x})[0];
  w.requires_grad_();
  const Tensor b = cell({x})[0];
  CHECK(b.to_vector<float>() == a.to_vector<float>());
  const Tensor ones = full({2, 3}, 1);
  CHECK(close(grad(sum(b), w), matmul(transpose(x, 0, 1), ones), 1e-5));
}

TEST_CASE("once: outputs without columns, and room for another number of outputs") {
  const Tensor w = parameter({3, 3}), x = normal({2, 3});
  const Once cell = once([&](const Tensors& in) -> Tensors {
    const Tensor h = matmul(in[0], w);
    return {tanh(h), slice(h, 1, 1, 1), sigmoid(h)};
  });
  const Tensors out = cell({x});
  CHECK(out[1].numel() == 0);
  CHECK(close(out[2], sigmoid(matmul(x, w)), 1e-5));
  CHECK(close(grad(sum(out[2]), w), grad(sum(sigmoid(matmul(x, w))), w), 1e-5));
  const Once one = once([&](const Tensors& in) -> Tensors { return {matmul(in[0], w)}; });
  Tensor room[2];
  CHECK_THROWS_WITH_AS(one.call({&x, 1}, room), doctest::Contains("want room for 1"), Error);
  const Eager eager;
  CHECK_THROWS_WITH_AS(one.call({&x, 1}, room), doctest::Contains("want room for 1"), Error);
}

}  // namespace
}  // namespace reel
