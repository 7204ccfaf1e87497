// Threads: a tape for each, handles that outlive their thread, the same bits from one thread and from
// several.
#include <doctest/doctest.h>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/buffer.h"
#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/random.h"
#include "ops/reductions.h"
#include "ops/shape.h"

namespace reel {
namespace {

template <class F>
void in_thread(const F& body) {
  std::thread(body).join();
}

Tensor number(double x) { return Tensor::from(std::vector<double>{x}, {}); }

TEST_CASE("rows picked and put back by several threads, runs across their borders") {
  manual_seed(5);
  const Tensor a = normal({500, 64}), b = normal({300, 64});
  std::vector<int64_t> picks, puts;  // (input, first row, rows); (row of x, row of y, rows)
  int64_t rows = 0;
  for (int64_t k = 0; rows < 601; ++k) {
    const int64_t count = std::min<int64_t>(1 + k % 97, 601 - rows), from = k * 37 % (300 - count);
    picks.insert(picks.end(), {k % 2, from, count});
    puts.insert(puts.end(), {rows, from, count});  // some rows receive several
    rows += count;
  }
  const auto values = [&](int threads) {
    set_num_threads(threads);
    const Tensor picked = record(pick_rows_op, std::vector<Arg>{a, b},
                                 {.attrs = {}, .shape = {601, 64}, .dtype = DType::f32, .list = picks});
    const Tensor put = record(put_rows_op, std::vector<Arg>{picked},
                              {.attrs = {}, .shape = {300, 64}, .dtype = DType::f32, .list = puts});
    std::vector<float> all = picked.to_vector<float>();
    for (float x : put.to_vector<float>()) all.push_back(x);
    return all;
  };
  const std::vector<float> want = values(1);
  const std::vector<float> rows_of_b = b.to_vector<float>();
  CHECK(want[1 * 64] == rows_of_b[37 * 64]);  // the second run begins with this row
  for (const int threads : {2, 3, 4}) CHECK(values(threads) == want);
  set_num_threads(0);
}

TEST_CASE("a tensor of another thread is refused in a sentence, alive or ended") {
  Tensor constant, pending, variable;
  in_thread([&] {
    constant = number(1);
    pending = constant * 2.0;
    variable = number(3).requires_grad_();
  });
  const char* sentence = "belongs to another thread's tape";
  for (const Tensor& t : {constant, pending, variable}) {
    CHECK(t.shape() == Shape{});
    CHECK(t.dtype() == DType::f64);
    CHECK_THROWS_WITH_AS(t + 1.0, doctest::Contains(sentence), Error);
    CHECK_THROWS_WITH_AS(t.item(), doctest::Contains(sentence), Error);
    CHECK_THROWS_WITH_AS(t.to_vector<float>(), doctest::Contains(sentence), Error);
    CHECK_THROWS_WITH_AS(t.backward(), doctest::Contains(sentence), Error);
    CHECK_THROWS_WITH_AS(grad(number(1), t), doctest::Contains(sentence), Error);
    CHECK_THROWS_WITH_AS(Tensor(t).requires_grad_(), doctest::Contains(sentence), Error);
  }
  CHECK_THROWS_WITH_AS(variable.assign(number(1)), doctest::Contains("instead (threads_test.cpp:"), Error);
  CHECK_THROWS_WITH_AS(writable(variable), doctest::Contains(sentence), Error);
  Tensor mine = number(1).requires_grad_();
  CHECK_THROWS_WITH_AS(mine.set_grad(constant), doctest::Contains(sentence), Error);
  CHECK_THROWS_WITH_AS(mine.assign(constant), doctest::Contains(sentence), Error);
  in_thread([&] { CHECK_THROWS_WITH_AS(mine * 2.0, doctest::Contains(sentence), Error); });
  CHECK((mine * 2.0).item() == 2);
}

TEST_CASE(
    "handles of an ended thread may be copied and dropped, in any order, without upsetting the counts") {
  const size_t live = memory_use().live;
  const uint64_t nodes = tape_stats().live_nodes;
  for (int order = 0; order < 4; ++order) {
    Tensors kept(4);
    in_thread([&] {
      kept[0] = full({1000}, 1.5);
      kept[1] = slice(kept[0], 0, 1, 400);
      eval({kept[0], kept[1]});
      kept[2] = full({1000}, 2.0).requires_grad_();
      kept[3] = kept[2] * kept[0];
      sum_to(kept[3], {}).backward({}, {.retain_graph = true});
      for (int k = 0; k < 10'000; ++k) kept[3] = kept[3] + 1.0;  // a long history, dropped below
    });
    const Tensors copies = kept;
    for (int k = 0; k < 4; ++k) kept[static_cast<size_t>((k + order) % 4)] = {};
  }
  CHECK(memory_use().live == live);
  CHECK(tape_stats().live_nodes == nodes);
}

TEST_CASE("a thread may end with a Tensor in its own thread_local, and a program with a static one") {
  in_thread([] {
    static thread_local Tensor last;  // made before the tape: destroyed after it
    last = {};
    last = full({100}, 1.0) * 2.0;
    last.to_vector<float>();
  });
  static Tensor global;
  global = full({100}, 1.0).requires_grad_();
  CHECK(global.is_variable());
}

TEST_CASE("threads train side by side") {
  std::vector<double> results(4);
  std::vector<std::thread> workers;
  for (double& result : results) {
    workers.emplace_back([&result] {
      Tensor w = full({40, 40}, 0.01, DType::f32).requires_grad_();
      for (int step = 0; step < 20; ++step) {
        Tensor h = full({40, 40}, 0.5, DType::f32);
        for (int t = 0; t < 3; ++t) h = erf(matmul(h, transpose(w, 0, 1)));
        sum_to(h, {}).backward();
        w.assign(detach(w) - w.grad() * 1e-4);
        w.zero_grad();
      }
      result = sum_to(w, {}).item();
    });
  }
  for (std::thread& t : workers) t.join();
  for (double result : results) CHECK(result == results[0]);
}

std::vector<std::byte> big_program() {
  std::vector<float> values(300 * 700);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>((i * 2654435761u) % 1000) / 500 - 1;
  Tensor x = Tensor::from(values, {300, 700}).requires_grad_();
  const Tensor y = exp(erf(x * 1.7)) * slice(x, 0, 0, 1) + transpose(reshape(x, {700, 300}), 0, 1);
  const Tensor columns = sum_to(y, {700}), rows = sum_to(y, {300, 1}), all = sum_to(y, {});
  (sum_to(columns * columns, {}) + sum_to(rows / 3.0, {}) + all).backward();
  std::vector<std::byte> bytes;
  for (const Tensor& t : {y, columns, rows, all, x.grad()}) {
    for (std::byte b : t.to_bytes()) bytes.push_back(b);
  }
  return bytes;
}

TEST_CASE("one thread and several give the same bits") {
  set_num_threads(1);
  const auto one = big_program();
  for (int threads : {2, 3, 7}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    CHECK(big_program() == one);
  }
  set_num_threads(0);
  CHECK_THROWS_WITH_AS(set_num_threads(-1), doctest::Contains("want 0"), Error);
}

TEST_CASE("rows looked up, added at their ids, summed and zeroed: several threads give the bits of one") {
  const auto run = [](int threads) {
    set_num_threads(threads);
    manual_seed(3);
    std::vector<std::vector<float>> all;
    for (const int64_t columns : {1, 15, 65, 513}) {
      const int64_t rows = 40000 / columns + 3;
      std::vector<int64_t> ids;
      for (int64_t r = 0; r < rows; ++r) ids.push_back(r * r % 7);
      const Tensor table = uniform({7, columns}, -1, 1).requires_grad_(), at = Tensor::from(ids, {rows});
      const Tensor factor = uniform({rows, columns}, -1, 1), wide = uniform({columns, 7}, -1, 1);
      const Tensor found = index_select(table, 0, at), across = index_select(wide, 1, at);
      for (const Tensor& x : {found, across, grad(sum(found * factor), table), sum_to(factor, {columns})})
        all.push_back(x.to_vector<float>());
      for (size_t k = 0; k < ids.size(); ++k) {  // each row is the one that its id names
        const auto c = k % static_cast<size_t>(columns);
        CHECK(found.to_vector<float>()[k * static_cast<size_t>(columns) + c] ==
              table.to_vector<float>()[static_cast<size_t>(ids[k]) * static_cast<size_t>(columns) + c]);
        if (k > 50) break;
      }
      std::vector<double> columns_sums(static_cast<size_t>(columns), 0);
      const std::vector<float> values = factor.to_vector<float>();
      for (size_t k = 0; k < values.size(); ++k) columns_sums[k % static_cast<size_t>(columns)] += values[k];
      for (size_t c = 0; c < columns_sums.size(); ++c)
        CHECK(std::fabs(static_cast<double>(all.back()[c]) - columns_sums[c]) < 2e-2);
    }
    return all;
  };
  const auto one = run(1);
  for (const int threads : {2, 3}) CHECK(run(threads) == one);
  set_num_threads(0);
}

// Asked before anything else in this program runs a kernel.
const int threads_after_a_limit = [] {
  const LibraryOnOneThread limit;
  return num_threads();
}();

TEST_CASE("a limit for the library is no limit for ourselves") {
  cpu_set_t ours;  // not all of the machine's, in a container or under taskset
  REQUIRE(sched_getaffinity(0, sizeof ours, &ours) == 0);
  const bool few = CPU_COUNT(&ours) < 2 || std::getenv("OMP_NUM_THREADS");
  CHECK((few || threads_after_a_limit > 1));
  const int all = num_threads();
  const LibraryOnOneThread limit;
  CHECK(num_threads() == all);
  in_thread([all] { CHECK(num_threads() == all); });
}

TEST_CASE("parallel_for covers every index once, passes errors on, and nests") {
  set_num_threads(3);
  for (int64_t n : {0, 1, 2, 3, 10, 1001}) {
    std::vector<int> seen(static_cast<size_t>(n), 0);
    parallel_for(n, 1 << 20, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      parallel_for(2, 1 << 20, [](int64_t, int64_t) {});
    });
    CHECK(seen == std::vector<int>(static_cast<size_t>(n), 1));
  }
  CHECK_THROWS_WITH_AS(parallel_for(100, 1 << 20, [](int64_t, int64_t) { fail("inside"); }), "inside", Error);
  set_num_threads(0);
}

TEST_CASE("run_on_threads calls each piece once, from several callers at once, and runs nested ones too") {
  set_num_threads(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&wrong] {
      for (int round = 0; round < 2000; ++round) {
        const int n = round % 7;
        std::vector<int> seen(7, 0), inner(7, 0);  // not atomic: the pool itself has to order them
        run_on_threads(n, [&](int i) {
          ++seen[static_cast<size_t>(i)];
          if (threads_for(int64_t{1} << 40) != 1) ++wrong;
          run_on_threads(2, [&](int) { ++inner[static_cast<size_t>(i)]; });
        });
        for (int i = 0; i < 7; ++i) {
          if (seen[static_cast<size_t>(i)] != (i < n) || inner[static_cast<size_t>(i)] != (i < n ? 2 : 0))
            ++wrong;
        }
      }
    });
  }
  for (std::thread& t : callers) t.join();
  CHECK(wrong == 0);
  CHECK(threads_for(int64_t{1} << 40) == 3);
  set_num_threads(0);
}

TEST_CASE(
    "a second thread takes its piece, whether it waits awake or asleep, and the pool survives an error") {
  set_num_threads(2);
  for (int pause : {0, 0, 1, 5}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(pause));
    std::atomic<bool> begun{false};
    std::thread::id second;
    bool finished = false;
    run_on_threads(2, [&](int i) {
      if (i == 1) {
        second = std::this_thread::get_id();
        begun = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        finished = true;  // not atomic: the caller must have waited for it
      }
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (i == 0 && !begun && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    });
    CHECK(second != std::this_thread::get_id());
    CHECK(finished);
  }
  CHECK_THROWS_WITH_AS(run_on_threads(2,
                                      [](int i) {
                                        if (i == 1) fail("in piece 1");
                                      }),
                       "in piece 1", Error);
  int sum = 0;
  run_on_threads(1, [&](int i) { sum += i + 1; });
  CHECK(sum == 1);
  CHECK(threads_for(int64_t{1} << 40) == 2);
  set_num_threads(0);
}

#if !defined(__SANITIZE_THREAD__)  // which supports no threads in a child of a process with threads
TEST_CASE("a forked child has a pool of its own") {
  set_num_threads(2);
  std::vector<int> seen(2, 0);
  run_on_threads(2, [&](int i) { ++seen[static_cast<size_t>(i)]; });
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    std::atomic<int> pieces{0};
    run_on_threads(2, [&](int) {  // each waits for the other: only two threads end this
      ++pieces;
      while (pieces < 2) std::this_thread::yield();
    });
    _exit(pieces == 2 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  set_num_threads(0);
}
#endif

TEST_CASE("work ahead is done once, by another thread or in the end by the one that waits") {
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    for (int round = 0; round < 200; ++round) {
      std::atomic<int> done = 0, others = 0;
      const auto body = [&] { ++done; };
      {
        Ahead ahead(body);
        if (round % 3 == 0) run_on_threads(2, [&](int) { ++others; });  // waits for it
        if (round % 2 == 0) {
          ahead.wait();
          CHECK(done == 1);
          ahead.wait();
        }
        Ahead second(body);  // there is one already, or not
        second.wait();
      }
      CHECK(done <= 2);
      CHECK(done >= (round % 2 == 0 ? 2 : 1));
      CHECK(others == (round % 3 == 0 ? 2 : 0));
    }
    const auto fails = [] { fail("no"); };
    Ahead ahead(fails);
    CHECK_THROWS_AS(ahead.wait(), Error);
    const Ahead forgotten(fails);
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace reel
