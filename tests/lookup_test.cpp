// Recurrences that look up rows of a small table level by level.
#include "core/grad.h"
#include "tests/least_looked_up.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;

struct Sizes {
  int64_t words = 5, in = 3, hidden = 4, batch = 6, times = 7;
};

enum class Also { nothing, rows, words, state };

// Words projected and read by an LSTM; `also`: what else is asked for.
Program words(const Sizes& s, Also also = Also::nothing) {
  return [=](Numbers& n) {
    const Tensor table = n.parameter({s.words, s.in}), w = n.parameter({s.in, 4 * s.hidden}),
                 u = n.parameter({s.hidden, 4 * s.hidden}, 0.2), first = n.parameter({s.batch, s.hidden});
    const Tensor x = index_select(table, 0, n.ids({s.times * s.batch}, static_cast<uint64_t>(s.words)));
    const Tensor all = matmul(x, w);
    const Cell cell = as_template(lstm(u));
    Tensors state = {first, zeros({s.batch, s.hidden})};
    for (int64_t t = 0; t < s.times; ++t)
      state = cell({slice(all, 0, t * s.batch, (t + 1) * s.batch), state[0], state[1]});
    Tensors values = {mean(square(state[0])) + mean(state[1])};
    if (also == Also::rows) values.push_back(all);
    if (also == Also::words) values[0] = values[0] + mean(square(x));
    if (also == Also::state) values.push_back(state[1]);
    return values;
  };
}

}  // namespace

TEST_CASE("lookup: values and gradients are eager's, on one thread and several") {
  const KeepLeastLookedUp all(0);
  for (const Also also : {Also::nothing, Also::rows, Also::words, Also::state}) {
    same(words({}, also));
  }
}

TEST_CASE("lookup: many rows, shared out to threads; gradients of tables that stay in a cache or do not") {
  for (const int64_t vocabulary : {65, 600}) {
    const Program program = words({.words = vocabulary, .in = 8, .hidden = 32, .batch = 128, .times = 17});
    check_same(program, {"", "-lookup"}, {1, 2, 4});
  }
}

TEST_CASE("lookup: a plan for several threads is not one for one thread") {
  const KeepLeastLookedUp all(0);
  const auto plans = [](int threads) {
    set_num_threads(threads);
    const uint64_t before = tape_stats().plans_built;
    (void)run(words({}), DType::f32, 1);
    return tape_stats().plans_built - before;
  };
  (void)plans(2);
  CHECK(plans(2) == 0);
  CHECK(plans(1) > 0);
  CHECK(plans(2) == 0);
  set_num_threads(0);
}

TEST_CASE("lookup: the gradient of a gradient") {
  const KeepLeastLookedUp all(0);
  check_same(
      [](Numbers& n) {
        const Tensors values = words({})(n);
        Tensors wanted(n.parameters.begin(), n.parameters.begin() + 3);
        Tensor penalty = values[0];
        for (const Tensor& g : grad({values[0]}, wanted, {.cotangents = {}, .create_graph = true}))
          penalty = penalty + sum(square(g));
        return Tensors{penalty};
      },
      {"", "-lookup"}, {1, 2});
}

TEST_CASE("lookup: an id that is no row is named, with its position and where it was asked for") {
  const KeepLeastLookedUp all(0);
  const Tensor table = ones({5, 3}).requires_grad_(), w = ones({3, 16}), u = ones({4, 16});
  std::vector<int64_t> ids(40);
  ids[33] = 5;
  const Cell cell = once(lstm(u));
  const auto loss = [&] {
    Tensor all_rows = matmul(index_select(table, 0, Tensor::from(ids, {40})), w);
    Tensors state = {zeros({4, 4}), zeros({4, 4})};
    for (int64_t t = 0; t < 10; ++t) state = cell({slice(all_rows, 0, 4 * t, 4 * t + 4), state[0], state[1]});
    return sum(state[0]);
  };
  const char* message = "id 5 at position 33: want 0 to 4, the axis has 5 entries (";
  CHECK_THROWS_WITH_AS(loss().item(), doctest::Contains(message), Error);
  CHECK_THROWS_WITH_AS(loss().backward(), doctest::Contains(message), Error);
  CHECK_FALSE(table.grad().defined());
  ids[33] = 4;
  loss().backward();
  CHECK(table.grad().defined());
}

}  // namespace reel
