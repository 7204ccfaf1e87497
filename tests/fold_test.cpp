// Cells written op by op whose calls the tape folds into one, while they are recorded: what is seen from
// outside stays as it was.
#include "tests/motif_limits.h"
#include "tests/random_sequence.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

// How many nodes the second run of a program has left of those that it recorded, before anything is computed.
struct Left {
  uint64_t recorded, nodes;
};
Left left_of(const Program& program) {
  const DefaultDType numbers(DType::f64);
  Left left{};
  for (int run = 0; run < 2; ++run) {
    Numbers n;
    const TapeStats before = tape_stats();
    const Tensors values = program(n);
    left = {tape_stats().recorded - before.recorded, tape_stats().live_nodes - before.live_nodes};
    values[0].backward();
  }
  return left;
}

// Equal to eager mode, again and again, and whether its calls were folded.
void folds(const Program& program, bool folded = true) {
  const KeepMotifLimits at_once({.patience = 0});
  const Left left = left_of(program);
  INFO(left.nodes << " nodes of " << left.recorded << " calls");
  CHECK((left.nodes < left.recorded / 3) == folded);
  check_same(program, {"", "-fuse", "-place", "-roll", "none,batch,roll,recur"}, {1, 2});
}

constexpr int kSteps = 60;

// An LSTM with a matrix for each gate; its gates are kept where `gates` is there.
Program lstm_by_gates(bool hold) {
  return [=](Numbers& n) {
    Tensors w, u, b, held;
    for (int k = 0; k < 4; ++k) {
      w.push_back(n.parameter({3, 4}));
      u.push_back(n.parameter({4, 4}));
      b.push_back(n.parameter({4}));
    }
    Tensor h = zeros({2, 4}), c = h;
    for (int t = 0; t < kSteps; ++t) {
      const Tensor x = n.constant({2, 3});
      const auto gate = [&](size_t k) { return matmul(x, w[k]) + matmul(h, u[k]) + b[k]; };
      const Tensor i = sigmoid(gate(0)), f = sigmoid(gate(1)), g = tanh(gate(2)), o = sigmoid(gate(3));
      c = f * c + i * g;
      h = o * tanh(c);
      if (hold) held.push_back(f);
    }
    Tensors values{mean(square(h - 0.1)) + sum(c * 0.01), h, c};
    values.insert(values.end(), held.begin(), held.end());
    return values;
  };
}

TEST_CASE("fold: gates with a matrix each, also where one of them is kept") {
  folds(lstm_by_gates(false));
  folds(lstm_by_gates(true));
}

TEST_CASE("fold: states that are read step by step, by gradients too, and looked at in between") {
  const auto program = [](bool penalty) -> Program {
    return [=](Numbers& n) {
      const Tensor u = n.parameter({4, 4}), v = n.parameter({4, 3}), start = n.parameter({2, 4});
      Tensor h = start, loss = zeros({}), middle;
      Tensors states;
      for (int t = 0; t < kSteps; ++t) {
        const Tensor a = matmul(h, u) + n.constant({2, 4});
        h = tanh(a) * 0.9 + h * 0.1 - sigmoid(a) * 0.05;
        if (t == 30) middle = h;
        if (t % 7 == 0) loss = loss + mean(square(matmul(h, v)));
        states.push_back(h);
      }
      if (penalty) loss = loss + sum(square(grad(loss + sum(h), middle))) + sum(square(grad(sum(h), start)));
      states.insert(states.begin(), loss);
      return states;
    };
  };
  folds(program(false));
  check_same(program(true), {"", "-fuse", "-roll"}, {1, 2});
  check_same(
      [](Numbers& n) {
        const Tensor u = n.parameter({4, 4});
        Tensor h = n.parameter({1, 4}), g = h;
        for (int t = 0; t < 2 * kSteps; ++t) {
          g = sigmoid(matmul(g * h, u)) - g;
          h = tanh(matmul(h, u)) * g + h * 0.5;
          if (t == 50) (void)h.to_vector<double>();
          if (t == 80) g = detach(g);
        }
        return Tensors{mean(square(h)), h, g};
      },
      {"", "-fuse"}, {1, 2});
}

// All kinds of programs have the same calls, and are not the same motif.
TEST_CASE("fold: what looks like a motif and reads its own values, weights that it made, or other columns") {
  enum class Kind { plain, own_value, own_weight, other_columns };
  const auto program = [](Kind kind) -> Program {
    return [=](Numbers& n) {
      const Tensor u = n.parameter({4, 4}), v = n.parameter({4, 8}), x = n.constant({4, 4});
      Tensor h = n.parameter({4, 4});
      for (int t = 0; t < kSteps; ++t) {
        const Tensor a = matmul(h, kind == Kind::own_weight && t > 1 ? h : u), b = matmul(a, v);
        const int64_t from = kind == Kind::other_columns ? 4 : 0;
        const Tensor c = slice(b, 1, from, from + 4) * slice(b, 1, 2, 6);
        h = tanh(sigmoid(c) * (kind == Kind::own_value ? a : x) - h * 0.5);
      }
      return Tensors{mean(square(h)), h};
    };
  };
  folds(program(Kind::plain));
  folds(program(Kind::own_value));
  folds(program(Kind::other_columns));
  folds(program(Kind::plain));
  check_same(program(Kind::own_weight), {"", "-fuse", "-roll"}, {1, 2});
}

TEST_CASE("fold: a tree's leaves and its nodes") {
  folds([](Numbers& n) {
    const Tensor u = n.parameter({3, 12}), w = n.parameter({8, 20}), b = n.parameter({20});
    const auto state = [](const Tensor& c, const Tensor& o) { return Tensors{sigmoid(o) * tanh(c), c}; };
    const auto leaf = [&](const Tensor& x) {
      const auto [i, o, g] = split<3>(matmul(x, u) + slice(b, 0, 0, 12));
      return state(sigmoid(i) * tanh(g), o);
    };
    const auto inner = [&](const Tensors& l, const Tensors& r) {
      const auto [i, o, g, f, e] = split<5>(matmul(concat({l[0], r[0]}, 1), w) + b);
      return state(sigmoid(i) * tanh(g) + sigmoid(f) * l[1] + sigmoid(e) * r[1], o);
    };
    Tensors roots;
    for (int tree = 0; tree < 4; ++tree) {
      std::vector<Tensors> open;
      for (int k = 0; k < 15; ++k) {
        open.push_back(leaf(n.constant({1, 3})));
        while (open.size() > 1 && n.random() % 2 == 0) {
          const Tensors right = open.back();
          open.pop_back();
          open.back() = inner(open.back(), right);
        }
      }
      for (const Tensors& one : open) roots.push_back(one[0]);
    }
    return Tensors{mean(square(concat(roots, 0)))};
  });
}

TEST_CASE("fold: steps that draw, look, differ in a number, or go where no row stays by itself") {
  manual_seed(1);
  const auto steps = [](const std::function<Tensor(const Tensor&, const Tensor&, int)>& step) -> Program {
    return [=](Numbers& n) {
      manual_seed(7);
      const Tensor u = n.parameter({4, 4});
      Tensor h = n.parameter({2, 4});
      for (int t = 0; t < kSteps; ++t) h = step(h, u, t);
      return Tensors{mean(square(h)), h};
    };
  };
  folds(steps([](const Tensor& h, const Tensor& u, int) { return tanh(dropout(matmul(h, u) + h, 0.2)); }),
        false);
  folds(steps([](const Tensor& h, const Tensor& u, int t) {
          return tanh(sigmoid(matmul(h, u)) * (1 + 0.01 * t) - h);
        }),
        false);
  folds(steps([](const Tensor& h, const Tensor& u, int) {
          return tanh(sigmoid(matmul(h, u)) - mean(h, 0, true));
        }),
        false);
}

TEST_CASE("fold: random programs, with motifs of any size") {
  const KeepMotifLimits small({.steps = 2, .times = 2, .pending = 6, .often = 5, .patience = 0});
  for (uint64_t seed = 0; seed < 60; ++seed) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      Rows want;
      {
        const Eager eager;
        want = RandomSequence(seed, dtype).run();
      }
      for (int again = 0; again < 2; ++again) {
        const double d = distance(RandomSequence(seed, dtype).run(), want);
        CHECK_MESSAGE(d <= (dtype == DType::f64 ? 1e-9 : 3e-4), "seed " << seed << ", "
                                                                        << std::string(name_of(dtype))
                                                                        << ": relative difference " << d);
      }
    }
  }
}

TEST_CASE("fold: whatever dies, dies; whoever fails leaves the others as they were") {
  const uint64_t before = tape_stats().live_nodes;
  {
    const Tensor w = Tensor::from(std::vector<float>(16, 0.1F), {4, 4}).requires_grad_();
    const Tensor table = ones({3, 4});
    const auto run = [&](bool fail) {
      Tensor h = ones({2, 4}), bad;
      for (int t = 0; t < kSteps; ++t) {
        const Tensor a = matmul(h, w);
        h = tanh(a) + sigmoid(a) * h - a * 0.1;
        if (fail && t == 20) bad = index_select(table, 0, Tensor::from(std::vector<int64_t>{0, 7}, {2})) * h;
      }
      return std::pair{h, bad};
    };
    const std::vector<double> want = run(false).first.to_vector<double>();
    CHECK(run(false).first.to_vector<double>() == want);
    const auto [h, bad] = run(true);
    CHECK_THROWS_WITH_AS((void)bad.to_vector<double>(), doctest::Contains("index"), Error);
    CHECK(h.to_vector<double>() == want);
    CHECK_THROWS_AS((void)bad.to_vector<double>(), Error);
    (void)run(false);  // and nobody asks
  }
  CHECK(tape_stats().live_nodes == before);
}

}  // namespace
}  // namespace reel
