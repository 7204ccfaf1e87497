// Recurrences and what is around them: states from elsewhere, trees, several readers, shared weights,
// threads, whole numbers, values looked at midway, errors.
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

TEST_CASE("recurrence: states that begin as parts of others") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), all = n.parameter({2, 2, 3}), wide = n.parameter({2, 6}),
                 high = n.parameter({3, 2});
    const auto cell = [=](const Tensors& in) -> Tensors {
      return {tanh(matmul(in[1], w) + in[0]), in[1] * in[2]};
    };
    Tensors a = chain(cell, {select(all, 0, 0), slice(wide, 1, 3, 6)}, steps(n, 4, {2, 3}));
    const Tensors b = chain(cell, {select(all, 0, 1), transpose(high, 0, 1)}, steps(n, 3, {2, 3}));
    const Tensors c =
        chain(cell, {reshape(slice(wide, 0, 1, 2), {2, 3}), select(all * 2.0, 1, 1)}, steps(n, 3, {2, 3}));
    const Tensors d =
        chain(cell,
              {reshape(slice(wide * 2.0, 0, 1, 2), {2, 3}),
               reshape(wide, {4, 3}).defined() ? slice(reshape(wide * 2.0, {4, 3}), 0, 1, 3) : Tensor()},
              steps(n, 3, {2, 3}));
    for (const Tensors& other : {b, c, d}) {
      a[0] = a[0] + other[0];
      a.insert(a.end(), other.begin() + 1, other.end());
    }
    return ending(a);
  });
}

TEST_CASE("recurrence: what joins many of its rows, in any order, picks them") {
  const auto program = [](bool twice) {
    return [twice](Numbers& n) {
      const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 2});
      const Cell cell = as_template([=](const Tensors& in) -> Tensors {
        const Tensor h = tanh(matmul(in[1], w) + in[0]);
        return {h, in[2] + h};
      });
      std::vector<Tensor> ends;
      for (const int64_t length : {3, 1, 4, 2, 4, 1}) {
        Tensors state = {n.parameter({1, 3}), n.parameter({1, 3})};
        for (const Tensors& x : steps(n, length, {1, 3})) state = cell({x[0], state[0], state[1]});
        ends.push_back(state[0]);
        if (twice) ends.insert(ends.begin(), state[1]);
      }
      if (twice) ends.push_back(ends[3]);  // a row that is read again
      return ending({mean(square(matmul(concat(ends, 0), v)))});
    };
  };
  same(program(false));
  same(program(true));
  const DefaultDType numbers(DType::f64);
  Numbers n;
  const Tensors values = program(true)(n);
  CHECK(plan_text().find("pick_rows") != std::string::npos);
}

TEST_CASE("recurrence: a forest of trees, a state read again") {
  for (const int shape : {0, 1, 2}) {
    same([=](Numbers& n) {
      const Tensor w = n.parameter({6, 3}), v = n.parameter({3, 3});
      const Cell node = as_template([=](const Tensors& in) -> Tensors {
        const Tensor h = tanh(matmul(concat({in[0], in[2]}, 1), w));
        return {h, in[1] + in[3] * sigmoid(h), matmul(in[0], v)};
      });
      Tensor loss = zeros({});
      Tensors values{loss};
      for (int tree = 0; tree < 5; ++tree) {
        std::vector<Tensors> open;
        for (int k = 0; k < 2 + tree * 2; ++k) open.push_back({n.parameter({1, 3}), n.parameter({1, 3})});
        while (open.size() > 1) {
          const size_t at = shape == 0 ? 0 : n.random() % (open.size() - 1);
          const Tensors a = open[at], b = open[shape == 2 && n.random() % 3 == 0 ? at : at + 1];
          const Tensors out = node({a[0], a[1], b[0], b[1]});
          open[at] = {out[0], out[1]};
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(at) + 1);
          loss = loss + mean(square(out[2]));
        }
        values.push_back(open[0][0]);
        values.push_back(open[0][1]);
      }
      values[0] = loss;
      return ending(values);
    });
  }
}

TEST_CASE("recurrence: many readers of one state") {
  for (const int readers : {2, 3, 4}) {
    same(
        [=](Numbers& n) {
          const Tensor w = n.parameter({3, 3});
          const Cell cell =
              as_template([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + in[1])}; });
          Tensor h = n.parameter({2, 3}), loss = zeros({});
          for (int t = 0; t < 3; ++t) {
            Tensors next;
            for (int k = 0; k < readers; ++k) {
              next.push_back(cell({n.parameter({2, 3}), h})[0]);
              loss = loss + sum(square(next.back()));
            }
            h = next[static_cast<size_t>(t % readers)];
          }
          return Tensors{loss, h};
        },
        readers == 2);
  }
}
TEST_CASE("recurrence: two that share weights, and one run backwards in time") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
    std::vector<Tensors> x = steps(n, 5, {2, 3});
    const Cell cell = [=](const Tensors& in) -> Tensors {
      return {tanh(matmul(in[0], w) + matmul(in[1], v)), in[1] * 0.5};
    };
    const Cell other = [=](const Tensors& in) -> Tensors {
      return {sigmoid(matmul(in[0], w) - matmul(in[1], v)) * in[0]};
    };
    Tensors a = chain(cell, {n.parameter({2, 3})}, x);
    std::reverse(x.begin(), x.end());
    for (const Tensors& b : {chain(cell, {zeros({2, 3})}, x), chain(other, {a[1]}, x)}) {
      a[0] = a[0] + b[0];
      a.push_back(b[1]);
    }
    return ending(a);
  });
}

TEST_CASE("recurrence: enough rows for several threads") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({16, 16}, 0.2), v = n.parameter({16, 16}, 0.2), b = n.parameter({16});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor h = tanh(matmul(in[0], w) + matmul(in[1], v) + b);
          return {h, softmax(h, 1)};
        },
        {n.parameter({37, 16})}, steps(n, 40, {37, 16})));
  });
}

TEST_CASE("recurrence: whole numbers") {
  same(
      [](Numbers& n) {
        const Tensor w = n.parameter({3, 3});
        const Cell count = as_template([=](const Tensors& in) -> Tensors { return {in[0] + in[1]}; });
        Tensor c = Tensor::from(std::vector<int64_t>{0, 1}, {2, 1});
        for (int t = 0; t < 4; ++t) c = count({n.ids({2, 1}, 5), c})[0];
        return Tensors{sum(square(w)), c};
      },
      false);
  same(
      [](Numbers& n) {
        const Tensor w = n.parameter({3, 3});
        const Cell any =
            as_template([=](const Tensors& in) -> Tensors { return {less(to(in[1], DType::f32), 0.5)}; });
        Tensor c = Tensor::from(std::vector<bool>{true, false}, {2, 1});
        for (int t = 0; t < 4; ++t) c = any({n.ids({2, 1}, 5), c})[0];
        return Tensors{sum(square(w)), to(c, DType::f64)};
      },
      false);
}

TEST_CASE("recurrence: two precisions in one body") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3});
    return ending(chain(
        [=](const Tensors& in) -> Tensors {
          const Tensor a = to(tanh(to(matmul(in[0], w), DType::f64) + to(in[1], DType::f64)), n.dtype);
          return {a + in[1] * 0.1, a};
        },
        {n.parameter({2, 3})}, steps(n, 4, {2, 3})));
  });
}

TEST_CASE("recurrence: values looked at midway, gradients of gradients, added up") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3});
    const Cell cell =
        as_template([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + in[1])}; });
    Tensor h = n.parameter({2, 3});
    for (int t = 0; t < 6; ++t) {
      h = cell({n.parameter({2, 3}), h})[0];
      if (t == 2) (void)sum(h).item();
    }
    const Tensor loss = sum(square(h));
    loss.backward(ones({}), {.retain_graph = true, .create_graph = false});
    const Tensor g = grad(loss, w);
    return Tensors{loss + sum(square(g)), h, g};
  });
}

TEST_CASE("recurrence: its gradient is one too, before it is differentiated again or after a look") {
  for (const bool looked : {false, true}) {
    Numbers n;
    const DefaultDType numbers(n.dtype);
    const Tensor u = n.parameter({4, 16}), start = n.parameter({2, 4});
    const Tensors values = ending(chain(lstm(u), {start, n.parameter({2, 4})}, steps(n, 6, {2, 16})));
    if (looked) (void)values[0].item();
    const Tensors gradients = grad({values[0]}, {start, u}, {.cotangents = {}, .create_graph = !looked});
    const std::string plan = plan_text();
    size_t found = 0;
    for (size_t at = plan.find(" = recurrence"); at != std::string::npos;
         at = plan.find(" = recurrence", at + 1))
      ++found;
    CHECK(found == (looked ? 1 : 2));
  }
}

TEST_CASE("recurrence: inputs, states and weights that are views") {
  for (const int64_t batch : {1, 3}) {
    same([=](Numbers& n) {
      const Tensor wide = n.parameter({5, 7}), high = n.parameter({4, 4}), first = n.parameter({1, 4}),
                   b = n.parameter({});
      const Tensor w = slice(wide, 1, 2, 6), v = transpose(high, 0, 1), bias = broadcast_to(b, {4});
      const Tensor all = n.parameter({batch, 40});
      std::vector<Tensors> x;
      for (int64_t t = 0; t < 4; ++t) x.push_back({slice(all, 1, 5 * t, 5 * t + 5), slice(all, 1, 30, 34)});
      const Tensor begin = broadcast_to(first, {batch, 4});
      return ending(chain(
          [=](const Tensors& in) -> Tensors {
            return {tanh(matmul(in[0], w) + matmul(in[2], v) + bias + in[1]), in[3] + tanh(in[2]) * in[1]};
          },
          {begin, begin}, x));
    });
  }
}

TEST_CASE("recurrence: layers, an encoder's states as rows of a decoder") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
    const Cell first =
        as_template([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + in[1])}; });
    const Cell second = as_template([=](const Tensors& in) -> Tensors {
      return {sigmoid(matmul(in[1], v) + in[0]), matmul(in[1], w)};
    });
    const Cell decoder = as_template([=](const Tensors& in) -> Tensors {
      const Tensor a = softmax(sum(tanh(unsqueeze(matmul(in[2], w), 1) + in[1]), -1), -1);
      return {tanh(sum(unsqueeze(a, -1) * in[1], 1) + in[0] + in[2]), a};
    });
    Tensor h = zeros({2, 3}), g = h, loss = zeros({});
    Tensors memory;
    for (int t = 0; t < 5; ++t) {
      h = first({n.parameter({2, 3}), h})[0];
      const Tensors out = second({h, g});
      g = out[0];
      if (t == 1) loss = loss + sum(square(out[1]));
      memory.push_back(g);
    }
    const Tensor keys = stack(memory, 1);
    Tensors values{loss};
    for (int t = 0; t < 3; ++t) {
      const Tensors out = decoder({n.constant({2, 3}), keys, g});
      g = out[0];
      values.push_back(out[1]);
    }
    values[0] = loss + sum(square(g));
    return values;
  });
}

TEST_CASE("recurrence: only some of the states are asked for") {
  for (const int middle : {0, 2, 4}) {
    same(
        [=](Numbers& n) {
          const Tensor w = n.parameter({1, 1}), v = n.parameter({1, 2});
          const Cell cell = as_template([=](const Tensors& in) -> Tensors {
            const Tensor h = tanh(matmul(in[0], w) + in[1] * in[1]);
            return {h, matmul(h, v), in[2] - h * w};
          });
          Tensor h = n.parameter({1, 1}), c = h;
          Tensors values{zeros({})};
          for (int t = 0; t < 5; ++t) {
            const Tensors out = cell({n.parameter({1, 1}), h, c});
            h = out[0];
            c = out[2];
            if (t == middle) values = {sum(square(out[1])) + sum(c), h};
          }
          return values;
        },
        middle > 0);
  }
}

TEST_CASE("recurrence: steps of training, with trees of another shape each") {
  same(
      [](Numbers& n) {
        Tensor w = n.parameter({3, 3}), v = n.parameter({3, 3});
        const Cell cell = as_template([&](const Tensors& in) -> Tensors {
          return {tanh(matmul(in[0], w) + matmul(in[1], v) + in[2]), in[0] + in[1]};
        });
        Tensors values{zeros({})};
        for (int step = 0; step < 4; ++step) {
          if (step == 2) v.requires_grad_(false);
          if (step == 3) v.requires_grad_();
          Tensors h{n.constant({2, 3}), n.constant({2, 3}), n.constant({2, 3})};
          for (int k = 0; k < 6; ++k) {
            const Tensors out =
                cell({h[n.random() % h.size()], h[n.random() % h.size()], n.constant({2, 3})});
            h[n.random() % h.size()] = out[0];
            h.push_back(out[1]);
          }
          const Tensor loss = sum(square(h[0] + h[1] + h[2] + h.back()));
          values.push_back(loss);
          if (loss.requires_grad()) loss.backward();
          for (Tensor* p : {&w, &v}) {
            if (p->grad().defined()) p->assign(*p - p->grad() * 0.05);
          }
          values.push_back(w * 1.0);
        }
        values[0] = sum(square(w)) + sum(square(v));
        return values;
      },
      false);
}

TEST_CASE("recurrence: a penalty on the gradient") {
  same([](Numbers& n) {
    const Tensor w = n.parameter({3, 3}), v = n.parameter({3, 2});
    Tensors values = ending(chain(
        [=](const Tensors& in) -> Tensors {
          return {tanh(matmul(in[0], w) + in[1]), matmul(in[1], v)};
        },
        {n.parameter({2, 3})}, steps(n, 4, {2, 3})));
    values[0] = values[0] + sum(square(grad(values[0], w)));
    return values;
  });
}

TEST_CASE("recurrence: no rows, one step, two steps, more templates than classes") {
  for (const int64_t batch : {0, 2}) {
    for (const int time : {1, 2}) {
      same(
          [=](Numbers& n) {
            const Tensor w = n.parameter({3, 3});
            Tensors values =
                chain([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[0], w) + in[1])}; },
                      {n.parameter({batch, 3})}, steps(n, time, {batch, 3}));
            values[0] = sum(square(values[1])) + sum(w);
            return values;
          },
          batch > 0 && time == 2);
    }
  }
  same([](Numbers& n) {
    Tensors values{zeros({})};
    for (int k = 0; k < 70; ++k) {
      const Tensor w = n.parameter({2, 2});
      const Tensors one =
          ending(chain([=](const Tensors& in) -> Tensors { return {tanh(matmul(in[1], w) + in[0])}; },
                       {n.constant({2, 2})}, steps(n, 3, {2, 2})));
      values[0] = values[0] + one[0];
    }
    return values;
  });
}

TEST_CASE("recurrence: an id out of range in the middle") {
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    const DefaultDType numbers(DType::f64);
    Numbers n;
    const Tensor table = n.parameter({5, 32}), w = n.parameter({32, 32});
    const Once cell = once([=](const Tensors& in) -> Tensors {
      const Tensor ids = to(reshape(slice(in[1], 1, 0, 1), {30}) * 6.0, DType::i64);
      return {tanh(embedding(table, ids) + matmul(in[1], w) + in[0])};
    });
    const auto last = [&] {
      Tensor h = n.parameter({30, 32});
      for (int t = 0; t < 40; ++t) h = cell({n.constant({30, 32}), h})[0];
      return h;
    };
    const Tensor bad = last(), fine = sum(square(n.parameter({3, 3})));
    CHECK(plan_text().find("recurrence") != std::string::npos);
    CHECK_THROWS_WITH_AS(bad.to_vector<double>(), doctest::Contains("recurrence_calls_test.cpp"), Error);
    CHECK(std::isfinite(fine.item()));
    CHECK_THROWS_AS(sum(last()).backward(), Error);
    CHECK_FALSE(table.grad().defined());
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace reel
