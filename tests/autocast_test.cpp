// Autocast: products in bf16, forwards and backwards, planned and eager; everything else as it was.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <optional>

#include "core/kernels/bf16.h"
#include "reel.h"

using namespace reel;

namespace {

double rounded(double x) {
  const auto f = static_cast<float>(x);
  Bf16 half{};
  to_bf16(1, 1, {&f, 1, 1}, {&half, 1, 1});
  float back = 0;
  from_bf16(1, 1, {&half, 1, 1}, {&back, 1, 1});
  return static_cast<double>(back);
}

// The values rounded to bf16, in f64.
Tensor rounded(const Tensor& x) {
  std::vector<double> values = x.to_vector<double>();
  for (double& v : values) v = rounded(v);
  return Tensor::from(values, x.shape());
}

double distance(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape());
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double worst = 0;
  for (size_t k = 0; k < x.size(); ++k) worst = std::max(worst, std::fabs(x[k] - y[k]));
  return worst;
}

// The error of k products of numbers below `size`, added up in f32 in any order.
double bound(int64_t k, double size) { return static_cast<double>(k) * size * size * 0x1p-24; }

Tensor variable(const Shape& shape) { return uniform(shape, -1, 1).requires_grad_(); }

struct Pair {
  Shape a, b;
  bool ta = false, tb = false;  // as transposes of what is stored
};
// Tiny ones, one row, batched ones, and some that are large enough for every routine, odd sizes among them.
const std::vector<Pair> kPairs = {{{3, 4}, {4, 5}},
                                  {{1, 300}, {300, 70}},
                                  {{33, 65}, {65, 130}},
                                  {{65, 33}, {130, 65}, true, true},
                                  {{40, 129}, {200, 129}, false, true},
                                  {{129, 40}, {129, 200}, true, false},
                                  {{2, 40, 33}, {33, 64}},
                                  {{2, 3, 40, 33}, {2, 3, 33, 50}},
                                  {{2, 1, 40, 33}, {3, 50, 33}, false, true},
                                  {{4}, {4, 3}},
                                  {{0, 3}, {3, 4}},
                                  {{2, 0}, {0, 4}}};

Tensor product(const Tensor& a, const Tensor& b, const Pair& pair) {
  return matmul(pair.ta ? transpose(a, -1, -2) : a, pair.tb ? transpose(b, -1, -2) : b);
}

bool in_bf16(const Tensor& y, const Tensor& in_f32) { return distance(y, in_f32) > 1e-5; }

}  // namespace

TEST_CASE("autocast: values are those of rounded operands, up to the order of sums in f32") {
  for (bool slow : {false, true}) {
    pretend_bf16_is_slow(slow);
    for (int threads : {1, 2}) {
      set_num_threads(threads);
      for (bool eager : {false, true}) {
        manual_seed(5);
        const Eager mode(eager);
        for (const Pair& pair : kPairs) {
          const Tensor a = uniform(pair.a, -1, 1), b = uniform(pair.b, -1, 1);
          std::optional<Autocast> scope(std::in_place);
          const Tensor y = product(a, b, pair);
          scope.reset();
          CHECK(y.dtype() == DType::f32);
          const Tensor want = product(rounded(a), rounded(b), pair);
          CAPTURE(y.shape());
          CHECK(distance(y, want) <= bound(300, 1));
          if (y.numel() > 0 && a.numel() > 30) CHECK(in_bf16(y, product(a, b, pair)));
        }
      }
    }
  }
  set_num_threads(0);
  pretend_bf16_is_slow(false);
}

// dA = r(dy) r(B)^T and dB = r(A)^T r(dy), where r rounds.
TEST_CASE("autocast: gradients are the rounded formulas', though recorded after the scope") {
  for (bool eager : {false, true}) {
    manual_seed(6);
    const Eager mode(eager);
    for (const Pair& pair : kPairs) {
      Tensor a = variable(pair.a), b = variable(pair.b);
      std::optional<Autocast> scope(std::in_place);
      const Tensor y = product(a, b, pair);
      scope.reset();
      const Tensor dy = uniform(y.shape(), -1, 1);
      sum(y * dy).backward();

      Tensor ra = rounded(a).requires_grad_(), rb = rounded(b).requires_grad_();
      sum(product(ra, rb, pair) * rounded(dy)).backward();
      CAPTURE(y.shape());
      CHECK(a.grad().dtype() == DType::f32);
      CHECK(distance(a.grad(), ra.grad()) <= bound(300, 1));
      CHECK(distance(b.grad(), rb.grad()) <= bound(300, 1));
    }
  }
}

TEST_CASE("autocast: scopes nest, an inner one may make an exception, and each ends with its block") {
  const Tensor a = uniform({40, 50}, -1, 1), b = uniform({50, 60}, -1, 1);
  const Tensor exact = matmul(a, b);
  Tensor outer, inner, exception, again;
  {
    const Autocast on;
    outer = matmul(a, b);
    {
      const Autocast off(false);
      exception = matmul(a, b);
      const Autocast on_again;
      inner = matmul(a, b);
    }
    again = matmul(a, b);
  }
  const Tensor after = matmul(a, b);
  for (const Tensor& y : {outer, inner, again}) CHECK(in_bf16(y, exact));
  for (const Tensor& y : {exception, after}) CHECK(distance(y, exact) == 0);
}

TEST_CASE("autocast: a product outside stays f32 when it is differentiated inside") {
  manual_seed(8);
  Tensor a = variable({40, 50}), b = variable({50, 60});
  const Tensor dy = uniform({40, 60}, -1, 1);
  const Tensor y = matmul(a, b);
  const Autocast scope;
  sum(y * dy).backward();
  const Tensor want = matmul(to(dy, DType::f64), transpose(to(b, DType::f64), 0, 1));
  CHECK(distance(a.grad(), want) <= bound(60, 1));
}

TEST_CASE("autocast: f64 knows nothing of it, nor do sums, pointwise functions and softmax") {
  manual_seed(9);
  const Tensor a = uniform({33, 40}, -1, 1), b = uniform({40, 50}, -1, 1);
  const auto values = [&] {
    return std::vector<std::vector<double>>{matmul(to(a, DType::f64), to(b, DType::f64)).to_vector<double>(),
                                            sum(a, 0).to_vector<double>(), tanh(a * 1.25).to_vector<double>(),
                                            softmax(b, -1).to_vector<double>()};
  };
  const auto without = values();
  const Autocast scope;
  CHECK(values() == without);
}

// A recurrence whose steps take turns: the weight is packed in both ways, and its gradient adds up both.
TEST_CASE("autocast: one weight in both precisions is kept apart, packed, in batches and in sums") {
  constexpr int64_t kSteps = 12;
  enum class Turns { f32, bf16, even, odd };
  const auto run = [](Turns turns, bool eager) {
    const Eager mode(eager);
    manual_seed(10);
    const Tensor w = uniform({40, 40}, -0.5, 0.5).requires_grad_();
    Tensor h = uniform({16, 40}, -1, 1), loss;
    for (int64_t t = 0; t < kSteps; ++t) {
      const Autocast scope(turns == Turns::bf16 ||
                           (turns != Turns::f32 && (t % 2 == 0) == (turns == Turns::even)));
      h = tanh(matmul(h, transpose(w, 0, 1)) + uniform({16, 40}, -1, 1));
      const Tensor part = sum(h * uniform({16, 40}, -1, 1));
      loss = t == 0 ? part : loss + part;
    }
    loss.backward();
    return Tensors{h, w.grad()};
  };
  const Tensors exact = run(Turns::f32, false), narrow = run(Turns::bf16, false);
  for (const Turns turns : {Turns::even, Turns::odd}) {
    const Tensors planned = run(turns, false), eager = run(turns, true);
    for (size_t k = 0; k < 2; ++k) {
      const double off = distance(planned[k], eager[k]);
      CHECK(distance(planned[k], exact[k]) > 20 * off);
      CHECK(distance(planned[k], narrow[k]) > 20 * off);
    }
  }
  CHECK(distance(exact[1], narrow[1]) > 1e-3);
}

TEST_CASE("autocast: what is recorded once is so in and out of the scope, with its gradient") {
  for (bool eager : {false, true}) {
    manual_seed(12);
    const Eager mode(eager);
    const Tensor w = variable({40, 50}), x = uniform({16, 40}, -1, 1), dy = uniform({16, 50}, -1, 1);
    const Once cell = once([&](const Tensors& in) { return Tensors{matmul(in[0], w)}; });
    const auto call = [&](bool narrow) {
      const Autocast scope(narrow);
      return cell({x})[0];
    };
    const Tensor before = call(false), inside = call(true), after = call(false);
    sum(inside * dy).backward();
    CHECK(in_bf16(inside, before));
    CHECK(distance(before, after) <= bound(40, 1));
    CHECK(distance(inside, matmul(rounded(x), rounded(w))) <= bound(64, 1));
    CHECK(distance(w.grad(), matmul(transpose(rounded(x), 0, 1), rounded(dy))) <= bound(64, 1));
  }
}

TEST_CASE("autocast: a model planned is the model eager, and its weights stay f32") {
  struct Model : nn::Module {
    nn::Embedding words{{this, "words"}, 20, 24};
    nn::LSTM lstm{{this, "lstm"}, 24, 32, {.num_layers = 2}};
    nn::Linear output{{this, "output"}, 32, 20};
    Tensor loss(const Tensor& ids) const { return cross_entropy(output(lstm(words(ids)).output), ids); }
  };
  manual_seed(11);
  Model model;
  std::vector<int64_t> values(9 * 16);
  for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<int64_t>(k * 7 % 20);
  const Tensor ids = Tensor::from(values, {9, 16});
  const auto gradients = [&](bool eager, bool narrow) {
    const Eager mode(eager);
    model.zero_grad();
    Tensor loss;
    {
      const Autocast scope(narrow);
      loss = model.loss(ids);
    }
    loss.backward();
    Tensors all{loss};
    for (const Tensor& p : model.parameters()) all.push_back(p.grad());
    return all;
  };
  const Tensors exact = gradients(false, false), eager = gradients(true, true),
                planned = gradients(false, true);
  for (size_t k = 0; k < planned.size(); ++k) {
    CHECK(planned[k].dtype() == DType::f32);
    double size = 0;
    for (double g : exact[k].to_vector<double>()) size = std::max(size, std::fabs(g));
    // Where sums in f32 differ in the last bit, what is made of them may round to the next bf16.
    CHECK(distance(planned[k], eager[k]) <= 2e-3 * size);
    CHECK(distance(planned[k], exact[k]) <= 3e-2 * size);
    if (k > 0) CHECK(distance(planned[k], exact[k]) > 1e-4 * size);
  }
  for (const auto& [name, tensor] : model.state_dict()) CHECK(tensor.dtype() == DType::f32);
}
