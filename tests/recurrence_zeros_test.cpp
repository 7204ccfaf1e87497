// Recurrences that begin with zeros: what a product makes of them is left out.
#include "core/grad.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

constexpr int64_t kRows = 6, kWidth = 4, kTimes = 5;

Tensor number(double x) { return full({kRows, kWidth}, x); }

// A recurrence over h and c, whose product and whose weights' gradients read both; `first` and `second` are
// where they begin.
Program chain_from(const std::function<Tensor(Numbers&)>& first,
                   const std::function<Tensor(Numbers&)>& second) {
  return [=](Numbers& n) {
    const Tensor u = n.parameter({kWidth, kWidth}), v = n.parameter({kWidth, kWidth});
    const Cell cell = [=](const Tensors& in) -> Tensors {
      const Tensor h = tanh(matmul(in[1], u) + matmul(in[2], v) + in[0]);
      return {h, sigmoid(in[2]) * h};
    };
    return ending(chain(cell, {first(n), second(n)}, steps(n, kTimes, {kRows, kWidth})));
  };
}

}  // namespace

TEST_CASE("zeros: a state that begins with zeros, with ones, with rows of a parameter") {
  using Begin = std::function<Tensor(Numbers&)>;
  const Begin zero = [](Numbers&) { return number(0); }, one = [](Numbers&) { return number(1); },
              learned = [](Numbers&n) {
                return n.parameter({kRows, kWidth});
              };
  const DefaultDType numbers(DType::f64);
  for (const Begin& first : {zero, one, learned}) {
    for (const Begin& second : {zero, one, learned}) same(chain_from(first, second));
  }
}

TEST_CASE("zeros: levels some of whose rows begin") {
  for (const bool first : {false, true}) {
    same([=](Numbers& n) {
      const Tensor u = n.parameter({kWidth, kWidth});
      const Cell cell = as_template(
          [=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], u) + in[1] * 0.5 + in[2])}; });
      std::vector<Tensors> inputs = steps(n, 2 * kTimes + 2, {kRows, kWidth});
      const auto x = [&] {
        const Tensor next = inputs.back()[0];
        inputs.pop_back();
        return next;
      };
      const Tensor zero = number(0);
      Tensors h = {cell({zero, zero, x()})[0], cell({zero, zero, x()})[0]};
      for (int64_t t = 0; t < kTimes;
           ++t) {  // one call of each level multiplies zeros, now the first, now the second
        const auto begins = [&] { return cell({zero, h[0], x()})[0]; };
        const auto goes_on = [&] { return cell({h[1], zero, x()})[0]; };
        if (first) {
          const Tensor a = begins();
          h = {a, goes_on()};
        } else {
          const Tensor b = goes_on();
          h = {begins(), b};
        }
      }
      return ending({mean(square(h[0])), h[1]});
    });
  }
}

TEST_CASE("zeros: what reads the state of the step before outside of the levels") {
  const auto program = [](int how) {
    return [how](Numbers& n) {
      const Tensor u = n.parameter({kWidth, kWidth}), v = n.parameter({kWidth}), w = n.parameter({kWidth, 3});
      const Cell cell = [=](const Tensors& in) -> Tensors {
        const Tensor product = how == 0 ? in[1] * v : matmul(in[1], u);
        const Tensor before = how == 1 ? in[1] + v : how == 2 ? in[1] * v : in[1];
        return {tanh(product + in[0]), matmul(before, w)};
      };
      return ending(chain(cell, {number(0)}, steps(n, kTimes, {kRows, kWidth})));
    };
  };
  const DefaultDType numbers(DType::f64);
  for (const int how : {0, 1, 2, 3}) same(program(how));
}

TEST_CASE("zeros: the gradient of a gradient") {
  check_same(
      [](Numbers& n) {
        const Tensors values =
            chain_from([](Numbers&) { return number(0); }, [](Numbers&) { return number(0); })(n);
        Tensor penalty = values[0];
        for (const Tensor& g : grad({values[0]}, n.parameters, {.cotangents = {}, .create_graph = true}))
          penalty = penalty + sum(square(g));
        return Tensors{penalty};
      },
      {"", "-place", "-fuse"}, {1, 2});
}

TEST_CASE("zeros: a weight that is infinite, or no number, shows at the first step") {
  const DefaultDType numbers(DType::f32);
  for (const float bad : {INFINITY, NAN}) {
    for (const bool transposed : {false, true}) {
      const auto first = [&] {
        std::vector<float> weights(kWidth * kWidth, 0.5f);
        weights[6] = bad;  // row 1, column 2
        Tensor w = Tensor::from(weights, {kWidth, kWidth});
        if (transposed) w = transpose(w, 0, 1);
        const Cell cell =
            once([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[1], w) + in[0])}; });
        Tensor h = number(0);
        const Tensor x = number(0.1);
        Tensors all;
        for (int64_t t = 0; t < kTimes; ++t) all.push_back(h = cell({x, h})[0]);
        (void)(mean(h) + mean(all[0])).item();
        return all[0].to_vector<float>();
      };
      std::vector<float> want;
      {
        const Eager eager;
        want = first();
      }
      const std::vector<float> got = first();
      for (size_t k = 0; k < want.size(); ++k) {
        CHECK(std::isnan(want[k]) == (k % kWidth == (transposed ? 1 : 2)));
        CHECK(std::isnan(got[k]) == std::isnan(want[k]));
      }
    }
  }
}

TEST_CASE("zeros: a structure found again with another number to begin with") {
  const DefaultDType numbers(DType::f64);
  double last = 0;
  for (const double begin : {0.0, 0.5, 0.0, 0.25, 0.5}) {
    const auto value = [&] {
      const Program program =
          chain_from([=](Numbers&) { return number(begin); }, [](Numbers&) { return number(0); });
      return run(program, DType::f64, 1)[0][0];
    };
    double want = 0;
    {
      const Eager eager;
      want = value();
    }
    CHECK(value() == doctest::Approx(want).epsilon(1e-12));
    CHECK(want != last);
    last = want;
  }
}

}  // namespace reel
