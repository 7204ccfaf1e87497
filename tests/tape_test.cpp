// The tape: long chains, lifetimes, memory that stays flat, errors that name the caller's line.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "core/buffer.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/shape.h"

namespace reel {
namespace {

Tensor number(double x) { return full({}, x, DType::f64); }
Tensor variable(double x) { return Tensor::from(std::vector<double>{x}, {}).requires_grad_(); }
Tensor ids(const std::vector<int64_t>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}
// A value whose computation throws.
Tensor broken() { return index_select(full({2}, 1, DType::f64), 0, ids({7})); }

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_CASE("a chain of a million calls is recorded, differentiated and freed without recursion") {
  constexpr int kSteps = 500'000;  // two calls each
  const uint64_t before = tape_stats().live_nodes;
  const auto start = std::chrono::steady_clock::now();
  {
    Tensor x = variable(1);
    Tensor h = x;
    for (int k = 0; k < kSteps; ++k) h = -(h + x);
    const double recorded = seconds_since(start);
    h.backward();
    MESSAGE("a million calls: recorded in " << recorded << " s, differentiated and run in "
                                            << seconds_since(start) - recorded << " s");
    CHECK(h.item() == 1);         // -(1 + 1) = -2, -(-2 + 1) = 1, ...
    CHECK(x.grad().item() == 1);  // h = x again
  }
  CHECK(tape_stats().live_nodes == before);
}

TEST_CASE("a million calls of history are freed without having been differentiated") {
  const uint64_t before = tape_stats().live_nodes;
  for (const bool computed : {false, true}) {
    Tensor x = variable(1);
    Tensor h = x;
    for (int k = 0; k < 1'000'000; ++k) {
      h = h + 1.0;
      if (computed && k % 100'000 == 0) h.item();
    }
    if (computed) CHECK(h.item() == 1'000'001);
    CHECK(tape_stats().live_nodes > before + 1'000'000);
    h = {};
    x = {};
    CHECK(tape_stats().live_nodes == before);
  }
}

TEST_CASE("training with another length each time holds no more at the end than in the middle") {
  Tensor w = variable(0.5);
  uint64_t nodes = 0;
  size_t live = 0, pooled = 0;
  for (int step = 0; step < 2'000; ++step) {
    Tensor h = number(0.1 * (step % 10));
    const int length = 1 + (step * 7919) % 300;  // 300 lengths: more than plans are kept
    for (int t = 0; t < length; ++t) h = erf(h * w + 0.1);
    h.backward();
    w.assign(detach(w) - w.grad() * 0.01);
    w.zero_grad();
    if (step == 1'000) {
      nodes = tape_stats().live_nodes;
      live = memory_use().live;
      pooled = memory_use().pooled;
    }
    if (step > 1'000) {
      REQUIRE(tape_stats().live_nodes == nodes);
      REQUIRE(memory_use().live <= live);
      REQUIRE(memory_use().pooled <= pooled + 4096);
    }
  }
  CHECK(tape_stats().plans_cached <= 256);
  CHECK(tape_stats().plans_cached > 100);
  CHECK(tape_stats().arena_bytes > 0);
  CHECK(tape_stats().arena_bytes < size_t{1} << 30);
}

TEST_CASE("a structure seen before is found, whatever its numbers") {
  const auto run = [](double factor) {
    Tensor x = variable(3);
    (x * x * factor).backward();
    return x.grad().item();
  };
  CHECK(run(3) == 18);
  const TapeStats before = tape_stats();
  CHECK(run(2) == 12);
  CHECK(tape_stats().plans_built == before.plans_built);
  CHECK(tape_stats().plans_found > before.plans_found);
}

TEST_CASE("how many plans are kept follows from whether they are asked for again") {
  const auto run = [](int length, double salt) {  // another structure for each length and salt
    Tensor h = number(1);
    for (int t = 0; t < length; ++t) h = erf(h + 1.0);
    if (salt > 0) h = exp(h);
    h.item();
  };
  const auto built = [&](int structures, double salt) {
    const uint64_t before = tape_stats().plans_built;
    for (int length = 1; length <= structures; ++length) run(length, salt);
    return tape_stats().plans_built - before;
  };
  std::thread([&] {  // with caches of its own
    CHECK(built(300, 0) == 300);
    CHECK(tape_stats().plans_cached <= 16);
    CHECK(built(100, 1) == 100);
    uint64_t again = 0;
    for (int round = 0; round < 4; ++round) again = built(100, 1);
    CHECK(again == 0);
    CHECK(tape_stats().plans_cached >= 100);
  })
      .join();
}

TEST_CASE("what nobody holds is never computed") {
  { const Tensor dead = exp(broken()); }
  const Tensor y = number(2) * 3.0;
  CHECK(y.item() == 6);
  Tensor moved = broken();
  Tensor other = number(1);
  moved = std::move(other);  // what `moved` held is dead now, not when `other` is
  CHECK(moved.item() == 1);
}

TEST_CASE("a kernel that throws fails what depends on it and nothing else") {
  Tensor w = variable(3);
  (w * w).backward();
  const Tensor good = w * 2.0;
  const Tensor bad = broken();
  const Tensor worse = bad * w;
  CHECK_THROWS_WITH_AS(good.item(), doctest::Contains("id 7 at position 0"), Error);
  CHECK(good.item() == 6);
  CHECK(w.item() == 3);
  CHECK(w.grad().item() == 6);
  CHECK_THROWS_WITH_AS(bad.item(), doctest::Contains("failed"), Error);
  CHECK_THROWS_WITH_AS(worse * 2.0, doctest::Contains("has no value"), Error);
  CHECK_THROWS_WITH_AS(worse.backward(ones({2}), {}), doctest::Contains("has no value"), Error);
  (w * 5.0).backward();
  CHECK(w.grad().item() == 11);
}

TEST_CASE("a backward pass whose computation throws leaves every gradient as it was") {
  Tensor a = variable(3);
  Tensor b = variable(4);
  (a * b).backward();
  CHECK_THROWS_AS((a * b * sum_to(broken(), {})).backward(), Error);
  CHECK(a.grad().item() == 4);
  CHECK(b.grad().item() == 3);
  // The same with a variable that only the graph holds.
  Tensor loss;
  {
    Tensor gone = variable(2);
    loss = gone * gone;
    gone.assign(number(5));
    loss = loss * sum_to(broken(), {}) * a;
  }
  CHECK_THROWS_AS(loss.backward(), Error);
  CHECK(a.grad().item() == 4);
  loss = {};
  (a * b).backward();
  CHECK(a.grad().item() == 8);
}

TEST_CASE("an error in the middle of recording leaves the tape usable") {
  Tensor w = variable(2);
  const uint64_t before = tape_stats().live_nodes;
  try {
    const Tensor h = w * w;
    matmul(h, h);
    FAIL("scalars have no product");
  } catch (const Error&) {
  }
  CHECK(tape_stats().live_nodes == before);
  (w * w * w).backward();
  CHECK(w.grad().item() == 12);
}

TEST_CASE("an error names the line of the caller") {
  const Tensor a = zeros({2, 3}), b = zeros({2, 4});
  const auto line = [](int n) {
    return doctest::Contains(("(tape_test.cpp:" + std::to_string(n) + ")").c_str());
  };
  CHECK_THROWS_WITH_AS(a + b, line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(matmul(a, b), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(slice(a, 0, 1, 7), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(slice(a, 5, 0, 1), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(a * Tensor(), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(Tensor().item(), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(a.item(), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(a.backward(), line(__LINE__), Error);
  CHECK_THROWS_WITH_AS(grad(number(1), number(2)), line(__LINE__), Error);
  const int where = __LINE__ + 1;
  const Tensor bad = index_select(a, 0, ids({2}));
  CHECK_THROWS_WITH_AS(eval({bad}), line(where), Error);  // found when it runs, named where it was written
  CHECK_THROWS_WITH_AS(bad + 1.0, line(where), Error);
}

TEST_CASE("sentences for what cannot be") {
  Tensor a = zeros({2});
  CHECK_THROWS_WITH_AS(Tensor().to_vector<float>(),
                       "[eval] got an undefined tensor, one that never received a value", Error);
  CHECK_THROWS_WITH_AS(a.assign(a), doctest::Contains("want a variable"), Error);
  CHECK_THROWS_WITH_AS(a.grad(), doctest::Contains("only variables"), Error);
  CHECK_THROWS_WITH_AS(ids({1}).requires_grad_(), doctest::Contains("want f32 or f64"), Error);
  Tensor w = variable(1);
  CHECK_THROWS_WITH_AS((w * 2.0).requires_grad_(), doctest::Contains("detach()"), Error);
  CHECK_THROWS_WITH_AS(w.set_grad(full({2}, 0, DType::f64)), doctest::Contains("want []"), Error);
  CHECK_THROWS_WITH_AS(w.set_grad(full({}, 0, DType::f32)), doctest::Contains("want f64"), Error);
  CHECK_THROWS_WITH_AS(w.assign(zeros({3})), doctest::Contains("want []"), Error);
  CHECK_THROWS_WITH_AS(Tensor::from(std::vector<float>{1, 2}, {3}), doctest::Contains("2 values of f32"),
                       Error);
}

TEST_CASE("sizes that no memory holds are refused where they are written") {
  const int64_t big = int64_t{1} << 31;
  const Tensor column = broadcast_to(zeros({1, 1}), {big, 1}), row = broadcast_to(zeros({1, 1}), {1, big});
  CHECK_THROWS_WITH_AS(column + row, doctest::Contains("more elements than memory can hold (tape_test.cpp"),
                       Error);
  CHECK_THROWS_WITH_AS(matmul(column, row), doctest::Contains("more elements"), Error);
  CHECK_THROWS_AS(full({big, big}, 1), Error);
}

TEST_CASE("running out of memory is an error that later work survives") {
  const Tensor x = broadcast_to(zeros({1}), {int64_t{1} << 43});
  Tensor y = sum_to(x + 1.0, {});
  CHECK_THROWS_WITH_AS(y.item(), doctest::Contains("out of memory"), Error);
  y = {};
  CHECK(sum_to(broadcast_to(full({}, 1), {100, 100}) + 1.0, {}).item() == 20'000);
}

TEST_CASE("values of no elements go through everything") {
  for (const bool eager : {false, true}) {
    const Eager mode(eager);
    Tensor x = zeros({0, 3}).requires_grad_();
    const Tensor y = matmul(x * 2.0 + 1.0, ones({3, 2}));
    CHECK(y.shape() == Shape{0, 2});
    CHECK(y.to_vector<float>().empty());
    const Tensor parts = accumulate({{slice(x, 1, 0, 2), {Place::At::slice, 1, 1}, {}}}, {0, 3}, x.dtype());
    (sum_to(y, {}) + sum_to(parts, {}) + sum_to(index_select(x, 0, ids({})), {})).backward();
    CHECK(x.grad().shape() == Shape{0, 3});
    CHECK(sum_to(x, {3}).to_vector<float>() == std::vector<float>{0, 0, 0});
    CHECK(matmul(zeros({2, 0}), zeros({0, 2})).to_vector<float>() == std::vector<float>(4, 0));
  }
}

TEST_CASE("nodes lie in the order of the tape, whatever order those before them died in") {
  std::vector<Tensor> values;
  for (int k = 0; k < 1000; ++k) values.push_back(number(k));
  std::vector<size_t> order(values.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = k * 377 % order.size();
  for (size_t k : order) values[k] = {};
  for (int k = 0; k < 1000; ++k) values[static_cast<size_t>(k)] = number(k);
  size_t ascending = 0;
  for (size_t k = 1; k < values.size(); ++k) ascending += values[k].node() == values[k - 1].node() + 1;
  CHECK(ascending > 950);
  CHECK(values[999].item() == 999);
}

TEST_CASE("calls that differ in nothing but their lists do not share a plan") {
  const Tensor x = full({1, 2}, 3, DType::f64);
  const auto placed = [&](int64_t row) {
    return accumulate({{x + 1.0, {Place::At::slice, 0, row}, {}}}, {3, 2}, DType::f64).to_vector<double>();
  };
  CHECK(placed(0) == std::vector<double>{4, 4, 0, 0, 0, 0});
  CHECK(placed(2) == std::vector<double>{0, 0, 0, 0, 4, 4});
  CHECK(placed(0) == std::vector<double>{4, 4, 0, 0, 0, 0});
}

}  // namespace
}  // namespace reel
