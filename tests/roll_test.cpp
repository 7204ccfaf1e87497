// Recurrences written out op by op: the planner finds the cell, wherever its equations let it.
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

// Equal to eager mode; and whether a cell is found, with nothing that waits for a gradient.
void found(const Program& program, bool cell = true) {
  {
    const NoGrad none;
    CHECK(has_recurrence(program) == cell);
  }
  check_same(program, {"", "-prune", "-fuse", "-place", "-recur", "none,batch,roll,recur"}, {1, 2});
}

Tensors inputs(Numbers& n, int time, const Shape& shape) {
  Tensors x;
  for (int t = 0; t < time; ++t) x.push_back(n.parameter(shape, 1));
  return x;
}

TEST_CASE("roll: cells of one product, of two that feed each other, of two that read the same") {
  for (const int64_t batch : {1, 3, 4}) {
    found([=](Numbers& n) {  // the first state is a constant; states are as wide as there are rows, once
      const Tensor w = n.parameter({4, 4}), b = n.parameter({4});
      Tensor h = zeros({batch, 4});
      for (const Tensor& x : inputs(n, 7, {batch, 4})) h = tanh(x + matmul(h, w) + b);
      return Tensors{mean(square(h - 0.1)), h};
    });
    found([=](Numbers& n) {  // a GRU whose reset gate acts before the product
      const Tensor u = n.parameter({4, 8}), v = n.parameter({4, 4}), w = n.parameter({3, 12});
      Tensor h = n.parameter({batch, 4});
      for (const Tensor& x : inputs(n, 7, {batch, 3})) {
        const Tensor a = matmul(x, w);
        const auto [r, z] = split<2>(sigmoid(slice(a, 1, 0, 8) + matmul(h, u)));
        h = h + z * (tanh(slice(a, 1, 8, 12) + matmul(r * h, v)) - h);
      }
      return Tensors{mean(square(h - 0.1)), h};
    });
    found([=](Numbers& n) {  // too many rows or weights of two kinds: products that are not stacked
      const Tensor f = n.parameter({4, 4}), g = n.parameter({4, 4});
      Tensor h = n.parameter({batch, 4}), c = h;
      for (const Tensor& x : inputs(n, 7, {batch, 4})) {
        c = c * sigmoid(matmul(h, transpose(f, 0, 1))) + x;
        h = tanh(matmul(h, g) + c);
      }
      return Tensors{mean(square(h - 0.1)), h, c};
    });
  }
}

TEST_CASE("roll: joined columns, peepholes, projections, masks that are the same at every step") {
  found([](Numbers& n) {
    const Tensor w = n.parameter({7, 8}), p = n.parameter({4}), r = n.parameter({4, 2});
    Tensor h = n.parameter({3, 2}), c = n.parameter({3, 4});
    const Tensor u = n.parameter({5, 16}), mask = n.constant({3, 2});
    for (const Tensor& x : inputs(n, 6, {3, 3})) {
      const auto [i, f, g, o] = split<4>(matmul(concat({x, h * mask}, 1), u));
      c = sigmoid(f + p * c) * c + sigmoid(i + p * c) * tanh(g);
      h = matmul(sigmoid(o) * tanh(c), r);
    }
    return Tensors{mean(square(h - 0.1)) + sum(square(w)), h, c};
  });
}

TEST_CASE("roll: layers, whichever product of a step is written first; both directions") {
  for (const bool own_first : {true, false}) {
    found([=](Numbers& n) {
      const Tensor u = n.parameter({3, 3}), v = n.parameter({3, 3}), w = n.parameter({3, 3});
      Tensor h = n.parameter({2, 3}), g = n.parameter({2, 3});
      for (const Tensor& x : inputs(n, 6, {2, 3})) {
        Tensor own;
        if (own_first) own = matmul(g, w);
        h = tanh(x + matmul(h, u));
        g = tanh(own_first ? own + matmul(h, v) : matmul(h, v) + matmul(g, w)) + h;
      }
      return Tensors{mean(square(g)), g, h};
    });
  }
  found([](Numbers& n) {
    const Tensor u = n.parameter({3, 3}), w = n.parameter({3, 3}), v = n.parameter({6, 2});
    const Tensors x = inputs(n, 6, {2, 3});
    Tensors there, back(x.size());
    Tensor h = zeros({2, 3}), g = h, loss = zeros({});
    for (const Tensor& one : x) there.push_back(h = tanh(one + matmul(h, u)));
    for (size_t t = x.size(); t-- > 0;) back[t] = g = tanh(x[t] + matmul(g, w));
    for (size_t t = 0; t < x.size(); ++t)
      loss =
          loss + mean(square(matmul(concat({there[t], back[t]}, 1), v) + slice(there[t] * back[t], 1, 0, 2)));
    return Tensors{loss, h, g};
  });
}

TEST_CASE("roll: trees with inner nodes over leaves and each other") {
  found([](Numbers& n) {
    const Tensor w = n.parameter({6, 9}), u = n.parameter({3, 6});
    Tensors values{zeros({})};
    for (int tree = 0; tree < 4; ++tree) {
      std::vector<Tensors> open;
      for (int k = 0; k < 3 + 2 * tree; ++k) {
        const auto [i, c] = split<2>(matmul(n.parameter({1, 3}), u));
        open.push_back({sigmoid(i) * tanh(c), c});
      }
      while (open.size() > 1) {
        const size_t at = n.random() % (open.size() - 1);
        const Tensors a = open[at], b = open[at + 1];
        const auto [f, g, o] = split<3>(matmul(concat({a[0], b[0]}, 1), w));
        const Tensor c = sigmoid(f) * a[1] + sigmoid(g) * b[1];
        open[at] = {sigmoid(o) * tanh(c), c};
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      }
      values.push_back(open[0][0]);
      values[0] = values[0] + mean(square(open[0][0]));
    }
    return values;
  });
}

// What stands in a template's way: the calls stay as they were written.
TEST_CASE("roll: steps that are not alike, a state that goes through what is no cell, too few of them") {
  found(
      [](Numbers& n) {  // every other step is another
        const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
        Tensor h = n.parameter({2, 3});
        int t = 0;
        for (const Tensor& x : inputs(n, 9, {2, 3})) {
          h = t % 2 == 0 ? tanh(matmul(h, w) + x) : sigmoid(matmul(h, w) + x);
          if (t++ == 4) h = matmul(h, v);
        }
        return Tensors{mean(square(h)), h};
      },
      false);
  found(
      [](Numbers& n) {  // attention between a state and the next
        const Tensor w = n.parameter({3, 3}), u = n.parameter({3, 3}), memory = n.parameter({2, 5, 3});
        Tensor h = n.parameter({2, 3});
        for (const Tensor& x : inputs(n, 6, {2, 3})) {
          const Tensor s = tanh(matmul(h, w) + x);
          const Tensor weights = softmax(matmul(memory, unsqueeze(s, 2)), 1);
          h = tanh(matmul(sum(weights * memory, 1), u) + s);
        }
        return Tensors{mean(square(h)), h};
      },
      false);
  found(
      [](Numbers& n) {  // the same but for the columns that it reads
        const Tensor w = n.parameter({3, 8});
        Tensor h = n.parameter({2, 3});
        for (int t = 0; t < 6; ++t) h = tanh(slice(matmul(h, w), 1, t, t + 3));
        return Tensors{mean(square(h)), h};
      },
      false);
  found([](Numbers& n) {  // one row that meets two
    const Tensor w = n.parameter({3, 3}), two = n.constant({2, 3});
    Tensor h = n.parameter({1, 3}), loss = zeros({});
    for (const Tensor& x : inputs(n, 6, {1, 3})) {
      h = tanh(matmul(h, w) + x);
      loss = loss + mean(square(h * two));
    }
    return Tensors{loss, h};
  });
  found(
      [](Numbers& n) {  // rows that meet each other
        const Tensor w = n.parameter({3, 3});
        Tensor h = n.parameter({2, 3});
        for (const Tensor& x : inputs(n, 6, {2, 3})) h = tanh(matmul(h, w) + x) - mean(h, 0, true);
        return Tensors{mean(square(h)), h};
      },
      false);
  found(
      [](Numbers& n) {
        const Tensor w = n.parameter({3, 3});
        Tensor h = n.parameter({2, 3});
        for (const Tensor& x : inputs(n, 3, {2, 3})) h = tanh(matmul(h, w) + x);
        return Tensors{mean(square(h)), h};
      },
      false);
}

TEST_CASE(
    "roll: frozen weights, steps under NoGrad, states that are looked at or read by several, penalties") {
  for (const int variant : {0, 1, 2, 3, 4}) {
    const Program program = [=](Numbers& n) {
      const Tensor w = variant == 0 ? n.constant({3, 3}) : n.parameter({3, 3}), v = n.parameter({3, 2});
      const Tensor start = n.parameter({2, 3});
      Tensor h = start, loss = zeros({});
      int t = 0;
      for (const Tensor& x : inputs(n, 9, {2, 3})) {
        std::optional<NoGrad> none;
        if (variant == 1 && t < 4) none.emplace();
        h = tanh(matmul(h, w) + x);
        if (variant == 2 || variant == 4) loss = loss + mean(square(matmul(h, v)));
        if (variant == 3 && t == 4) eval({h});
        ++t;
      }
      loss = loss + mean(square(h));
      if (variant == 4) loss = loss + sum(square(grad(loss, start)));
      return Tensors{loss, h};
    };
    CAPTURE(variant);
    if (variant < 4) {
      found(program);
    } else {
      check_same(program, {"", "-fuse"}, {1, 2});
    }
  }
}

TEST_CASE("roll: beside a template, whose outputs the steps read") {
  for (const int variant : {0, 1, 2}) {
    check_same(
        [=](Numbers& n) {
          const Tensor w = n.parameter({4, 4}), v = n.parameter({4, 8}), u = n.parameter({4, 4});
          const Once both = once([=](const Tensors& x) {
            const auto [p, q] = split<2>(matmul(x[0], v));
            return Tensors{tanh(p), sigmoid(q)};
          });
          Tensor h = n.parameter({1, 4}), g = h;
          for (const Tensor& x : inputs(n, 12, {1, 4})) {
            const Tensors s = both({variant == 0 ? x : variant == 1 ? h : g});
            h = tanh(matmul(h, w) * s[0] + s[1]);
            if (variant == 2) g = tanh(h + matmul(s[1], u));
          }
          return Tensors{mean(square(h))};
        },
        {"", "-fuse", "-recur"}, {1, 2});
  }
}

TEST_CASE("roll: numbers in a cell may change from run to run") {
  const Tensor w = Tensor::from(std::vector<double>(9, 0.2), {3, 3});
  const auto last = [&](double slope) {
    Tensor h = to(ones({2, 3}), DType::f64);
    for (int t = 0; t < 6; ++t) h = leaky_relu(matmul(h, w) - 0.5, slope);
    return h.to_vector<double>();
  };
  last(0.3);  // its plan is found again
  const uint64_t plans = tape_stats().plans_built;
  const std::vector<double> planned = last(0.7);
  CHECK(tape_stats().plans_built == plans);
  const Eager eager;
  const std::vector<double> want = last(0.7);
  for (size_t k = 0; k < want.size(); ++k) CHECK(planned[k] == doctest::Approx(want[k]).epsilon(1e-12));
}

}  // namespace
}  // namespace reel
