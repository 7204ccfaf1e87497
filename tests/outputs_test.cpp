// The outputs of templates' calls have no nodes of their own until somebody asks for one: whoever asks, and
// whenever, finds the value and the gradient that the function itself would give.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "core/once.h"
#include "core/tape.h"
#include "reel.h"

namespace reel {
namespace {

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k)
    worst = std::max(worst, std::fabs(a[k] - b[k]) / (1 + std::fabs(b[k])));
  return worst;
}

struct Example {
  Example() { manual_seed(7); }
  DefaultDType f64{DType::f64};
  Tensor w = normal({4, 4}).requires_grad_(), x = normal({2, 4}).requires_grad_();
  Once::Function direct = [this](const Tensors& in) -> Tensors {
    const Tensor a = matmul(in[0], w) + in[1];
    return {tanh(a), sigmoid(a) * in[1] + in[0]};
  };
  Once cell = once(direct);

  // What `use` makes of the cell and the function itself, and the gradients of its sum, after each other.
  using Use = std::function<Tensor(const Once::Function&)>;
  std::vector<double> of(const Once::Function& f, const Use& use) {
    w.zero_grad();
    x.zero_grad();
    const Tensor y = use(f);
    std::vector<double> all = y.to_vector<double>();
    sum(y * y).backward();
    for (const Tensor& g : {w.grad(), x.grad()}) {
      if (!g.defined()) continue;
      const auto more = g.to_vector<double>();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
  void same(const Use& use) {
    const std::vector<double> want = of(direct, use);
    for (const char* passes : {"", "-recur", "-batch", "none"}) {
      set_plan_passes(passes);
      const uint64_t live = tape_stats().live_nodes;
      CHECK(distance(of(cell, use), want) < 1e-12);
      w.zero_grad();
      x.zero_grad();
      CHECK(tape_stats().live_nodes <= live);
    }
    set_plan_passes("");
  }
};

Tensors chain(const Once::Function& f, const Tensor& x, int length) {
  Tensors state = {x, x * 0.5};
  for (int k = 0; k < length; ++k) state = f(state);
  return state;
}

TEST_CASE("outputs: they have no nodes as long as only calls of templates read them") {
  Example e;
  const Tensor start = e.x * 1.0;
  Tensors state = e.cell({start, start});
  const uint64_t live = tape_stats().live_nodes;
  for (int k = 0; k < 5; ++k) state = e.cell(state);
  CHECK(tape_stats().live_nodes == live + 5);
  CHECK(state[0].shape() == Shape{2, 4});
  CHECK(state[1].dtype() == DType::f64);
  CHECK(state[0].requires_grad());
  CHECK(!state[0].is_variable());
  CHECK(tape_stats().live_nodes == live + 5);
  const Tensor y = state[0] + state[0];
  CHECK(tape_stats().live_nodes == live + 7);  // the output, and the sum
}

TEST_CASE("outputs: read by calls, by other ops, by both, before and after") {
  Example e;
  e.same([&](const auto& f) { return chain(f, e.x, 4)[0]; });
  e.same([&](const auto& f) {
    const Tensors a = chain(f, e.x, 2);
    const Tensor early = exp(a[0]);
    const Tensors b = f({a[0], a[0]}), c = f({a[1], b[1]});
    return early + a[0] * b[0] + slice(concat({c[0], a[1]}, 1), 1, 2, 6);
  });
}

TEST_CASE("outputs: sequences that begin with different outputs of one call, or with the same") {
  Example e;
  const Once other = once([&](const Tensors& in) -> Tensors { return {in[0] * 2.0, exp(in[0] * 0.5)}; });
  for (const size_t second : {0u, 1u}) {
    e.same([&](const auto& f) {
      const Tensors first = other({e.x});
      const Tensors a = f(f({e.x, first[0]})), b = f(f({e.x * 2.0, first[second]}));
      return a[0] * b[1] + a[1];
    });
  }
}

TEST_CASE("outputs: held by handles while they are computed, all or some, and read again afterwards") {
  Example e;
  e.same([&](const auto& f) {
    Tensors shown, carried;
    Tensors state = {e.x, e.x};
    for (int k = 0; k < 4; ++k) {
      state = f(state);
      shown.push_back(state[0]);
      if (k == 1) carried = state;
    }
    CHECK(std::isfinite(sum(state[1]).item()));  // computes all of it
    CHECK(shown[2].to_vector<double>().size() == 8);
    const Tensors more = f(carried);
    return more[0] + shown[0] * shown[3] + more[1];
  });
}

TEST_CASE("outputs: more handles than are counted") {
  Example e;
  for (const size_t count : {254, 255, 256, 1000}) {
    e.same([&](const auto& f) {
      const Tensors state = f({e.x, e.x});
      const std::vector<Tensor> copies(count, state[1]);
      CHECK(std::isfinite(sum(state[0]).item()));  // computed while all are held
      return state[0] + f({copies[count - 1], state[0]})[0] + copies[0];
    });
  }
}

TEST_CASE("outputs: an input of a function that is recorded, and what it captures") {
  Example e;
  e.same([&](const auto& f) {
    const Tensors outer = f({e.x, e.x});
    const Once inner = once([&](const Tensors& in) -> Tensors {
      return {in[0] * outer[1] + f({in[0], outer[0]})[1], in[0] - outer[0]};
    });
    return inner({e.x})[0] + inner({outer[1]})[1];
  });
}

TEST_CASE("outputs: a gradient through calls, asked for inside a function that is recorded") {
  Example e;
  e.same([&](const auto& f) {
    const Tensors outer = chain(f, e.x, 2);
    const Once inner = once([&](const Tensors& in) -> Tensors {
      const Tensors g = grad({sum(outer[0] * outer[1] * outer[1])}, {e.x, outer[0]});
      return {in[0] * g[0] + g[1], in[0] - outer[1]};
    });
    const Tensors a = inner({e.x}), b = inner({outer[1]});
    return a[0] * b[1] + b[0];
  });
}

TEST_CASE("outputs: a gradient is asked for with respect to one") {
  Example e;
  // Before and after others have read it, by calls that were recorded before it was asked for.
  const auto gradient = [&](const Once::Function& f, bool looked_at, bool read_before) {
    const Tensors a = f({e.x, e.x});
    const Tensor before = read_before ? sum(a[0] * 3.0) : zeros({});
    const Tensors b = f({a[0], a[1]}), c = f({b[0], a[0]});
    const Tensor loss = sum(c[0] * c[1]) + before + sum(a[0] * b[1]);
    if (looked_at) CHECK(std::isfinite(loss.item()));
    const Tensors first = grad({loss}, {a[0], b[1]});
    const Tensor second = grad(sum(first[0] * first[0]), a[0]);
    std::vector<double> all;
    for (const Tensor& g : {first[0], first[1], second}) {
      const auto more = g.to_vector<double>();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  };
  for (const bool looked_at : {false, true}) {
    for (const bool read_before : {false, true}) {
      const auto want = gradient(e.direct, looked_at, read_before);
      CHECK(distance(gradient(e.cell, looked_at, read_before), want) < 1e-12);
    }
  }
}

TEST_CASE("outputs: recorded under NoGrad, or asked for under it") {
  Example e;
  e.same([&](const auto& f) {
    const Tensors a = f({e.x, e.x});
    Tensors b;
    {
      const NoGrad none;
      b = f({a[0], a[1]});
      CHECK((a[0] + 1.0).to_vector<double>().size() == 8);  // its node is made here
    }
    CHECK(!b[0].requires_grad());
    CHECK(a[0].requires_grad());
    return a[0] * b[0] + f({a[1], b[1]})[1];
  });
}

TEST_CASE("outputs: random programs of calls, ops, copies, handles let go, values looked at") {
  Example e;
  const Once::Function three = [&](const Tensors& in) -> Tensors {
    const Tensor a = matmul(in[0], e.w) * 0.5;
    return {a + in[0], tanh(a), in[0] * 0.3};
  };
  const Once three_once = once(three);
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    e.same([&](const auto& f) {
      std::mt19937_64 random(seed);
      const bool direct = &f == &e.direct;
      std::vector<Tensor> pool{e.x, e.x * 0.5};
      const auto any = [&]() -> Tensor& { return pool[random() % pool.size()]; };
      for (int step = 0; step < 30; ++step) {
        switch (random() % 8) {
          case 0:
          case 1:
          case 2: {
            const Tensors out = f({any(), any()});
            pool.push_back(tanh(out[0] * 0.1));
            pool.push_back(out[random() % 2]);
            break;
          }
          case 3: {
            const Tensor& in = any();
            const Tensors out = direct ? three({in}) : three_once({in});
            pool.push_back(out[random() % 3]);
            break;
          }
          case 4: pool.push_back(tanh(any() + any())); break;
          case 5: pool.push_back(any()); break;
          case 6:
            if (pool.size() > 4)
              pool.erase(pool.begin() + static_cast<std::ptrdiff_t>(random() % pool.size()));
            break;
          default:
            if (random() % 4 == 0) CHECK(std::isfinite(sum(any()).item()));
        }
        if (pool.size() > 6) pool.erase(pool.begin(), pool.begin() + 2);
      }
      Tensor y = tanh(pool[0]);
      for (const Tensor& x : pool) y = y + tanh(x);
      return y;
    });
  }
}

TEST_CASE("outputs: a call that fails takes its outputs with it") {
  Example e;
  const Tensor table = normal({3, 4});
  const Once look_up = once([&](const Tensors& in) -> Tensors {
    const Tensor row = index_select(table, 0, in[0]);
    return {row * 2.0, exp(row)};
  });
  const Tensors good = look_up({Tensor::from(std::vector<int64_t>{1}, {1})});
  const Tensors bad = look_up({Tensor::from(std::vector<int64_t>{7}, {1})});
  CHECK_THROWS_AS(sum(bad[0]).item(), Error);
  CHECK_THROWS_AS(bad[0].to_vector<double>(), Error);
  CHECK_THROWS_AS(bad[1].to_vector<double>(), Error);
}

TEST_CASE("outputs: eight outputs, and inputs beyond those whose outputs can be named") {
  Example e;
  const Once many = once([](const Tensors& in) -> Tensors {
    Tensors out;
    for (int k = 1; k <= 8; ++k) out.push_back(in[0] * static_cast<double>(k));
    return out;
  });
  const Tensors out = many({e.x});
  for (size_t k = 0; k < out.size(); ++k)
    CHECK(distance(out[k].to_vector<double>(), (e.x * static_cast<double>(k + 1)).to_vector<double>()) <
          1e-15);

  const Once wide = once([](const Tensors& in) -> Tensors {
    Tensor all = in[0];
    for (size_t k = 1; k < in.size(); ++k) all = all + in[k] * static_cast<double>(k);
    return {all, all * 2.0};
  });
  e.same([&](const auto& f) {
    const Tensors a = f({e.x, e.x});
    Tensors in;
    for (int k = 0; k < 70; ++k) in.push_back(a[static_cast<size_t>(k % 2)]);
    return wide(in)[0];
  });
}

}  // namespace
}  // namespace reel
