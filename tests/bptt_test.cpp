// Backpropagation through time by hand, against the engine.
#include "examples/vanishing/bptt.h"

#include <doctest/doctest.h>

#include <cmath>

#include "reel.h"

using namespace reel;
using namespace reel::examples;

namespace {

Matrix matrix_of(const Tensor& t) {
  return {static_cast<size_t>(t.size(0)), static_cast<size_t>(t.size(1)), t.to_vector<double>()};
}

void check_close(const Tensor& engine, const Matrix& hand) {
  const auto values = engine.to_vector<double>();
  REQUIRE(values.size() == hand.values.size());
  for (size_t k = 0; k < values.size(); ++k) CHECK(std::abs(values[k] - hand.values[k]) < 1e-6);
}

}  // namespace

TEST_CASE("BPTT by hand equals the engine to 1e-6 in f64") {
  const DefaultDType f64(DType::f64);
  manual_seed(3);
  const int64_t in = 3, hidden = 5, out = 2, time = 12;
  Tensor w = normal({hidden, in}), u = normal({hidden, hidden}), v = normal({out, hidden});
  const Tensor x = normal({time, in}), y = uniform({time, out});
  for (Tensor* t : {&w, &u, &v}) t->requires_grad_();

  Tensor z = zeros({1, hidden}), error = zeros({});
  std::vector<Vector> xs, ys;
  for (int64_t t = 0; t < time; ++t) {
    xs.push_back(select(x, 0, t).to_vector<double>());
    ys.push_back(select(y, 0, t).to_vector<double>());
    z = sigmoid(matmul(slice(x, 0, t, t + 1), transpose(w, 0, 1)) + matmul(z, transpose(u, 0, 1)));
    const Tensor o = sigmoid(matmul(z, transpose(v, 0, 1)));
    error = error + 0.5 * mse_loss(o, slice(y, 0, t, t + 1), Reduction::sum);
  }
  error.backward();
  const BpttResult hand = bptt({matrix_of(w), matrix_of(u), matrix_of(v)}, xs, ys);
  CHECK(hand.error == doctest::Approx(error.item()));
  check_close(w.grad(), hand.gradient.w);
  check_close(u.grad(), hand.gradient.u);
  check_close(v.grad(), hand.gradient.v);
}

TEST_CASE("the spectral radius is that of the eigenvalues") {
  CHECK(spectral_radius({2, 2, {3, 0, 0, -4}}) == doctest::Approx(4));
  CHECK(spectral_radius({2, 2, {0, -0.5, 0.5, 0}}) == doctest::Approx(0.5));   // +-0.5 i
  CHECK(spectral_radius({2, 2, {0.9, 100, 0, 0.9}}) == doctest::Approx(0.9));  // a Jordan block
  CHECK(spectral_radius({2, 2, {0, 1, 0, 0}}) == doctest::Approx(0));
  // numpy.linalg.eigvals: 16.1168, -1.1168, 0
  CHECK(spectral_radius({3, 3, {1, 2, 3, 4, 5, 6, 7, 8, 9}}) == doctest::Approx(16.116843969807));
}
