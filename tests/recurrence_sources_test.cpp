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

}  // namespace
}  // namespace reel
