// Pointwise programs: each instruction's f32 lanes against the standard library in double, at every kind of
// number; broadcasting, strides, types and running in place.
#include "core/kernels/pointwise.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "core/kernels/simd.h"

namespace reel {
namespace {

using lanes::Code;
using lanes::Inputs;
using lanes::Lane;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();
constexpr float kMin = std::numeric_limits<float>::min();
constexpr float kMax = std::numeric_limits<float>::max();

Array view(std::vector<float>& x) {
  Array a{reinterpret_cast<std::byte*>(x.data()), DType::f32, {static_cast<int64_t>(x.size())}, {}};
  a.strides = row_major(a.shape);
  return a;
}
Array view(std::vector<double>& x) {
  Array a{reinterpret_cast<std::byte*>(x.data()), DType::f64, {static_cast<int64_t>(x.size())}, {}};
  a.strides = row_major(a.shape);
  return a;
}

template <class T>
std::vector<T> run(Lane (*body)(const Inputs&), std::vector<std::vector<T>> in) {
  std::vector<Array> arrays;
  for (auto& x : in) arrays.push_back(view(x));
  std::vector<T> out(in[0].size());
  run_pointwise(lanes::trace(static_cast<uint16_t>(in.size()), body), arrays, view(out), {});
  return out;
}

// How many f32 numbers lie between the two; the sign of zero counts for nothing, infinities and NaNs must be
// exact.
double ulps(float got, double want) {
  const auto nearest = static_cast<float>(want);
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : kInf;
  if (std::isinf(nearest) || std::isinf(got)) {
    return nearest == got || (std::isinf(got) && std::fabs(want) > 0.999999 * static_cast<double>(kMax))
               ? 0
               : kInf;
  }
  const double spacing =
      std::max(std::fabs(static_cast<double>(std::nextafter(nearest, kInf)) - static_cast<double>(nearest)),
               static_cast<double>(kTiny));
  return std::fabs(static_cast<double>(got) - want) / spacing;
}

std::vector<float> numbers() {
  std::vector<float> x = {0.f,    -0.f,   1.f,   -1.f,   0.5f,     -0.5f,    2.f,    kInf,    -kInf,
                          kNan,   kMax,   -kMax, kMin,   -kMin,    kTiny,    -kTiny, 1e-30f,  -1e-30f,
                          1e-8f,  -1e-8f, 88.7f, 88.72f, 88.722f,  88.7228f, 88.73f, 89.f,    100.f,
                          -87.3f, -87.4f, -90.f, -103.f, -103.97f, -104.f,   -105.f, -1000.f, 1e10f,
                          -1e10f, 9.f,    -9.f,  0.35f,  0.4f,     -0.35f};
  std::mt19937 random(11);
  std::uniform_real_distribution<float> near(-4, 4), wide(-100, 100), exponent(-40, 38);
  for (int k = 0; k < 20'000; ++k) {
    x.push_back(near(random));
    x.push_back(wide(random));
    x.push_back(std::pow(10.f, exponent(random)) * (k % 2 ? 1.f : -1.f));
  }
  return x;
}

// The largest distance between the f32 lanes and the f64 reference over all numbers.
void worst1(const std::string& name, Lane (*body)(const Inputs&), double allowed) {
  const std::vector<float> x = numbers();
  const std::vector<float> got = run<float>(body, {x});
  const std::vector<double> want = run<double>(body, {std::vector<double>(x.begin(), x.end())});
  double worst = 0, at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double u = ulps(got[i], want[i]);
    if (u > worst) {
      worst = u;
      at = static_cast<double>(x[i]);
    }
  }
  MESSAGE(name << ": at most " << worst << " ulp, at " << at);
  CHECK_MESSAGE(worst <= allowed, name << " at " << at);
}

TEST_CASE("instructions of one lane: f32 against the standard library") {
  worst1(
      "neg", [](const Inputs& x) { return -x[0]; }, 0);
  worst1(
      "abs", [](const Inputs& x) { return abs(x[0]); }, 0);
  worst1(
      "sign", [](const Inputs& x) { return sign(x[0]); }, 0);
  worst1(
      "sqrt", [](const Inputs& x) { return sqrt(x[0]); }, 0.5);
  worst1(
      "exp", [](const Inputs& x) { return exp(x[0]); }, 2);
  worst1(
      "log", [](const Inputs& x) { return log(x[0]); }, 4);
  worst1(
      "log1p", [](const Inputs& x) { return log1p(x[0]); }, 2);
  worst1(
      "expm1", [](const Inputs& x) { return expm1(x[0]); }, 2);
  worst1(
      "tanh", [](const Inputs& x) { return tanh(x[0]); }, 6);
  worst1(
      "sigmoid", [](const Inputs& x) { return sigmoid(x[0]); }, 4);
  worst1(
      "erf", [](const Inputs& x) { return erf(x[0]); }, 8);
}

TEST_CASE("instructions of two and three lanes, for every pair of special numbers") {
  std::vector<float> special = {0.f,   -0.f, 1.f,  -1.f,  2.5f, -2.f,  3.f,    kInf,
                                -kInf, kNan, kMax, -kMax, kMin, kTiny, -kTiny, 1e-20f};
  std::vector<float> a, b, c;
  for (float x : special) {
    for (float y : special) {
      a.push_back(x);
      b.push_back(y);
      c.push_back(static_cast<float>(a.size()));
    }
  }
  const auto check = [&](const std::string& name, Lane (*body)(const Inputs&), double allowed) {
    const auto wide = [](const std::vector<float>& x) { return std::vector<double>(x.begin(), x.end()); };
    const std::vector<float> got = run<float>(body, {a, b, c});
    const std::vector<double> want = run<double>(body, {wide(a), wide(b), wide(c)});
    for (size_t i = 0; i < a.size(); ++i) {
      CHECK_MESSAGE(ulps(got[i], want[i]) <= allowed,
                    name << "(" << a[i] << ", " << b[i] << ") = " << got[i] << ", want " << want[i]);
    }
  };
  check(
      "add", [](const Inputs& x) { return x[0] + x[1]; }, 0.5);
  check(
      "sub", [](const Inputs& x) { return x[0] - x[1]; }, 0.5);
  check(
      "mul", [](const Inputs& x) { return x[0] * x[1]; }, 0.5);
  check(
      "div", [](const Inputs& x) { return x[0] / x[1]; }, 0.5);
  check(
      "min", [](const Inputs& x) { return min(x[0], x[1]); }, 0);
  check(
      "max", [](const Inputs& x) { return max(x[0], x[1]); }, 0);
  check(
      "pow", [](const Inputs& x) { return pow(x[0], x[1]); }, 1);
  check(
      "less", [](const Inputs& x) { return x[0] < x[1]; }, 0);
  check(
      "less_equal", [](const Inputs& x) { return x[0] <= x[1]; }, 0);
  check(
      "equal", [](const Inputs& x) { return x[0] == x[1]; }, 0);
  check(
      "select", [](const Inputs& x) { return select(x[0], x[1], x[2]); }, 0);
}

TEST_CASE("limits that models lean on are exact") {
  const auto one = [](Lane (*body)(const Inputs&), float x) { return run<float>(body, {{x}})[0]; };
  const auto exp1 = [](const Inputs& x) { return exp(x[0]); };
  const auto sigmoid1 = [](const Inputs& x) { return sigmoid(x[0]); };
  const auto tanh1 = [](const Inputs& x) { return tanh(x[0]); };
  CHECK(one(exp1, -kInf) == 0);
  CHECK(one(exp1, -200) == 0);
  CHECK(one(exp1, 0) == 1);
  CHECK(one(sigmoid1, -kInf) == 0);
  CHECK(one(sigmoid1, kInf) == 1);
  CHECK(one(sigmoid1, 0) == 0.5f);
  CHECK(one(tanh1, kInf) == 1);
  CHECK(one(tanh1, -kInf) == -1);
  CHECK(std::signbit(one(tanh1, -0.f)));
  CHECK(one([](const Inputs& x) { return erf(x[0]); }, -kInf) == -1);
  CHECK(one([](const Inputs& x) { return x[0]; }, kTiny) == kTiny);
}

TEST_CASE("an element's value does not depend on where it stands") {
  for (Lane (*body)(const Inputs&) : {+[](const Inputs& x) { return tanh(x[0]) * exp(x[0]) + 0.1; },
                                      +[](const Inputs& x) { return sigmoid(erf(x[0]) - x[0] * 3.0); }}) {
    const std::vector<float> all = run<float>(body, {std::vector<float>(700, 0.7321f)});
    for (float y : all) CHECK(y == all[0]);
    for (size_t n : {1, 3, 17, 255, 257})
      CHECK(run<float>(body, {std::vector<float>(n, 0.7321f)}).back() == all[0]);
  }
}

TEST_CASE("broadcasts, strides and a result in place of an input") {
  std::vector<float> x(6 * 500), row(500), column(6);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i % 7);
  for (size_t i = 0; i < column.size(); ++i) column[i] = static_cast<float>(i * 10);
  const lanes::Program program = lanes::trace(3, [](const Inputs& v) { return v[0] * 2.0 + v[1] - v[2]; });
  for (const bool turned : {false, true}) {
    for (const bool in_place : {false, true}) {
      std::vector<float> values = x, result(x.size());
      const Shape shape = {6, 500};
      Array a{reinterpret_cast<std::byte*>(values.data()), DType::f32, shape,
              turned ? Strides{1, 6} : row_major(shape)};
      if (in_place && turned) continue;  // not element for element
      Array b = view(row), c{reinterpret_cast<std::byte*>(column.data()), DType::f32, {6, 1}, {1, 1}};
      Array out{reinterpret_cast<std::byte*>(in_place ? values.data() : result.data()), DType::f32, shape,
                row_major(shape)};
      run_pointwise(program, std::vector<Array>{a, b, c}, out, {});
      bool right = true;
      for (size_t i = 0; i < 6; ++i) {
        for (size_t j = 0; j < 500; ++j) {
          right = right && out.as<float>()[i * 500 + j] ==
                               x[turned ? j * 6 + i : i * 500 + j] * 2 + row[j] - column[i];
        }
      }
      CHECK(right);
    }
  }
}

TEST_CASE("rows with a gap between them are not taken for one long row") {
  std::vector<float> x = {1, 2, 3, -1, 4, 5, 6, -1, 7, 8, 9, -1}, out(9), doubled(9);
  const Array in{reinterpret_cast<std::byte*>(x.data()), DType::f32, {3, 3}, {4, 1}};
  const auto square = [](std::vector<float>& v) {
    return Array{reinterpret_cast<std::byte*>(v.data()), DType::f32, {3, 3}, {3, 1}};
  };
  copy(in, square(out));
  CHECK(out == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  run_pointwise(lanes::trace(2, [](const Inputs& v) { return v[0] + v[1]; }),
                std::vector<Array>{in, square(out)}, square(doubled), {});
  CHECK(doubled == std::vector<float>{2, 4, 6, 8, 10, 12, 14, 16, 18});
}

TEST_CASE("copies turn every type into every other") {
  const auto convert = [](auto from, auto to, double value) {
    using From = decltype(from);
    using To = decltype(to);
    std::vector<From> in(3, static_cast<From>(value));
    std::vector<To> out(3);
    copy({reinterpret_cast<std::byte*>(in.data()), dtype_of<From>, {3}, {1}},
         {reinterpret_cast<std::byte*>(out.data()), dtype_of<To>, {3}, {1}});
    return static_cast<double>(out[2]);
  };
  CHECK(convert(float{}, double{}, 1.5) == 1.5);
  CHECK(convert(double{}, float{}, 0.1) == static_cast<double>(0.1f));
  CHECK(convert(double{}, int64_t{}, -2.75) == -2);
  CHECK(convert(float{}, int64_t{}, 2.75) == 2);
  CHECK(convert(int64_t{}, float{}, 7) == 7);
  CHECK(convert(int64_t{}, int64_t{}, 1e15 + 1) == 1e15 + 1);
}

TEST_CASE("sums, dots and maxima of every length") {
  for (size_t n = 0; n < 150; ++n) {
    std::vector<float> a(n), b(n);
    double sum = 0, dot = 0;
    float top = -kInf;
    for (size_t i = 0; i < n; ++i) {
      a[i] = static_cast<float>((i * 37) % 101) - 50;
      b[i] = static_cast<float>((i * 53) % 11);
      sum += static_cast<double>(a[i]);
      dot += static_cast<double>(a[i] * b[i]);
      top = std::max(top, a[i]);
    }
    CHECK(static_cast<double>(simd::sum(a.data(), n)) == sum);
    CHECK(static_cast<double>(simd::dot(a.data(), b.data(), n)) == dot);
    CHECK(simd::max(a.data(), n) == top);
    if (n == 0) continue;
    a[n / 2] = kNan;
    CHECK(std::isnan(simd::max(a.data(), n)));
    CHECK(std::isnan(simd::sum(a.data(), n)));
  }
}

}  // namespace
}  // namespace reel
