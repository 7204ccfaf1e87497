// Recurrences whose states come from rows that others made.
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

TEST_CASE("recurrence: a tree's leaves are one source, of which each side reads some") {
  // extra: 0 each leaf is read once; 1 some twice; 2 most are not read at all
  const auto program = [](int extra) {
    return [extra](Numbers& n) {
      const Tensor w = n.parameter({6, 3}), u = n.parameter({4, 3});
      const Cell node = as_template([=](const Tensors& in) -> Tensors {
        const Tensor h = tanh(matmul(concat({in[0], in[2]}, 1), w));
        return {h, in[1] * sigmoid(h) + in[3]};
      });
      const auto leaf = [&] { return tanh(matmul(n.parameter({1, 4}), u)); };
      Tensors loose, roots;
      for (int tree = 0; tree < 5; ++tree) {
        std::vector<Tensor> h, c;
        for (int k = 0; k < 2 + tree; ++k) {
          h.push_back(leaf());
          c.push_back(extra == 1 && k % 2 == 0 ? h[0] : leaf());
          for (int other = 0; extra == 2 && other < 5; ++other) loose.push_back(leaf());
        }
        while (h.size() > 1) {
          const size_t at = n.random() % (h.size() - 1);
          const Tensors out = node({h[at], c[at], h[at + 1], c[at + 1]});
          h[at] = out[0];
          c[at] = out[1];
          h.erase(h.begin() + static_cast<std::ptrdiff_t>(at) + 1);
          c.erase(c.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        }
        roots.push_back(h[0] * c[0]);
      }
      Tensor loss = mean(square(concat(roots, 0)));
      for (const Tensor& x : loose) loss = loss + mean(x);
      return ending({loss});
    };
  };
  const DefaultDType numbers(DType::f64);
  for (const int extra : {0, 1, 2}) {
    same(program(extra));
    Numbers n;
    const Tensors values = program(extra)(n);
    const std::string plan = plan_text();
    // Before the recurrence only where most of the leaves are not read.
    CHECK((plan.find("pick_rows") < plan.find("recurrence")) == (extra == 2));
  }
}

TEST_CASE(
    "recurrence: two batches whose rows lie now in one order, now in the other: threads share them or not") {
  for (const bool swapped : {false, true}) {
    check_same(
        [=](Numbers& n) {
          constexpr int64_t kRows = 48, kWidth = 24, kTimes = 6;  // enough for several threads
          const Tensor w = n.parameter({kWidth, kWidth}, 0.2), u = n.parameter({8, kWidth});
          const Tensor x = matmul(n.parameter({kTimes * 2 * kRows, 8}), u);
          const Cell cell =
              as_template([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[1], w) + in[0])}; });
          Tensors h = {n.parameter({kRows, kWidth}), n.parameter({kRows, kWidth})};
          for (int64_t t = 0; t < kTimes; ++t) {
            for (const size_t k : {0, 1}) {
              const size_t place = swapped && t % 2 == 1 ? 1 - k : k;
              const int64_t row = (2 * t + static_cast<int64_t>(place)) * kRows;
              h[k] = cell({slice(x, 0, row, row + kRows), h[k]})[0];
            }
          }
          return Tensors{mean(square(h[0])) + mean(h[1]), h[0], h[1]};
        },
        {""}, {1, 2, 4});
  }
}

}  // namespace
}  // namespace reel
