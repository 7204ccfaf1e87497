// Products of one value with several weights become one: a gate each, as textbooks write them.
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

// An LSTM with four matrices for x and four for h.
Cell four_gates(Numbers& n, int64_t in, int64_t hidden) {
  Tensors w, u, b;
  for (int g = 0; g < 4; ++g) {
    w.push_back(n.parameter({hidden, in}));
    u.push_back(n.parameter({hidden, hidden}));
    b.push_back(n.parameter({hidden}));
  }
  return [=](const Tensors& in) -> Tensors {
    const auto gate = [&](size_t g) {
      return matmul(in[0], transpose(w[g], 0, 1)) + matmul(in[1], transpose(u[g], 0, 1)) + b[g];
    };
    const Tensor c = sigmoid(gate(1)) * in[2] + sigmoid(gate(0)) * tanh(gate(2));
    return {sigmoid(gate(3)) * tanh(c), c};
  };
}

// The same over time without a template.
Tensors unrolled(const Cell& cell, Tensors state, const std::vector<Tensors>& inputs) {
  for (const Tensors& x : inputs) {
    Tensors in = x;
    in.insert(in.end(), state.begin(), state.end());
    state = cell(in);
  }
  Tensors values{mean(square(state[0] - 0.1))};
  values.insert(values.end(), state.begin(), state.end());
  return values;
}

TEST_CASE("stack: an LSTM of eight matrices, a template or not") {
  for (const int64_t batch : {1, 3, 70}) {
    const auto program = [=](bool as_template) {
      return [=](Numbers& n) {
        const Cell cell = four_gates(n, 5, 4);
        const Tensors state{n.parameter({batch, 4}), n.parameter({batch, 4})};
        const auto x = steps(n, 9, {batch, 5});
        return as_template ? ending(chain(cell, state, x)) : unrolled(cell, state, x);
      };
    };
    same(program(true));
    same(program(false));
  }
}

TEST_CASE("stack: its products are one a step") {
  const auto products = [](const char* passes) {
    set_plan_passes(passes);
    Numbers n;
    const DefaultDType numbers(DType::f64);
    const Tensors values =
        unrolled(four_gates(n, 5, 4), {n.constant({3, 4}), n.constant({3, 4})}, steps(n, 9, {3, 5}));
    const size_t found = count(plan_text(), "matmul");
    set_plan_passes("");
    return found;
  };
  CHECK(products("-roll") == 10);  // all x before, then each h
  CHECK(products("-batch") == 72);
}

TEST_CASE("stack: other widths, weights as they are, a weight twice, a frozen one, one under NoGrad") {
  for (const bool as_template : {true, false}) {
    same(
        [=](Numbers& n) {
          const Tensor a = n.parameter({4, 2}), b = n.parameter({4, 3}), c = n.parameter({4, 4}),
                       d = n.parameter({4, 4}), frozen = n.constant({4, 2}), both = n.parameter({4, 8});
          const Cell cell = [=](const Tensors& in) -> Tensors {
            const Tensor h = in[1], bent = h * h;
            const Tensor same = matmul(bent, c) * matmul(bent, d);  // as h reads them transposed
            Tensor apart;
            {
              const NoGrad none;
              apart = matmul(h, d);
            }
            const Tensor wide = concat({matmul(h, a), matmul(h, frozen)}, 1);
            const Tensor total = sum(matmul(h, b), 1, true);
            return {tanh(matmul(h, c) + matmul(h, c) * 0.5 + wide + in[0] + total + apart * 0.1 + same +
                         matmul(h, slice(both, 1, 0, 4)) * matmul(h, slice(both, 1, 4, 8)) +
                         matmul(h, transpose(c, 0, 1)) + matmul(h, transpose(d, 0, 1)))};
          };
          const Tensors state{n.parameter({3, 4})};
          const auto x = steps(n, 10, {3, 4});
          return as_template ? ending(chain(cell, state, x)) : unrolled(cell, state, x);
        },
        as_template);
  }
}

TEST_CASE("stack: rows of several tables at the same ids") {
  same([](Numbers& n) {
    const Tensor a = n.parameter({6, 3}), b = n.parameter({6, 3}), other = n.parameter({7, 3}),
                 w = n.parameter({3, 3});
    Tensor h = n.parameter({2, 3});
    for (int t = 0; t < 9; ++t) {
      const Tensor ids = n.ids({2}, 6);
      h = tanh(embedding(a, ids) + embedding(b, ids) * matmul(h, w) + embedding(other, ids));
    }
    return Tensors{mean(square(h)), h};
  });
}

}  // namespace
}  // namespace reel
