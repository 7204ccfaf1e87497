// Recurrences write where their inputs lie, but only where nobody reads those afterwards.
#include "core/plan/plan.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

Cell tanh_cell(const Tensor& u) {
  return [u](const Tensors& in) -> Tensors { return {tanh(in[0] + matmul(in[1], u))}; };
}

// All steps projected at once, and each step's rows of that.
struct Projected {
  Tensor all;
  std::vector<Tensors> steps;

  Projected(Numbers& n, int64_t time, int64_t batch, int64_t width, bool pointwise = false)
      : all(matmul(n.parameter({time * batch, 3}, 1), n.parameter({3, width}))) {
    if (pointwise) all = sigmoid(all) * all;
    for (int64_t t = 0; t < time; ++t) steps.push_back({slice(all, 0, t * batch, (t + 1) * batch)});
  }
};

Tensors lstm_over(Numbers& n, const std::vector<Tensors>& steps, int64_t batch) {
  return ending(chain(lstm(n.parameter({4, 16})), {n.parameter({batch, 4}), n.parameter({batch, 4})}, steps));
}

// Where the first recurrence of the plan of what is pending reads its first rows and writes.
struct Memory {
  plan::PlannedValue in, out;
  explicit Memory(const plan::Plan& plan) {
    for (const plan::Step& step : plan.steps) {
      if (step.node < 0 || !plan.nodes[static_cast<size_t>(step.node)].op->recurrence) continue;
      const auto value = [&](uint32_t k) {
        return plan.values[static_cast<size_t>(plan.operands[step.first + k])];
      };
      in = value(0);
      out = value(step.inputs);
      return;
    }
    FAIL("there is no recurrence");
  }
  bool one() const { return in.root == out.root && in.offset == out.offset; }
};

TEST_CASE("overlay: states lie where the projections were, unless those are read again") {
  for (const bool again : {false, true}) {
    Numbers n{.dtype = DType::f32};
    const NoGrad none;
    const Tensor u = n.parameter({4, 4}), h = n.parameter({2, 4});
    const Tensor total = [&] {  // what nobody holds has no value after the step
      const Projected x(n, 5, 2, 4);
      const Tensors values = chain(tanh_cell(u), {h}, x.steps);
      return again ? sum(values[1]) + sum(x.all) : sum(values[1]);
    }();
    CHECK(Memory(*plan::pending_plan(Tape::current())).one() == !again);
  }
}

TEST_CASE("overlay: gates where the projections were, their gradients where the gates were") {
  for (const bool pointwise : {false, true}) {
    same([=](Numbers& n) {
      const Projected x(n, 6, 2, 16, pointwise);
      return lstm_over(n, x.steps, 2);
    });
  }
}

TEST_CASE("overlay: projections that are read before, after, by two recurrences, or stay") {
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 16);
    Tensors values = lstm_over(n, x.steps, 2);
    values[0] = values[0] + mean(square(x.all));
    return values;
  });
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 16);
    const Tensor before = mean(square(slice(x.all, 0, 2, 4)));
    Tensors values = lstm_over(n, x.steps, 2);
    values[0] = values[0] * before;
    return values;
  });
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 16);
    Tensors values = lstm_over(n, x.steps, 2);
    std::vector<Tensors> back(x.steps.rbegin(), x.steps.rend());
    const Tensors other = lstm_over(n, back, 2);
    values[0] = values[0] + other[0];
    return values;
  });
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 16);
    Tensors values = lstm_over(n, x.steps, 2);
    values.push_back(x.all);
    return values;
  });
  same([](Numbers& n) {  // the states' memory holds projections of the next layer
    const Projected x(n, 6, 2, 4);
    Tensors values = chain(tanh_cell(n.parameter({4, 4})), {n.parameter({2, 4})}, x.steps);
    return ending(values);
  });
}

TEST_CASE("overlay: gates that the cell hands out too") {
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 16);
    const Tensor u = n.parameter({4, 16});
    return ending(chain(
        [u](const Tensors& in) -> Tensors {
          Tensors out = lstm(u)(in);
          const Tensor all = in[0] + matmul(in[1], u);
          out.push_back(sigmoid(slice(all, 1, 4, 8)));
          return out;
        },
        {n.parameter({2, 4}), n.parameter({2, 4})}, x.steps));
  });
}

TEST_CASE("overlay: inputs that are put together of values that others read") {
  same([](Numbers& n) {
    std::vector<Tensors> steps;
    Tensor others = zeros({});
    for (int t = 0; t < 4; ++t) {  // each by a product of its own
      steps.push_back({matmul(n.parameter({2, 3 + t}), n.parameter({3 + t, 4}))});
      if (t % 2) others = others + mean(square(steps.back()[0]));
    }
    Tensors values = ending(chain(tanh_cell(n.parameter({4, 4})), {n.parameter({2, 4})}, steps));
    values[0] = values[0] + others;
    return values;
  });
}

TEST_CASE("overlay: what is kept and read by a product of the gradient too") {
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 12);
    const Tensor u = n.parameter({4, 8}), v = n.parameter({4, 4});
    return ending(chain(
        [u, v](const Tensors& in) -> Tensors {
          const Tensor two = sigmoid(slice(in[0], 1, 0, 8) + matmul(in[1], u));
          const Tensor z = slice(two, 1, 0, 4), r = slice(two, 1, 4, 8);
          const Tensor candidate = tanh(slice(in[0], 1, 8, 12) + matmul(r * in[1], v));
          return {(1.0 - z) * candidate + z * in[1]};
        },
        {n.parameter({2, 4})}, x.steps));
  });
}

TEST_CASE("overlay: columns that are read shifted against those that are written") {
  for (const int64_t shift : {0, 1, 2}) {
    same([=](Numbers& n) {
      const Projected x(n, 6, 3, 4);
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor a = slice(in[0], 1, shift, shift + 2), b = slice(in[0], 1, 2 - shift, 4 - shift);
            return {concat({tanh(a * 0.5 + slice(in[1], 1, 0, 2)), sigmoid(b - slice(in[1], 1, 2, 4))}, 1)};
          },
          {n.parameter({3, 4})}, x.steps));
    });
  }
}

TEST_CASE("overlay: columns of an input in another order than the gates") {
  same([](Numbers& n) {
    const Projected x(n, 6, 2, 12);
    const Tensor u = n.parameter({4, 12}), v = n.parameter({4, 4});
    return ending(chain(
        [u, v](const Tensors& in) -> Tensors {
          const Tensor all = in[0] + matmul(in[1], u);
          const auto part = [&](int64_t k) { return slice(all, 1, 4 * k, 4 * k + 4); };
          const Tensor z = sigmoid(part(2)), r = sigmoid(part(0));
          const Tensor candidate = tanh(part(1) + r * matmul(in[1], v));
          return {(1.0 - z) * candidate + z * in[1]};
        },
        {n.parameter({2, 4})}, x.steps));
  });
}

TEST_CASE("overlay: steps of training with states carried along") {
  const auto train = [] {
    Numbers n{.dtype = DType::f32};
    const Tensor u = n.parameter({4, 16}), w = n.parameter({3, 16});
    Tensor h = zeros({2, 4}), c = zeros({2, 4});
    std::vector<double> losses;
    for (int step = 0; step < 4; ++step) {
      const Tensor all = matmul(n.constant({10, 3}), w);
      std::vector<Tensors> steps;
      for (int64_t t = 0; t < 5; ++t) steps.push_back({slice(all, 0, 2 * t, 2 * t + 2)});
      const Tensors values = chain(lstm(u), {h, c}, steps);
      const Tensor loss = mean(square(values[1] - 0.3)) + mean(square(values[2]));
      loss.backward();
      losses.push_back(loss.item());
      const NoGrad none;
      for (Tensor p : {u, w}) {
        p.assign(detach(p) - 0.5 * p.grad());
        p.zero_grad();
      }
      h = detach(values[1]);
      c = detach(values[2]);
    }
    return losses;
  };
  const std::vector<double> want = [&] {
    const Eager eager;
    return train();
  }();
  const std::vector<double> got = train();
  for (size_t k = 0; k < want.size(); ++k) CHECK(got[k] == doctest::Approx(want[k]).epsilon(1e-5));
}

}  // namespace
}  // namespace reel
