// The gradient check itself: what is right passes, and each kind of wrong gradient is found.
#include "core/gradcheck.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/shape.h"

namespace reel {
namespace {

bool has(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }

Tensor vector(const std::vector<double>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}
Tensor matrix(int64_t rows, int64_t columns) {
  std::vector<double> values(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<double>(3 * i + 1));
  return Tensor::from(values, {rows, columns});
}

// x^2 with gradients that are wrong in one way or another. Not registered: they are not ops of reel.
void keep_shape(Signature& s) { s.shape = s.in(0); }
lanes::Lane squared(const lanes::Inputs& x) { return x[0] * x[0]; }
Op square_with(void (*vjp)(Vjp&)) {
  Op op{.name = "square_with",
        .doc = {},
        .kind = Kind::pointwise,
        .shape = keep_shape,
        .vjp = vjp,
        .inputs = 1,
        .lanes = squared};
  op.program = lanes::trace(1, squared);
  return op;
}
Tensor call(const Op& op, const Tensor& x) { return record(op, {x}); }

TEST_CASE("right gradients pass, of any order, and every derivative is compared") {
  const Function f = [](const Tensors& x) { return erf(matmul(x[0], x[1])) * x[2] + exp(x[2] * 0.3); };
  const Tensors inputs = {matrix(3, 4), matrix(4, 2), vector({0.5, -1})};
  const GradcheckReport first = gradcheck(f, inputs), second = gradgradcheck(f, inputs);
  CHECK_MESSAGE(first.ok, first.text());
  CHECK_MESSAGE(second.ok, second.text());
  CHECK(first.checked == 12 + 8 + 2);
  CHECK(second.checked == 12 + 8 + 2 + 6);  // and the cotangents
  CHECK(first.kinks + second.kinks == 0);
  CHECK(first.worst < 1e-7);
  CHECK(has(first.text(), "ok: 22 derivatives"));
}

TEST_CASE("f32 inputs are checked in f64, and integers are passed through") {
  const Tensor x = to(matrix(5, 2), DType::f32), ids = Tensor::from(std::vector<int64_t>{4, 0, 4}, {3});
  const auto report = gradcheck(
      [](const Tensors& in) {
        CHECK(in[0].dtype() == DType::f64);
        return square(index_select(in[0], 0, in[1])) * 2.0;
      },
      {x, ids});
  CHECK_MESSAGE(report.ok, report.text());
  CHECK(report.checked == 10);
}

TEST_CASE("a gradient wrong by half a percent is found, and named") {
  static const Op op = square_with([](Vjp& g) { g[0] = g.dy * g.x(0) * 2.01; });
  const auto f = [](const Tensors& x) { return x[0] + call(op, x[1]); };
  const auto report = gradcheck(f, {vector({1, 2}), vector({1, 3})});
  CHECK_FALSE(report.ok);
  CHECK(report.input == 1);
  CHECK(has(report.text(), "WRONG"));
  CHECK(has(report.text(), "input 1, index"));
  CHECK(std::fabs(report.analytic / report.numeric - 1.005) < 1e-4);
  GradcheckOptions along{.directions = 3};
  CHECK_FALSE(gradcheck(f, {vector({1, 2}), vector({1, 3})}, along).ok);
}

TEST_CASE("a gradient that is wrong in one element of many is found") {
  static const Op op = square_with([](Vjp& g) {
    const Tensor right = g.dy * g.x(0) * 2.0;
    g[0] = accumulate({{right, {}, {}}, {slice(right, 0, 17, 18) * 0.005, {Place::At::slice, 0, 17}, {}}},
                      right.shape(), right.dtype());
  });
  const Tensor x = reshape(matrix(6, 5), {30});
  const auto report = gradcheck([](const Tensors& in) { return call(op, in[0]); }, {x});
  CHECK_FALSE(report.ok);
  CHECK(report.index == 17);
}

TEST_CASE("a wrong second derivative is found behind a right first one") {
  static const Op op = square_with([](Vjp& g) { g[0] = g.dy * detach(g.x(0)) * 2.0; });
  const Function f = [](const Tensors& x) { return call(op, x[0]); };
  CHECK(gradcheck(f, {vector({1, 2})}).ok);
  CHECK_FALSE(gradgradcheck(f, {vector({1, 2})}).ok);
}

TEST_CASE("a missing gradient, a NaN and one that is not linear are found") {
  static const Op missing = square_with([](Vjp&) {});
  CHECK_FALSE(gradcheck([](const Tensors& x) { return call(missing, x[0]); }, {vector({1, 2})}).ok);
  static const Op nan = square_with([](Vjp& g) { g[0] = g.dy * NAN; });
  const auto with_nan = gradcheck([](const Tensors& x) { return call(nan, x[0]); }, {vector({1, 2})});
  CHECK_FALSE(with_nan.ok);
  CHECK(std::isinf(with_nan.worst));
  static const Op shifted = square_with([](Vjp& g) { g[0] = g.dy * g.x(0) * 2.0 + 1e-7; });
  const auto affine = gradcheck([](const Tensors& x) { return call(shifted, x[0]); }, {vector({1, 2})});
  CHECK_FALSE(affine.ok);
  CHECK(has(affine.text(), "a zero cotangent gives 1e-07"));
  static const Op bent = square_with([](Vjp& g) { g[0] = abs(g.dy) * g.x(0) * 2.0; });
  const auto not_linear =
      gradcheck([](const Tensors& x) { return call(bent, x[0]); }, {vector({1, 2, 3, 4, 5})});
  CHECK(has(not_linear.text(), "not linear in the cotangent"));
}

TEST_CASE("a function that is not repeatable is found, in its gradient and in its value alone") {
  double calls = 0;
  const auto scaled = gradcheck([&](const Tensors& x) { return x[0] * (++calls); }, {vector({1, 2})});
  CHECK_FALSE(scaled.ok);
  CHECK(has(scaled.text(), "not repeatable"));
  static double backwards = 0;  // the value repeats, the gradient does not
  static const Op drifting = square_with([](Vjp& g) { g[0] = g.dy * g.x(0) * (2.0 + 1e-12 * ++backwards); });
  const auto drift = gradcheck([](const Tensors& x) { return call(drifting, x[0]); }, {vector({1, 2})});
  CHECK_FALSE(drift.ok);
  CHECK(has(drift.text(), "index 0: not repeatable"));
  const auto noisy = gradcheck([&](const Tensors& x) { return x[0] * x[0] + (++calls); }, {vector({1, 2})});
  CHECK_FALSE(noisy.ok);
  CHECK(has(noisy.text(), "the function is not repeatable"));
}

TEST_CASE("kinks are counted and passed over, not failed") {
  const auto report = gradcheck([](const Tensors& x) { return abs(x[0]); }, {vector({0, 1, -2, 0, 3})});
  CHECK_MESSAGE(report.ok, report.text());
  CHECK(report.kinks == 2);
  CHECK(report.checked == 3);
  CHECK(has(report.text(), "2 points without a derivative"));
}

TEST_CASE("random directions check a whole model at once, and captured variables take part") {
  Tensor w = matrix(20, 20).requires_grad_(), b = vector(std::vector<double>(20, 0.1)).requires_grad_();
  const std::vector<double> before = w.to_vector<double>();
  const Tensor x = matrix(3, 20);
  const auto model = [&](const Tensors&) {
    Tensor h = x;
    for (int t = 0; t < 4; ++t) h = erf(matmul(h, w) * 0.3 + b);
    return sum_to(h * h, {});
  };
  for (int directions : {0, 5}) {
    GradcheckOptions options{.directions = directions};
    const auto report = gradcheck(model, {w, b}, options);
    CHECK_MESSAGE(report.ok, report.text());
    CHECK(report.checked == (directions > 0 ? 5 : 420));
  }
  CHECK(w.to_vector<double>() == before);
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("an input without influence has a gradient of zeros; nothing to differentiate is fine") {
  const auto report = gradcheck([](const Tensors& x) { return x[0] * 2.0; }, {vector({1}), vector({5, 6})});
  CHECK_MESSAGE(report.ok, report.text());
  CHECK(report.checked == 3);
  CHECK(gradcheck([](const Tensors& x) { return sign(x[0]); }, {vector({1})}).checked == 0);
  CHECK(gradcheck([](const Tensors& x) { return x[0] * 2.0; }, {vector({})}).ok);
  CHECK(default_dtype() == DType::f32);  // back as it was
}

}  // namespace
}  // namespace reel
