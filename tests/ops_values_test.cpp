// Values worked by hand or taken from PyTorch, in both dtypes: activations, reductions, softmax, norms and
// losses, and what they do at the far ends.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/gradcheck.h"
#include "core/structural.h"
#include "ops/activations.h"
#include "ops/arithmetic.h"
#include "ops/losses.h"
#include "ops/norm.h"
#include "ops/reductions.h"
#include "ops/softmax.h"

using namespace reel;

namespace {

using Values = std::vector<double>;
constexpr double kInf = std::numeric_limits<double>::infinity(),
                 kNaN = std::numeric_limits<double>::quiet_NaN();

Tensor of(const Values& values, const Shape& shape) {
  return to(Tensor::from(values, shape), default_dtype());
}
Tensor of(const Values& values) { return of(values, {static_cast<int64_t>(values.size())}); }
Tensor ids(const std::vector<int64_t>& values, const Shape& shape) { return Tensor::from(values, shape); }

void near(const Tensor& got, const Values& want, double tolerance) {
  const Values values = got.to_vector<double>();
  REQUIRE(values.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CAPTURE(values[i]);
    CAPTURE(want[i]);
    if (std::isnan(want[i])) {
      CHECK(std::isnan(values[i]));
    } else if (std::isinf(want[i])) {
      CHECK(values[i] == want[i]);
    } else {
      CHECK(std::fabs(values[i] - want[i]) <= tolerance * std::max(1.0, std::fabs(want[i])));
    }
  }
}

// In f64 and in f32.
void gives(const std::function<Tensor()>& f, const Values& want) {
  for (DType dtype : {DType::f64, DType::f32}) {
    const DefaultDType scope(dtype);
    CAPTURE(name_of(dtype));
    const Tensor y = f();
    CHECK(y.dtype() == dtype);
    near(y, want, dtype == DType::f64 ? 1e-14 : 1e-6);
  }
}

void differentiates(const Function& f, const Tensors& in) {
  CHECK_MESSAGE(gradcheck(f, in).ok, gradcheck(f, in).text());
  CHECK_MESSAGE(gradgradcheck(f, in).ok, gradgradcheck(f, in).text());
}

Tensor some(const Shape& shape, double scale = 1) {  // fixed values without order
  Values values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = scale * std::sin(static_cast<double>(i * i + 3 * i + 1));
  return Tensor::from(values, shape);
}

}  // namespace

TEST_CASE("activations") {
  const Values x = {-3, -1, -0.5, 0, 0.5, 1, 3};
  gives([&] { return tanh(of(x)); }, {-0.9950547536867305, -0.7615941559557649, -0.46211715726000974, 0,
                                      0.46211715726000974, 0.7615941559557649, 0.9950547536867305});
  gives([&] { return sigmoid(of(x)); }, {0.04742587317756678, 0.2689414213699951, 0.3775406687981454, 0.5,
                                         0.6224593312018546, 0.7310585786300049, 0.9525741268224334});
  gives([&] { return relu(of(x)); }, {0, 0, 0, 0, 0.5, 1, 3});
  gives([&] { return leaky_relu(of(x), 0.1); }, {-0.3, -0.1, -0.05, 0, 0.5, 1, 3});
  gives([&] { return elu(of(x), 2); },
        {2 * -0.950212931632136, 2 * -0.6321205588285577, 2 * -0.3934693402873666, 0, 0.5, 1, 3});
  gives([&] { return gelu(of(x)); }, {-0.00404969409489031, -0.15865525393145702, -0.15426876936299344, 0,
                                      0.34573123063700656, 0.841344746068543, 2.99595030590511});
  gives([&] { return gelu_tanh(of(x)); }, {-0.0036373920817729943, -0.15880800939172324, -0.15428599017485606,
                                           0, 0.34571400982514394, 0.8411919906082768, 2.996362607918227});
  gives([&] { return silu(of(x)); }, {-0.14227761953270035, -0.2689414213699951, -0.1887703343990727, 0,
                                      0.3112296656009273, 0.7310585786300049, 2.8577223804672998});
  gives([&] { return softplus(of(x)); },
        {0.04858735157374206, 0.31326168751822286, 0.4740769841801067, 0.6931471805599453, 0.9740769841801067,
         1.3132616875182228, 3.048587351573742});
}

TEST_CASE("activations at the far ends, and their gradients there") {
  const Values far = {-kInf, -1000, -100, 100, 1000, kInf, kNaN};
  gives([&] { return sigmoid(of(far)); }, {0, 0, 0, 1, 1, 1, kNaN});
  gives([&] { return tanh(of(far)); }, {-1, -1, -1, 1, 1, 1, kNaN});
  gives([&] { return softplus(of(far)); }, {0, 0, 0, 100, 1000, kInf, kNaN});
  gives([&] { return relu(of(far)); }, {0, 0, 0, 100, 1000, kInf, kNaN});
  gives([&] { return elu(of(far)); }, {-1, -1, -1, 100, 1000, kInf, kNaN});
  gives([&] { return gelu(of({-1000, -100, 100, 1000})); }, {0, 0, 100, 1000});
  gives([&] { return silu(of({-1000, -100, 100, 1000})); }, {0, 0, 100, 1000});
  // Small results keep their relative precision: e^-30 is not lost against 1.
  CHECK(softplus(of({-30})).item() == doctest::Approx(std::exp(-30)).epsilon(1e-5));
  CHECK(sigmoid(of({-80})).item() == doctest::Approx(std::exp(-80)).epsilon(1e-5));

  const auto slope = [](Tensor (*f)(Arg), const Values& at) {
    Tensor x = of(at);
    return grad(sum(f(x.requires_grad_())), x);
  };
  gives([&] { return slope(relu, {-1, 0, 1}); }, {0, 0, 1});
  gives([&] { return slope(tanh, {-1000, 0, 1000}); }, {0, 1, 0});
  gives([&] { return slope(sigmoid, {-1000, 0, 1000}); }, {0, 0.25, 0});
  gives([&] { return slope(softplus, {-1000, 0, 1000}); }, {0, 0.5, 1});
  gives([&] { return slope(gelu, {-1000, 0, 1000}); }, {0, 0.5, 1});
  gives([&] { return slope([](Arg x) { return elu(x); }, {-1000, 1000}); }, {0, 1});
  gives([&] { return slope([](Arg x) { return leaky_relu(x, 0.3); }, {-1, 0, 1}); }, {0.3, 0.3, 1});
}

TEST_CASE("sums, means and variances over any axes") {
  const Values x = {1, 2, 3, 4, 5, 6};
  gives([&] { return sum(of(x, {2, 3})); }, {21});
  gives([&] { return sum(of(x, {2, 3}), 0); }, {5, 7, 9});
  gives([&] { return sum(of(x, {2, 3}), {-1}); }, {6, 15});
  gives([&] { return mean(of(x, {1, 2, 3}), {0, 2}); }, {2, 5});
  gives([&] { return var(of(x, {2, 3}), 1); }, {1, 1});
  gives([&] { return var(of(x, {2, 3}), 1, 0); }, {2.0 / 3, 2.0 / 3});
  gives([&] { return var(of(x, {2, 3})); }, {3.5});
  CHECK(sum(of(x, {2, 3}), {1}, true).shape() == Shape{2, 1});
  CHECK(sum(of(x, {2, 3}), {}, true).shape() == Shape{1, 1});
  CHECK(mean(of(x, {2, 3}), {0, 1}).shape() == Shape{});
  CHECK(var(of(x, {1, 2, 3}), {2, 0}, 1, true).shape() == Shape{1, 2, 1});
  Values z(24);
  for (size_t i = 0; i < z.size(); ++i) z[i] = std::pow(static_cast<double>(i), 1.5);
  gives(
      [&] {
        return var(of(z, {2, 3, 4}), {0, 2});
      },
      {667.8451161037798, 1073.061596117513, 1464.198873042023});

  gives([] { return sum(zeros({0, 3}), 0); }, {0, 0, 0});
  gives([] { return mean(zeros({0})); }, {kNaN});
  gives([] { return var(ones({1})); }, {kNaN});
  CHECK(sum(Tensor::from(std::vector<bool>{true, false, true}, {3})).dtype() == DType::i64);
  CHECK(sum(Tensor::from(std::vector<bool>{true, false, true}, {3})).item() == 2);
  CHECK(sum(ids({1, 2, 40}, {3})).to_vector<int64_t>() == std::vector<int64_t>{43});
  CHECK_THROWS_WITH_AS(mean(ids({1, 2}, {2})), doctest::Contains("[mean] the argument is i64"), Error);
  CHECK_THROWS_WITH_AS(sum(zeros({2}), {0, 0, 0, 0, 0, 0, 0}), doctest::Contains("7 axes"), Error);
  CHECK_THROWS_WITH_AS(sum(zeros({2, 3}), {2}), doctest::Contains("ops_values_test.cpp"), Error);

  const Tensor values = some({3, 4, 2});
  differentiates([](const Tensors& t) { return mean(t[0], {0, 2}); }, {values});
  differentiates([](const Tensors& t) { return var(t[0], {-1, 0}); }, {values});
  differentiates([](const Tensors& t) { return var(t[0], {}, 0, true); }, {values});
}

TEST_CASE("maxima and minima, ties and NaN") {
  gives([] { return amax(of({1, 5, 3, 4, 2, 6}, {2, 3}), 1); }, {5, 6});
  gives([] { return amin(of({1, 5, 3, 4, 2, 6}, {2, 3}), 0); }, {1, 2, 3});
  gives([] { return amax(of({1, kNaN, 3, -kInf, -kInf, -kInf}, {2, 3}), 1); }, {kNaN, -kInf});
  gives([] { return amin(of({kNaN, 1, 2, kInf, 7, kInf}, {2, 3}), -1); }, {kNaN, 7});
  const auto shares = [](Tensor (*f)(Arg, const Axes&, bool), const Axes& axes) {
    Tensor x = of({1, 4, 4, 0, 4, 1, 0, 0}, {2, 4});
    const Tensor y = f(x.requires_grad_(), axes, false);
    return grad(sum(y), x);
  };
  gives([&] { return shares(amax, 1); }, {0, 0.5, 0.5, 0, 1, 0, 0, 0});
  gives([&] { return shares(amin, 1); }, {0, 0, 0, 1, 0, 0, 0.5, 0.5});
  gives([&] { return shares(amax, {}); }, {0, 1.0 / 3, 1.0 / 3, 0, 1.0 / 3, 0, 0, 0});
  CHECK(amax(ids({3, -7, 5}, {3})).to_vector<int64_t>() == std::vector<int64_t>{5});
  CHECK(amax(zeros({0, 3}), 1).numel() == 0);
  CHECK_THROWS_WITH_AS(amax(zeros({0, 3}), 0),
                       doctest::Contains("axis 0 of a value of shape [0, 3] is empty"), Error);
}

TEST_CASE("softmax and its logarithms") {
  const Values p = {0.09003057317038045, 0.2447284710547976, 0.6652409557748218};
  const Values log_p = {-2.4076059644443806, -1.4076059644443804, -0.4076059644443804};
  gives([] { return softmax(of({1, 2, 3}), 0); }, p);
  gives([] { return log_softmax(of({1, 2, 3}), 0); }, log_p);
  gives([] { return logsumexp(of({1, 2, 3}), 0); }, {3.4076059644443806});
  gives(
      [] {
        return softmax(of({1, 5, 2, 5, 3, 5}, {3, 2}), 0);
      },
      {p[0], 1.0 / 3, p[1], 1.0 / 3, p[2], 1.0 / 3});
  gives(
      [] {
        return logsumexp(of({1, 5, 2, 5, 3, 5}, {3, 2}), 0, true);
      },
      {3.4076059644443806, 5 + std::log(3)});

  gives([] { return softmax(of({1e4, -1e4, 1e4, 0}, {2, 2}), 1); }, {1, 0, 1, 0});
  gives(
      [] {
        return log_softmax(of({1e4, -1e4, 9999}), 0);
      },
      {-0.31326168751822286, -20000.31326168752, -1.3132616875182228});
  gives(
      [] {
        return logsumexp(of({1e4, 1e4, -1e4, -1e4}, {2, 2}), 1);
      },
      {1e4 + std::log(2), -1e4 + std::log(2)});

  gives(
      [] {
        return softmax(of({-kInf, 0, 0, -kInf, -kInf, -kInf}, {2, 3}), 1);
      },
      {0, 0.5, 0.5, kNaN, kNaN, kNaN});
  gives([] { return log_softmax(of({-kInf, 0, -kInf, -kInf}, {2, 2}), 1); }, {-kInf, 0, kNaN, kNaN});
  gives(
      [] {
        return logsumexp(of({-kInf, 0, -kInf, -kInf, kInf, 1, kNaN, 1}, {4, 2}), 1);
      },
      {0, -kInf, kInf, kNaN});
  gives([] { return logsumexp(zeros({2, 0}), 1); }, {-kInf, -kInf});
  CHECK(softmax(zeros({2, 0}), 1).numel() == 0);
  // -inf entries get no gradient and spoil no other one.
  gives(
      [] {
        Tensor x = of({-kInf, 0, 0});
        return grad(sum(softmax(x.requires_grad_(), 0) * of({1, 2, 3})), x);
      },
      {0, -0.25, 0.25});
}

TEST_CASE("layer_norm") {
  gives(
      [] {
        return layer_norm(of({1, 2, 4, 8, 16, 32}, {2, 3}), of({1, 2, 3}), of({0.1, 0.2, 0.3}));
      },
      {-0.9690415314502977, -0.33452076572514905, 4.308905742938616, -0.9690449139588274, -0.3345224569794138,
       4.308918427345602});
  gives(
      [] {
        return layer_norm(of({1, 2, 4, 8, 16, 32}, {2, 3}), ones({2, 3}), 0.0);
      },
      {-0.8773384460121068, -0.7849870306424113, -0.6002841999030204, -0.2308785384242386, 0.5079327845333249,
       1.9855554304484522});
  gives([] { return normalize(of({7, 7, 7})); }, {0, 0, 0});
  near(normalize(of({1e6, 1e6 + 1, 1e6 + 2})), {-1.2247357, 0, 1.2247357},
       1e-6);  // the mean is taken off first
  differentiates([](const Tensors& x) { return layer_norm(x[0], x[1], x[2], 0.01); },
                 {some({2, 3, 2}), some({3, 2}), some({3, 2}, 2)});
}

TEST_CASE("cross_entropy: ignored rows, smoothing, weights") {
  const auto loss = [](CrossEntropyOptions options) {
    return cross_entropy(of({2, -1, 0.5, 0, 3, -2, 1, 1, 1, -0.5, 0.25, 4}, {4, 3}),
                         ids({0, 2, -100, 1}, {4}), options);
  };
  const auto all = [&](double smoothing, bool weighted, Values rows, double mean, double sum) {
    const auto with = [=](Reduction reduction) {
      return loss({.label_smoothing = smoothing,
                   .weight = weighted ? of({0.5, 2, 1}) : Tensor(),
                   .reduction = reduction});
    };
    gives([&] { return with(Reduction::none); }, rows);
    gives([&] { return with(Reduction::mean); }, {mean});
    gives([&] { return with(Reduction::sum); }, {sum});
  };
  all(0, false, {0.24131129665715703, 5.054985235377147, 0, 3.7840407263048865}, 3.0267790861130632,
      9.08033725833919);
  all(0, true, {0.12065564832857852, 5.054985235377147, 0, 7.568081452609773}, 3.641063524661571,
      12.743722336315498);
  all(0.1, false, {0.391311296657157, 4.821651902043814, 0, 3.684040726304887}, 2.9656679750019523,
      8.897003925005857);
  all(0.1, true, {0.38674306810572234, 4.7725683226334334, 0, 7.140244725417699}, 3.51415889033053,
      12.299556116156854);

  gives(
      [] {
        Tensor x = of({2, -1, 0.5, 0, 3, -2, 1, 1, 1, -0.5, 0.25, 4}, {4, 3});
        return grad(cross_entropy(x.requires_grad_(), ids({0, 2, -100, 1}, {4}),
                                  {.label_smoothing = 0.1, .weight = of({0.5, 2, 1})}),
                    x);
      },
      {-0.006141432495069639, -0.01271510718474584, 0.018856539679815466, 0.008926325752402446,
       0.2558878403606025, -0.2648141661130049, 0, 0, 0, 0.001117991682872606, -0.5208855924620589,
       0.5197676007791863});
}

TEST_CASE("cross_entropy at the ends") {
  gives(
      [] {
        return cross_entropy(of({1e4, -1e4, 1e4, -1e4}, {2, 2}), ids({0, 1}, {2}),
                             {.reduction = Reduction::none});
      },
      {0, 2e4});
  gives([] { return cross_entropy(of({0, -kInf, 0}, {1, 3}), ids({2}, {1})); }, {std::log(2)});
  gives([] { return cross_entropy(of({0, -kInf}, {1, 2}), ids({1}, {1})); }, {kInf});
  gives([] { return cross_entropy(of({1, 2, 3}), ids({2}, {})); }, {0.4076059644443804});  // no axis of rows
  gives([] { return cross_entropy(of({5, 5}, {2, 1}), ids({0, 0}, {2})); }, {0});

  const auto nothing_counts = [](const Tensor& weight) {
    Tensor x = of({1, 2, 3, 4}, {2, 2});
    const Tensor mean =
        cross_entropy(x.requires_grad_(), ids({7, 7}, {2}), {.ignore_index = 7, .weight = weight});
    near(mean, {kNaN}, 0);
    return grad(mean, x);
  };
  gives([&] { return nothing_counts({}); }, {0, 0, 0, 0});
  gives([] { return cross_entropy(zeros({0, 3}), ids({}, {0})); }, {kNaN});
  gives([] { return cross_entropy(zeros({0, 3}), ids({}, {0}), {.reduction = Reduction::sum}); }, {0});
  CHECK_THROWS_WITH_AS(
      cross_entropy(zeros({2, 2, 3}), ids({0, 1, 5, 2}, {2, 2})).item(),
      doctest::Contains("target 5 at position [1, 0]: want 0 to 2, or -100 to ignore the row"), Error);

  differentiates(
      [](const Tensors& x) {
        return cross_entropy(x[0], x[1], {1, 0.2});
      },
      {some({5, 4}), ids({0, 1, 2, 3, 1}, {5})});
}

TEST_CASE("nll, squared, Huber and binary cross-entropy losses") {
  const Values x = {2, -1, 0.5, 0, 3, -2, 1, 1, 1, -0.5, 0.25, 4};
  gives(
      [&] {
        return nll_loss(log_softmax(of(x, {4, 3}), 1), ids({0, 2, -100, 1}, {4}),
                        {.weight = of({0.5, 2, 1})});
      },
      {3.641063524661571});
  gives(
      [] {
        return nll_loss(of({-1, -2, -3, -4}, {2, 2}), ids({1, 0}, {2}), {.reduction = Reduction::none});
      },
      {2, 3});
  gives([] { return nll_loss(of({-1, -2}, {1, 2}), ids({1}, {1}), {.ignore_index = 1}); }, {kNaN});

  gives([] { return mse_loss(of({1, 2, 5}), of({1, 4, 2})); }, {13.0 / 3});
  gives([] { return mse_loss(of({1, 2, 5}), of({1, 4, 2}), Reduction::none); }, {0, 4, 9});
  gives([] { return mse_loss(zeros({0}), zeros({0})); }, {kNaN});
  gives([] { return huber_loss(of({0, 1, 3, -4}), zeros({4}), 2, Reduction::none); }, {0, 0.5, 4, 6});
  CHECK_THROWS_WITH_AS(mse_loss(zeros({2}), zeros({1})), doctest::Contains("x [2] and target [1]"), Error);
  CHECK_THROWS_WITH_AS(huber_loss(zeros({2}), zeros({2}), 0), doctest::Contains("delta 0"), Error);

  const Values logits = {100, -100, 100, -100, 0.5}, truth = {1, 0, 0, 1, 0.25};
  gives([&] { return bce_with_logits(of(logits), of(truth), {.reduction = Reduction::none}); },
        {0, 0, 100, 100, 0.8490769841801067});
  gives(
      [&] {
        return bce_with_logits(of(logits), of(truth), {.pos_weight = of({3}), .reduction = Reduction::none});
      },
      {0, 0, 100, 300, 1.0861154762701601});
  gives([] { return bce_with_logits(of({0, 0}), of({1, 0})); }, {std::log(2)});
  gives(
      [&] {
        Tensor x = of(logits);
        return grad(bce_with_logits(x.requires_grad_(), of(truth), {.reduction = Reduction::sum}), x);
      },
      {0, 0, 1, -1, 0.37245933120185456});

  differentiates([](const Tensors& t) { return huber_loss(t[0], t[1], 0.5); }, {some({7}, 2), some({7})});
  differentiates([](const Tensors& t) { return mse_loss(t[0], t[1]); }, {some({3, 2}), some({3, 2}, 2)});
  differentiates([](const Tensors& t) { return nll_loss(t[0], t[2], {.weight = t[1]}); },
                 {some({2, 3}), Tensor::from(Values{0.5, 2, 1}, {3}), ids({2, 0}, {2})});
}
