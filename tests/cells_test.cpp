// Each cell against its equations, written once more as plain loops over doubles.
#include <doctest/doctest.h>

#include <cmath>

#include "reel.h"
#include "tests/distance.h"

using namespace reel;

namespace {

using doctest::Approx;

using Vector = std::vector<double>;

double sigma(double a) { return 1 / (1 + std::exp(-a)); }

// The parameters of a module as numbers.
class Weights {
 public:
  explicit Weights(const nn::Module& module) {
    for (const auto& [name, tensor] : module.state_dict()) all_[name] = tensor;
  }
  Vector vector(const std::string& name) const { return all_.at(name).to_vector<double>(); }
  // Rows first to last - 1 of W v.
  Vector times(const std::string& name, const Vector& v, size_t first, size_t last) const {
    const Vector w = vector(name);
    Vector y;
    for (size_t row = first; row < last; ++row) {
      double dot = 0;
      for (size_t k = 0; k < v.size(); ++k) dot += w.at(row * v.size() + k) * v[k];
      y.push_back(dot);
    }
    return y;
  }
  // Gate k of W x + b + U h + b', for gates of n units.
  Vector gate(const Vector& x, const Vector& h, size_t k, size_t n) const {
    const Vector wx = times("weight_ih", x, k * n, k * n + n), uh = times("weight_hh", h, k * n, k * n + n);
    const Vector b = vector("bias_ih"), b2 = vector("bias_hh");
    Vector y;
    for (size_t j = 0; j < n; ++j) y.push_back(wx[j] + b[k * n + j] + uh[j] + b2[k * n + j]);
    return y;
  }

 private:
  std::map<std::string, Tensor> all_;
};

Tensor row(const Vector& v) { return Tensor::from(v, {1, static_cast<int64_t>(v.size())}); }

void check(const Tensor& got, const Vector& want) {
  const Vector values = got.to_vector<double>();
  REQUIRE(values.size() == want.size());
  for (size_t k = 0; k < want.size(); ++k) CHECK(values[k] == Approx(want[k]).epsilon(1e-13));
}

const Vector kX{0.9, -0.4, 1.3}, kH{0.2, -0.7}, kC{-0.5, 1.1};

}  // namespace

TEST_CASE("cells: the RNN in the stacked form of some lectures, with any activation") {
  const DefaultDType f64(DType::f64);
  manual_seed(1);
  const nn::RNNCell cell({}, 3, 2, {.activation = [](const Tensor& a) { return leaky_relu(a, 0.2); }});
  const Tensor w_a = concat({cell.weight_hh, cell.weight_ih}, 1), b_a = cell.bias_ih + cell.bias_hh;
  const Tensor stacked = matmul(concat({row(kH), row(kX)}, -1), transpose(w_a, 0, 1)) + b_a;
  const Tensor h = cell(row(kX), row(kH));
  CHECK(tests::distance(h, leaky_relu(stacked, 0.2)) < 1e-14);
  Vector want = Weights(cell).gate(kX, kH, 0, 2);
  for (double& a : want) a = a > 0 ? a : 0.2 * a;
  check(h, want);
}

TEST_CASE("cells: the LSTM, and its projection") {
  const DefaultDType f64(DType::f64);
  manual_seed(2);
  for (const int64_t projection : {0, 1}) {
    const nn::LSTMCell cell({}, 3, 2, {.proj_size = projection});
    const Weights w(cell);
    const Vector h = projection ? Vector{kH[0]} : kH;
    const auto i = w.gate(kX, h, 0, 2), f = w.gate(kX, h, 1, 2), g = w.gate(kX, h, 2, 2),
               o = w.gate(kX, h, 3, 2);
    Vector c, out;
    for (size_t k = 0; k < 2; ++k) {
      c.push_back(sigma(f[k]) * kC[k] + sigma(i[k]) * std::tanh(g[k]));
      out.push_back(sigma(o[k]) * std::tanh(c[k]));
    }
    const auto next = cell(row(kX), {row(h), row(kC)});
    check(next.c, c);
    check(next.h, projection ? w.times("weight_hr", out, 0, 1) : out);
  }
  CHECK_THROWS_WITH_AS(nn::LSTMCell({}, 3, 2, {.proj_size = 2}), doctest::Contains("proj_size 2: want less"),
                       Error);
  CHECK_THROWS_WITH_AS(nn::LSTMCell({}, 3, 2, {.proj_size = -1}), doctest::Contains("proj_size -1"), Error);
}

TEST_CASE("cells: the GRU in both forms, and as textbooks write it, with the other sign of z") {
  const DefaultDType f64(DType::f64);
  manual_seed(3);
  for (const bool after : {true, false}) {
    const nn::GRUCell cell({}, 3, 2, {.reset_after = after});
    const Weights w(cell);
    const Vector zero(2), b = w.vector("bias_ih"), b2 = w.vector("bias_hh");
    const auto r = w.gate(kX, kH, 0, 2), z = w.gate(kX, kH, 1, 2), wx = w.times("weight_ih", kX, 4, 6);
    Vector rh;
    for (size_t k = 0; k < 2; ++k) rh.push_back(sigma(r[k]) * kH[k]);
    const auto u = w.times("weight_hh", after ? kH : rh, 4, 6);
    Vector h, textbook;
    for (size_t k = 0; k < 2; ++k) {
      const double inner = after ? sigma(r[k]) * (u[k] + b2[4 + k]) : u[k] + b2[4 + k];
      const double n = std::tanh(wx[k] + b[4 + k] + inner), zk = sigma(z[k]);
      h.push_back((1 - zk) * n + zk * kH[k]);
      textbook.push_back((1 - zk) * kH[k] + zk * n);
    }
    check(cell(row(kX), row(kH)), h);
    for (Tensor p : cell.parameters()) {
      p.assign(concat({slice(p, 0, 0, 2), -slice(p, 0, 2, 4), slice(p, 0, 4, 6)}, 0));
    }
    check(cell(row(kX), row(kH)), textbook);
  }
}

TEST_CASE("cells: peephole LSTMs") {
  const DefaultDType f64(DType::f64);
  manual_seed(4);
  for (const nn::Peephole form : {nn::Peephole::output, nn::Peephole::previous, nn::Peephole::graves}) {
    for (const bool full : {false, true}) {
      for (const bool output_tanh : {false, true}) {
        const nn::PeepholeLSTMCell cell({}, 3, 2, {},
                                        {.form = form, .full = full, .output_tanh = output_tanh});
        const Weights w(cell);
        const auto sees = [&](const Vector& c, size_t k, size_t unit) {
          if (full) return w.times("weight_ch", c, 2 * k + unit, 2 * k + unit + 1)[0];
          return w.vector("weight_ch")[2 * k + unit] * c[unit];
        };
        const auto i = w.gate(kX, kH, 0, 2), f = w.gate(kX, kH, 1, 2), g = w.gate(kX, kH, 2, 2),
                   o = w.gate(kX, kH, 3, 2);
        const bool before = form != nn::Peephole::output;
        Vector c, h;
        for (size_t k = 0; k < 2; ++k) {
          const double ik = sigma(i[k] + (before ? sees(kC, 0, k) : 0)),
                       fk = sigma(f[k] + (before ? sees(kC, 1, k) : 0));
          c.push_back(fk * kC[k] + ik * std::tanh(g[k]));
        }
        for (size_t k = 0; k < 2; ++k) {
          const double seen = form == nn::Peephole::output     ? sees(c, 0, k)
                              : form == nn::Peephole::previous ? sees(kC, 2, k)
                                                               : sees(c, 2, k);
          h.push_back(sigma(o[k] + seen) * (output_tanh ? std::tanh(c[k]) : c[k]));
        }
        const auto next = cell(row(kX), {row(kH), row(kC)});
        check(next.h, h);
        check(next.c, c);
      }
    }
  }
}

TEST_CASE("cells: the GRU with its update gate alone") {
  const DefaultDType f64(DType::f64);
  manual_seed(5);
  const nn::SimplifiedGRUCell cell({}, 3, 2);
  const Weights w(cell);
  const auto u = w.gate(kX, kC, 0, 2), candidate = w.gate(kX, kC, 1, 2);
  Vector c;
  for (size_t k = 0; k < 2; ++k) {
    c.push_back(sigma(u[k]) * std::tanh(candidate[k]) + (1 - sigma(u[k])) * kC[k]);
  }
  check(cell(row(kX), row(kC)), c);
}

TEST_CASE("cells: what Jordan's network feeds back is its output, or the target") {
  const DefaultDType f64(DType::f64);
  manual_seed(6);
  const nn::JordanCell cell({}, 3, 2, {}, {.size = 1, .activation = reel::sigmoid});
  const Weights w(cell);
  const auto next = [&](const Vector& x, double y) {
    Vector h = w.gate(x, {y}, 0, 2);
    for (double& a : h) a = std::tanh(a);
    return sigma(w.times("weight_hy", h, 0, 1)[0] + w.vector("bias_hy")[0]);
  };
  const Vector x2{-1, 0.3, 0.8};
  nn::Steps steps{.x = {row(kX), row(x2)}};
  auto free = nn::unroll(cell, steps, cell.initial(1));
  check(free.outputs[1], {next(x2, next(kX, 0))});
  CHECK(tests::distance(free.state, free.outputs[1]) == 0);
  steps = nn::taught_by(steps, Tensor::from(Vector{0.25, 0.75}, {2, 1, 1}));
  auto taught = nn::unroll(cell, steps, cell.initial(1));
  check(taught.outputs[0], {next(kX, 0)});
  check(taught.outputs[1], {next(x2, 0.25)});
  check(taught.state, {0.75});  // what the next chunk's first step shall see
  auto backward = nn::unroll(cell, steps, cell.initial(1), true);
  check(backward.outputs[0], {next(kX, 0.75)});
  steps.mask = {Tensor::from(std::vector<bool>{false}, {1, 1})};
  check(nn::unroll(cell, steps, cell.initial(1)).outputs[1], {next(x2, 0)});  // no target from padding
  CHECK(nn::taught_by(steps, Tensor::from(Vector{0.25, 0.75}, {1, 2, 1}), true).target[1].item() == 0.75);
  CHECK_THROWS_WITH_AS(nn::taught_by(steps, zeros({3, 1, 1})),
                       doctest::Contains("targets [3, 1, 1] for 2 steps"), Error);
  CHECK_THROWS_WITH_AS(nn::JordanCell({}, 3, 2, {}, {.size = -1}), doctest::Contains("size -1"), Error);
}

TEST_CASE("cells: leaky units, fixed and learned") {
  const DefaultDType f64(DType::f64);
  manual_seed(7);
  for (const bool learned : {false, true}) {
    const nn::Leaky<nn::RNNCell> cell({}, 3, 2, {}, nn::LeakOptions{.alpha = {0.3, 0.8}, .learned = learned});
    CHECK(cell.parameters().size() == (learned ? 5 : 4));
    CHECK(cell.state_dict().size() == 5);
    const Vector a = Weights(cell).gate(kX, kH, 0, 2);
    check(cell(row(kX), row(kH)), {0.3 * kH[0] + 0.7 * std::tanh(a[0]), 0.8 * kH[1] + 0.2 * std::tanh(a[1])});
  }
  using Leaky = nn::Leaky<nn::RNNCell>;
  CHECK_THROWS_WITH_AS(Leaky({}, 3, 2, {}, nn::LeakOptions{.alpha = {1, 2, 3}}),
                       doctest::Contains("3 values of alpha for 2 units"), Error);
  CHECK_THROWS_WITH_AS(Leaky({}, 3, 2, {}, nn::LeakOptions{.alpha = {1.5}}), doctest::Contains("alpha 1.5"),
                       Error);
  CHECK_THROWS_WITH_AS(Leaky({}, 3, 2, {}, nn::LeakOptions{.alpha = {1}, .learned = true}),
                       doctest::Contains("want 0 < alpha < 1"), Error);
}

TEST_CASE("cells: units on clocks move when they are due, and only then") {
  const DefaultDType f64(DType::f64);
  manual_seed(8);
  const nn::Clocked<nn::RNNCell> cell({}, 3, 4, {}, nn::ClockOptions{.periods = {1, 3}});
  const Tensor x = normal({8, 1, 3});
  const auto result = nn::unroll(cell, x);
  const Weights w(cell);
  Vector h(4);
  for (int64_t t = 0; t < 8; ++t) {
    const Vector before = h, a = w.gate(select(x, 0, t).to_vector<double>(), before, 0, 4);
    for (size_t k = 0; k < 4; ++k) h[k] = k < 2 || t % 3 == 0 ? std::tanh(a[k]) : before[k];
    check(result.outputs[static_cast<size_t>(t)], h);
  }
  using Clocked = nn::Clocked<nn::LSTMCell>;
  CHECK_THROWS_WITH_AS(Clocked({}, 3, 4, {}, nn::ClockOptions{.periods = {1, 2, 4}}),
                       doctest::Contains("3 periods for 4 units"), Error);
  CHECK_THROWS_WITH_AS(Clocked({}, 3, 4, {}, nn::ClockOptions{.periods = {0, 2}}),
                       doctest::Contains("a period of 0"), Error);
  CHECK_THROWS_WITH_AS(Clocked({}, 3, 4, {.proj_size = 2}, nn::ClockOptions{.periods = {1, 2}}),
                       doctest::Contains("want as many"), Error);
}

TEST_CASE("cells: skip connections through time reach as far back as they say") {
  const DefaultDType f64(DType::f64);
  manual_seed(9);
  for (const int64_t back : {1, 3}) {
    const nn::SkipThroughTime<nn::RNNCell> cell({}, 3, 2, {}, nn::SkipOptions{.steps = back});
    const Tensor x = normal({7, 1, 3});
    const auto result = nn::unroll(cell, x);
    const Weights w(cell);
    std::vector<Vector> h(static_cast<size_t>(back), Vector(2));
    for (int64_t t = 0; t < 7; ++t) {
      Vector in = select(x, 0, t).to_vector<double>();
      const Vector& skipped = h[h.size() - static_cast<size_t>(back)];
      in.insert(in.end(), skipped.begin(), skipped.end());
      Vector a = w.gate(in, h.back(), 0, 2);
      for (double& unit : a) unit = std::tanh(unit);
      h.push_back(a);
      check(result.outputs[static_cast<size_t>(t)], a);
    }
  }
  using Skip = nn::SkipThroughTime<nn::LSTMCell>;
  CHECK_THROWS_WITH_AS(Skip({}, 3, 4, {}, nn::SkipOptions{.steps = 0}), doctest::Contains("0 steps back"),
                       Error);
  CHECK_THROWS_WITH_AS(Skip({}, 3, 4, {.proj_size = 2}), doctest::Contains("shows 2 of 4 units"), Error);
}

TEST_CASE("cells: the plain recursive network over a tree") {
  const DefaultDType f64(DType::f64);
  manual_seed(10);
  const nn::Tree tree{{{}, {}, {0, 1}, {}, {2, 3}}};
  const auto tanh_of = [](Vector v) {
    for (double& a : v) a = std::tanh(a);
    return v;
  };
  const auto plus = [](Vector a, const Vector& b) {
    for (size_t k = 0; k < a.size(); ++k) a[k] += b[k];
    return a;
  };
  const auto joined = [](Vector a, const Vector& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const Vector e{0.3, -1.2};
  SUBCASE("tanh(W [l, r] + b), leaves are words") {
    const nn::RecursiveCell cell({}, 2, 2);
    const Weights w(cell);
    const auto node = [&](const Vector& l, const Vector& r) {
      return tanh_of(plus(w.times("weight_hh", joined(l, r), 0, 2), w.vector("bias")));
    };
    const Tensors x{row(kH), row(kC), {}, row(e), {}};
    const auto states = nn::walk(cell, tree, x);
    check(states[3], e);
    check(states[4], node(node(kH, kC), e));
  }
  SUBCASE("any number of children, and a projected x at each node") {
    const nn::RecursiveCell cell({}, 3, 2, {.children = 0, .project = true});
    const Weights w(cell);
    const auto node = [&](const Vector& x, const Vector& h) {
      return tanh_of(
          plus(plus(w.times("weight_ih", x, 0, 2), w.times("weight_hh", h, 0, 2)), w.vector("bias")));
    };
    const Vector zero(2);
    const Tensors x{row(kX), row(kX), row(kX), row(kX), row(kX)};
    const Vector leaf = node(kX, zero), inner = node(kX, plus(leaf, leaf));
    check(nn::walk(cell, tree, x)[4], node(kX, plus(inner, leaf)));
    const nn::Tree three{{{}, {}, {}, {0, 1, 2}}};
    check(nn::walk(cell, three, std::span(x).subspan(1))[3], node(kX, plus(leaf, plus(leaf, leaf))));
  }
  SUBCASE("a child that is missing counts as zeros") {
    const nn::RecursiveCell cell({}, 2, 2);
    const Weights w(cell);
    const Tensors x{row(kH), {}};
    check(nn::walk(cell, {{{}, {0}}}, x)[1],
          tanh_of(plus(w.times("weight_hh", joined(kH, Vector(2)), 0, 2), w.vector("bias"))));
  }
  SUBCASE("what it refuses") {
    const nn::RecursiveCell cell({}, 2, 2);
    const Tensors three{row(kH), row(kH), row(kH), {}}, inner{row(kH), row(kH)}, nothing{Tensor()};
    CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}, {}, {}, {0, 1, 2}}}, three),
                         doctest::Contains("3 children: want at most 2"), Error);
    CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}, {0}}}, inner), doctest::Contains("want project"), Error);
    CHECK_THROWS_WITH_AS(nn::walk(cell, {{{}}}, nothing), doctest::Contains("neither x nor children"), Error);
    CHECK_THROWS_WITH_AS(nn::RecursiveCell({}, 3, 2), doctest::Contains("want as many, or project"), Error);
    CHECK_THROWS_WITH_AS(nn::RecursiveCell({}, 2, 2, {.children = -1}), doctest::Contains("children -1"),
                         Error);
  }
}
