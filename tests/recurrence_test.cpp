// Recurrences made of templates whose cells are nastier than people write.
#include "core/plan/recurrence/recurrence.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

TEST_CASE("recurrence: states of several widths, read several times") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 5}), u = n.parameter({5, 2}), v = n.parameter({2, 5});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor h = tanh(matmul(in[0], w) + matmul(in[2], v) + in[1]);
          return {h, sigmoid(matmul(h, u)) * in[2], h * 0.5 + 0.1};
        },
        {n.parameter({4, 5}), n.parameter({4, 2})}, steps(n, 5, {4, 3})));
  });
}

TEST_CASE("recurrence: a sum of inputs, whose gradient is the next state's as it is") {
  for (const bool end : {true, false}) {
    same([=](Numbers& n) {
      const Tensors values = chain(
          [](const Tensors& in) -> Tensors {
            return {in[0] + in[1], tanh(in[1])};
          },
          {n.parameter({2, 3})}, steps(n, 5, {2, 3}));
      return end ? ending(values) : values;
    });
    same([=](Numbers& n) {  // columns of it
      const Tensors values = chain(
          [](const Tensors& in) -> Tensors {
            return {concat({in[0], slice(in[1], 1, 0, 2)}, 1), tanh(in[1])};
          },
          {n.parameter({2, 3})}, steps(n, 5, {2, 1}));
      return end ? ending(values) : values;
    });
  }
}

TEST_CASE("recurrence: products and views of the state before") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 6});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          return {tanh(matmul(in[1], w) + in[0]), matmul(in[1], v), slice(in[1], 1, 1, 3)};
        },
        {n.parameter({2, 3})}, steps(n, 5, {2, 3})));
  });
}

TEST_CASE("recurrence: a product of joined columns, of which some wait for the state before") {
  for (const bool transposed : {false, true}) {
    same([=](Numbers& n) {  // a minimal gated unit
      const Tensor w = n.parameter(transposed ? Shape{4, 7} : Shape{7, 4}), u = n.parameter({7, 4});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor f = sigmoid(matmul(concat({in[1], in[0]}, 1), transposed ? transpose(w, 0, 1) : w));
            return {in[1] + f * (tanh(matmul(concat({f * in[1], in[0]}, 1), u)) - in[1])};
          },
          {n.parameter({2, 4})}, steps(n, 5, {2, 3})));
    });
  }
  same([](Numbers& n) {  // some between others, some of the step alone, some twice
    const Tensor w = n.parameter({10, 3}), v = n.parameter({6, 3}), b = n.parameter({3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor x = tanh(in[0]);
          return {tanh(matmul(concat({x, in[1], in[0], slice(x, 1, 0, 1)}, 1), w) + b +
                       matmul(concat({x, in[0]}, 1), v) +
                       matmul(concat({x, x * 2.0, in[1], in[1] * in[1]}, 1), concat({v, v}, 0)))};
        },
        {n.parameter({2, 3})}, steps(n, 5, {2, 3})));
  });
}

// A cell of words, whose layer norm of what it makes of x may be made of the table.
Program of_words(bool read_twice, bool frozen) {
  return [=](Numbers& n) {
    const Tensor table = frozen ? n.constant({4, 3}) : n.parameter({4, 3}), w = n.parameter({3, 3}),
                 u = n.parameter({3, 3}), g = n.parameter({3}), b = n.parameter({3});
    const Tensor words = embedding(table, n.ids({5, 2}, 4));
    std::vector<Tensors> x;
    for (int t = 0; t < 5; ++t) x.push_back({select(words, 0, t)});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor made = matmul(in[0], w);
          const Tensor z = layer_norm(made, g, b) * 0.5 + matmul(in[1], u);
          return {tanh(read_twice ? z + made * in[0] : z)};
        },
        {n.parameter({2, 3})}, x));
  };
}

TEST_CASE("columns of a join that is itself columns of one, and of another") {
  for (const bool other_first : {false, true}) {
    same(
        [=](Numbers& n) {
          const Tensor x = n.parameter({4, 3}), y = n.parameter({4, 3}), w = n.parameter({9, 2}),
                       v = n.parameter({6, 2}), u = n.parameter({6, 2});
          const Tensor a = tanh(x) * y, b = sigmoid(y) * x, c = exp(x) + y;
          const Tensor inner = concat({a, b}, 1);
          Tensor other;
          if (other_first) other = matmul(concat({a, c}, 1), u);
          const Tensor outer = matmul(concat({inner, tanh(c)}, 1), w);
          if (!other_first) other = matmul(concat({b, c}, 1), u);
          const Tensor z = outer + other + matmul(inner, v);
          return Tensors{mean(square(z)), z};
        },
        false);
  }
}

TEST_CASE("recurrence: what is made row by row of looked-up rows is made of the table") {
  for (const bool twice : {false, true}) {
    for (const bool frozen : {false, true}) same(of_words(twice, frozen));
  }
  const auto normalised = [](const char* passes, const char* rows) {
    const DefaultDType numbers(DType::f64);
    Numbers n;
    const Tensors values = of_words(false, false)(n);
    set_plan_passes(passes);
    const bool found = plan_text().find(rows) != std::string::npos;
    set_plan_passes("");
    return found;
  };
  CHECK(normalised("", "[4, 3] = normalize"));
  CHECK(!normalised("-commute", "[4, 3] = normalize"));
}

TEST_CASE("rows that are looked up, and what else they meet") {
  const auto program = [](int which) {
    return [=](Numbers& n) {
      const Tensor table = n.parameter({4, 3}), x = n.parameter({10, 3}), row = n.parameter({1, 3}),
                   column = n.parameter({10, 1}), w = n.parameter({3, 3});
      const Tensor rows = embedding(table, n.ids({10}, 4));
      const Tensor made = matmul(rows, w);
      const Tensor y = which == 0   ? tanh(made) * x
                       : which == 1 ? made * column + row
                       : which == 2 ? softmax(made, 0) * rows
                       : which == 3 ? softmax(made * row, 1) - made
                       : which == 4 ? matmul(transpose(made, 0, 1), x)
                                    : exp(tanh(made * made) + row);
      return Tensors{mean(square(y - 0.1)), y};
    };
  };
  for (int which = 0; which < 6; ++which) same(program(which), false);
}

TEST_CASE("recurrence: outputs that are views, constants, equal") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 6});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor z = tanh(matmul(in[0] + in[1] * 0.5 + in[2], w));
          return {slice(z, 1, 0, 3), slice(z, 1, 3, 6), z, slice(z, 1, 2, 4), slice(z, 1, 0, 3)};
        },
        {n.parameter({2, 3}), n.parameter({2, 3})}, steps(n, 4, {2, 3})));
  });
  same([](Numbers& n) {  // h twice
    const Tensor w = n.parameter({3, 3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor h = tanh(matmul(in[0] + in[1] * in[2], w));
          return {h, h, h};
        },
        {n.parameter({2, 3}), n.parameter({2, 3})}, steps(n, 4, {2, 3})));
  });
  same([](Numbers& n) {  // the state before is handed on
    const Tensor w = n.parameter({3, 3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          return {tanh(matmul(in[0] + in[2], w)), in[1] * 1.0, in[0] * 1.0};
        },
        {n.parameter({2, 3}), n.parameter({2, 3})}, steps(n, 6, {2, 3})));
  });
  same([](Numbers& n) {  // as a view
    const Tensor w = n.parameter({3, 3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          return {tanh(matmul(in[0] + in[2], w)), reshape(reshape(in[1], {2, 3, 1}), {2, 3}),
                  reshape(reshape(in[0], {2, 3, 1}), {2, 3})};
        },
        {n.parameter({2, 3}), n.parameter({2, 3})}, steps(n, 6, {2, 3})));
  });
}

TEST_CASE("recurrence: constants and parameters beside the rows") {
  for (const int64_t batch : {1, 2}) {
    same([=](Numbers& n) {
      const Tensor w = n.parameter({3, 3}), alpha = n.parameter({}), b = n.parameter({1, 3}),
                   c = n.parameter({3});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor a = sigmoid(alpha);
            return {a * tanh(matmul(in[0], softmax(w, 0)) + b) + (1 - a) * in[1] * exp(c),
                    softmax(in[1] * alpha, 1) + b};
          },
          {n.parameter({batch, 3})}, steps(n, 5, {batch, 3})));
    });
    same(
        [=](Numbers& n) {  // a number beside, of as many rows
          const Tensor w = n.parameter({4, 3});
          return ending(chain(
              [=](const Tensors& in) -> Tensors {
                return {tanh(matmul(concat({in[0], zeros({in[0].size(0), 1})}, 1), w) + in[1])};
              },
              {n.parameter({batch, 3})}, steps(n, 5, {batch, 3})));
        },
        false);
    same([=](Numbers& n) {  // a normalised weight
      const Tensor w = n.parameter({3, 3}), g = n.parameter({3});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            return {tanh(matmul(in[0], normalize(w, 1)) * g + matmul(in[1], softmax(w, 1)))};
          },
          {n.parameter({batch, 3})}, steps(n, 5, {batch, 3})));
    });
  }
}

TEST_CASE("recurrence: rows of other ranks, attention, softmax and norms") {
  for (const int64_t batch : {2, 70}) {
    same([=](Numbers& n) {
      const Tensor memory = n.parameter({batch, 4, 3}), w = n.parameter({3, 3}), v = n.parameter({3}),
                   g = n.parameter({3}), b = n.parameter({3});
      std::vector<Tensors> x;
      for (int t = 0; t < 6; ++t) x.push_back({n.parameter({batch, 3}), memory});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor q = unsqueeze(matmul(in[2], w), 1);
            const Tensor a = softmax(sum(tanh(q + in[1]) * v, -1), -1);
            const Tensor context = sum(unsqueeze(a, -1) * in[1], 1);
            return {tanh(layer_norm(in[0] + context, g, b) + matmul(in[2], w)), a};
          },
          {n.parameter({batch, 3})}, x));
    });
    same([=](Numbers& n) {
      const Tensor w = n.parameter({3, 3});
      std::vector<Tensors> x;
      for (int t = 0; t < 6; ++t) x.push_back({n.parameter({batch}), n.parameter({batch, 3, 2, 1})});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor s = sum(reshape(in[1], {batch, 3, 2}), -1);
            return {tanh(matmul(in[2], w) * unsqueeze(in[0], 1) + s),
                    mean(in[2], {1}, true) + logsumexp(s, 1, true), amax(in[2], {1}, true)};
          },
          {n.parameter({batch, 3})}, x));
    });
  }
}

TEST_CASE("recurrence: look-ups before the levels and in them, masks, joined columns") {
  for (const int64_t batch : {2, 70}) {
    same([=](Numbers& n) {
      const Tensor table = n.parameter({5, 3}), w = n.parameter({6, 3}), ones = full({3, 1}, 1);
      std::vector<Tensors> x;
      for (int t = 0; t < 6; ++t) x.push_back({n.ids({batch}, 5), less(n.constant({batch, 1}), 0.2)});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            const Tensor row = embedding(table, in[0]);
            const Tensor h = tanh(row + matmul(concat({row * in[2], in[2]}, 1), w));
            const Tensor found =
                embedding(table, to(reshape(abs(slice(h, 1, 1, 2)) * 4.0, {batch}), DType::i64));
            return {where(in[1], h + found * 0.2, in[2]), matmul(h, ones)};
          },
          {n.parameter({batch, 3})}, x));
    });
  }
}

TEST_CASE("recurrence: whatever is done to rows by themselves") {
  for (const int64_t batch : {2, 5}) {
    same(
        [=](Numbers& n) {
          const Tensor w = n.parameter({4, 4});
          return ending(chain(
              [=](const Tensors& in) -> Tensors {
                const auto parts = split<2>(matmul(in[1], w));
                const Tensor m = matmul(unsqueeze(parts[0], 2), unsqueeze(parts[1], 1));  // [batch, 2, 2]
                const Tensor y = reshape(m, {batch, 4});
                return {tanh(in[0] + cumsum(y, 1) * 0.3 + var(in[1], {1}, 0, true)), log_softmax(y, 1),
                        stack({parts[0], parts[1]}, 2).size(2) == 2 ? roll(y, 1, 1) : y};
              },
              {n.parameter({batch, 4})}, steps(n, 4, {batch, 4})));
        },
        false);
  }
}

TEST_CASE("recurrence: along the rows nothing is joined") {
  same(
      [](Numbers& n) {
        const Tensor w = n.parameter({3, 3});
        return ending(chain(
            [=](const Tensors& in) -> Tensors {
              return {tanh(matmul(in[0], w) + in[1] - mean(in[1], {0}, true))};
            },
            {n.parameter({2, 3})}, steps(n, 5, {2, 3})));
      },
      false);
}

TEST_CASE("recurrence: parts without a gradient") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          Tensor a;
          {
            const NoGrad none;
            a = tanh(matmul(in[1], v));
          }
          return {tanh(matmul(in[0], w) + a + in[1] * 0.5), a * in[1]};
        },
        {n.parameter({2, 3})}, steps(n, 5, {2, 3})));
  });
  same(
      [](Numbers& n) {  // no gradient through time: detach is not by rows
        const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
        return ending(chain(
            [=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + matmul(detach(in[1]), v))}; },
            {n.parameter({2, 3})}, steps(n, 5, {2, 3})));
      },
      false);
  same(
      [](Numbers& n) {  // through one state, and not through the other
        const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
        return ending(chain(
            [=](const Tensors& in) -> Tensors {
              return {tanh(matmul(in[0], w) + matmul(detach(in[1]), v)), tanh(in[1] + in[2] * 0.5)};
            },
            {n.parameter({2, 3}), n.parameter({2, 3})}, steps(n, 5, {2, 3})));
      },
      false);
  same([](Numbers& n) {  // frozen
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
    Tensor frozen = w;
    frozen.requires_grad_(false);
    return ending(
        chain([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + matmul(in[1], v))}; },
              {n.constant({2, 3})}, {{n.constant({2, 3})}, {n.constant({2, 3})}, {n.constant({2, 3})}}));
  });
  same([](Numbers& n) {  // only the first state has one
    const Tensor w = n.constant({3, 3});
    return ending(
        chain([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + matmul(in[1], w))}; },
              {n.parameter({2, 3})}, {{n.constant({2, 3})}, {n.constant({2, 3})}, {n.constant({2, 3})}}));
  });
}

TEST_CASE("recurrence: sizes that look like rows") {
  for (const int64_t width : {2, 4, 977}) {
    same([=](Numbers& n) {
      const Tensor w = n.parameter({width, width}, 0.1), v = n.parameter({width, width}, 0.1),
                   b = n.parameter({width}), c = n.parameter({1, width}), d = n.parameter({width});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            return {tanh(matmul(in[0], w) + matmul(in[1], transpose(v, 0, 1)) + b + c),
                    layer_norm(in[1], b, d)};
          },
          {n.parameter({2, width})}, steps(n, 2, {2, width})));
    });
  }
}

TEST_CASE("a schedule is the same again from its words, however long its runs") {
  using plan::Schedule;
  for (const int64_t many : {int64_t{7}, int64_t{5000}, int64_t{1} << 23}) {
    Schedule s;
    s.rows = 2 * many;
    s.levels = {{0, many}, {many, 2 * many}};
    s.reads = {{{0, Schedule::kNothing, 0, many}, {many, 0, many - 3, 3}}, {}, {{many, 2, 1, many}}};
    const std::vector<int64_t> words = s.words();
    const Schedule again(words);
    CHECK(again.rows == s.rows);
    REQUIRE(again.levels.size() == 2);
    CHECK(again.levels[1].end == 2 * many);
    REQUIRE(again.reads.size() == 3);
    for (size_t k = 0; k < 3; ++k) {
      REQUIRE(again.reads[k].size() == s.reads[k].size());
      for (size_t i = 0; i < s.reads[k].size(); ++i) {
        const Schedule::Run &a = again.reads[k][i], &b = s.reads[k][i];
        CHECK((a.to == b.to && a.source == b.source && a.from == b.from && a.count == b.count));
      }
    }
    CHECK(again.words() == words);
  }
}

}  // namespace
}  // namespace reel
