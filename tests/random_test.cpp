// Random numbers: the generator's published answers, the distributions, and that nothing but seed, call and
// index counts.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "core/random.h"
#include "core/structural.h"
#include "ops/arithmetic.h"
#include "ops/random.h"
#include "ops/reductions.h"

using namespace reel;

namespace {

using Words = std::array<uint32_t, 4>;

struct Moments {
  double mean = 0, variance = 0, skew = 0, kurtosis = 0, low = INFINITY, high = -INFINITY;
  explicit Moments(const Tensor& t) {
    const std::vector<double> values = t.to_vector<double>();
    const auto n = static_cast<double>(values.size());
    for (double v : values) {
      mean += v / n;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    for (double v : values) variance += (v - mean) * (v - mean) / n;
    for (double v : values) {
      skew += std::pow((v - mean) / std::sqrt(variance), 3) / n;
      kurtosis += std::pow((v - mean) / std::sqrt(variance), 4) / n;
    }
  }
};

double share(const Tensor& condition) {
  return sum(condition).item() / static_cast<double>(condition.numel());
}

}  // namespace

TEST_CASE("philox gives the known answers of Random123") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a value comes from the word of its seed, call and index") {
  const RandomState at{0x123456789abcdef0, 0x500000007};
  set_random_state(at);
  const auto word = [](uint32_t i) { return philox({i / 4, 0, 7, 5}, {0x9abcdef0, 0x12345678})[i % 4]; };
  const std::vector<double> values = uniform({2 * kWords + 1}, 0, 1, DType::f64).to_vector<double>();
  for (uint32_t i = 0; i < values.size(); ++i) CHECK(values[i] == word(i) / 4294967296.0);
  CHECK(random_state() == RandomState{at.seed, at.position + 1});

  const auto first_coin = [&](double p) {
    set_random_state(at);
    return bernoulli({1}, p).item();
  };
  CHECK(first_coin(word(0) / 4294967296.0) == 0);  // 1 for words below p 2^32
  CHECK(first_coin((word(0) + 1) / 4294967296.0) == 1);

  set_random_state(at);
  const std::vector<double> z = normal({3}, 0, 1, DType::f64).to_vector<double>();
  const double radius = std::sqrt(-2 * std::log(1 - word(0) / 4294967296.0));
  CHECK(std::hypot(z[0], z[1]) == doctest::Approx(radius).epsilon(1e-12));
  CHECK(std::fmod(std::atan2(z[1], z[0]) / 6.283185307179586 + 1, 1) ==
        doctest::Approx(word(1) / 4294967296.0).epsilon(1e-12));
}

TEST_CASE("the moments are those of the distributions") {
  manual_seed(3);
  const Shape shape{1000, 1000};
  const Moments u(uniform(shape, -1, 3));
  CHECK(u.mean == doctest::Approx(1).epsilon(0.005));
  CHECK(u.variance == doctest::Approx(16.0 / 12).epsilon(0.005));
  CHECK(u.low >= -1);
  CHECK(u.low < -0.9999);
  CHECK(u.high < 3);
  CHECK(u.high > 2.9999);

  const Tensor draws = normal(shape, 2, 3);
  const Moments z(draws);
  CHECK(z.mean == doctest::Approx(2).epsilon(0.01));
  CHECK(z.variance == doctest::Approx(9).epsilon(0.01));
  CHECK(std::fabs(z.skew) < 0.02);
  CHECK(z.kurtosis == doctest::Approx(3).epsilon(0.02));
  CHECK(share(less(draws, 2.0 - 1.96 * 3)) == doctest::Approx(0.025).epsilon(0.05));
  CHECK(z.high > 2 + 3 * 4.3);  // a million draws pass 4.3 deviations

  // Neighbours (both of one pair, and of different pairs) do not go together.
  const std::vector<double> values = draws.to_vector<double>();
  for (size_t lag : {1, 2, 3, 4}) {
    double together = 0;
    for (size_t i = 0; i + lag < values.size(); ++i) together += (values[i] - 2) * (values[i + lag] - 2);
    CHECK(std::fabs(together / static_cast<double>(values.size()) / 9) < 0.005);
  }

  const Tensor coins = bernoulli(shape, 0.3);
  CHECK(share(equal(coins, 1.0)) == doctest::Approx(0.3).epsilon(0.01));
  CHECK(share(equal(coins, 0.0)) == doctest::Approx(0.7).epsilon(0.01));
}

TEST_CASE("the ends of the distributions") {
  CHECK(sum(bernoulli({10000}, 0)).item() == 0);
  CHECK(sum(bernoulli({10000}, 1)).item() == 10000);
  CHECK(Moments(uniform({100}, 2, 2)).low == 2);
  CHECK(Moments(normal({100}, 2, 0)).low == 2);
  CHECK(Moments(normal({100}, 2, 0)).high == 2);
  // Two f32 apart: rounding would reach the upper end every second time.
  const float above = std::nextafter(1.0f, 2.0f);
  CHECK(Moments(uniform({1000}, 1, above, DType::f32)).high == 1);
  CHECK(uniform({0, 3}).numel() == 0);
  CHECK(normal({}).shape() == Shape{});
  CHECK_THROWS_WITH_AS(uniform({2}, 0, INFINITY), doctest::Contains("want low <= high"), Error);
  CHECK_THROWS_WITH_AS(normal({2}, 0, NAN), doctest::Contains("std nan"), Error);
  CHECK_THROWS_AS(normal({int64_t{1} << 40, int64_t{1} << 40}), Error);
}

TEST_CASE("threads, evaluation order, size and dtype change nothing") {
  const auto draws = [] {
    manual_seed(11);
    return std::vector<Tensor>{uniform({300, 1001}), normal({300, 1001}), bernoulli({300, 1001}, 0.5)};
  };
  set_num_threads(1);
  std::vector<std::vector<std::byte>> alone;
  for (const Tensor& t : draws()) alone.push_back(t.to_bytes());
  set_num_threads(2);
  const std::vector<Tensor> again = draws();
  for (size_t k = again.size(); k-- > 0;) CHECK(again[k].to_bytes() == alone[k]);  // the last one first
  {
    const Eager eager;
    const std::vector<Tensor> at_once = draws();
    for (size_t k = 0; k < at_once.size(); ++k) CHECK(at_once[k].to_bytes() == alone[k]);
  }
  set_num_threads(0);

  manual_seed(11);
  const std::vector<float> first = uniform({7}).to_vector<float>();
  manual_seed(11);
  const std::vector<float> longer = uniform({50}).to_vector<float>();
  CHECK(std::equal(first.begin(), first.end(), longer.begin()));
  manual_seed(11);
  const std::vector<double> wide = uniform({50}, 0, 1, DType::f64).to_vector<double>();
  for (size_t i = 0; i < longer.size(); ++i) CHECK(longer[i] == static_cast<float>(wide[i]));
  manual_seed(12);
  CHECK(uniform({50}).to_vector<float>() != longer);
}

TEST_CASE("a call's place is fixed when it is recorded") {
  manual_seed(5);
  const Tensor a = normal({20}), b = normal({20});
  const std::vector<float> second = b.to_vector<float>(), first = a.to_vector<float>();
  CHECK(first != second);
  manual_seed(5);
  CHECK(normal({20}).to_vector<float>() == first);
  const RandomState saved = random_state();
  CHECK(saved == RandomState{5, 1});
  CHECK(normal({20}).to_vector<float>() == second);
  set_random_state(saved);
  CHECK(normal({20}).to_vector<float>() == second);

  RandomState elsewhere{9, 9};
  std::thread([&] { elsewhere = random_state(); }).join();
  CHECK(elsewhere == RandomState{0, 0});  // each thread has its own
}

TEST_CASE("other random numbers need no new plan") {
  const auto step = [] { return sum(dropout(normal({33}), 0.5)).item(); };
  step();
  const uint64_t built = tape_stats().plans_built;
  const double one = step(), two = step();
  CHECK(one != two);
  CHECK(tape_stats().plans_built == built);
}

TEST_CASE("dropout zeroes a share, scales the rest, and its gradient has the same mask") {
  manual_seed(1);
  Tensor x = ones({400, 500});
  x.requires_grad_();
  const Tensor y = dropout(x, 0.2);
  CHECK(share(equal(y, 0.0)) == doctest::Approx(0.2).epsilon(0.01));
  CHECK(share(equal(y, 1.25)) == doctest::Approx(0.8).epsilon(0.01));
  const Tensor g = grad(sum(y), x);
  CHECK(g.to_vector<float>() == y.to_vector<float>());
  sum(y).backward();  // the forward pass was computed before, the mask is drawn no second time
  CHECK(x.grad().to_vector<float>() == y.to_vector<float>());

  manual_seed(1);
  const Eager eager;
  CHECK(dropout(x, 0.2).to_vector<float>() == y.to_vector<float>());
  const RandomState before = random_state();
  CHECK(dropout(x, 0.2, false).node() == x.node());
  CHECK(dropout(x, 0).node() == x.node());
  CHECK(random_state() == before);
  CHECK_THROWS_WITH_AS(dropout(x, 1), doctest::Contains("p 1: want at least 0 and below 1"), Error);
  CHECK_THROWS_WITH_AS(dropout(x, -0.1), doctest::Contains("p -0.1"), Error);
  CHECK_THROWS_WITH_AS(dropout(Tensor::from(std::vector<int64_t>{1}, {1}), 0.5), doctest::Contains("is i64"),
                       Error);
}
