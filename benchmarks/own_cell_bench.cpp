// A user's own cell, README.md's minimal gated unit, beside the built-in ones: GFLOP/s of their matrix
// products.
//   reel_bench --benchmark_filter=Cell --benchmark_enable_random_interleaving --benchmark_repetitions=9
#include <benchmark/benchmark.h>

#include "reel.h"
#include "tests/minimal_gated_unit.h"

namespace {

using namespace reel;

constexpr int64_t kHidden = 128, kBatch = 16, kSteps = 50;  // as W2

// Forward and backward through one layer, to its weights and to its input. `gates` products of [x, h] a step.
template <class Cell>
void run_cell(benchmark::State& state, int64_t gates, const nn::CellOptions& options) {
  set_num_threads(static_cast<int>(state.range(0)));
  const nn::Recurrent<Cell> layer({}, kHidden, kHidden, {.cell = options});
  Tensor x = uniform({kSteps, kBatch, kHidden}, -1, 1);
  x.requires_grad_();
  for (auto _ : state) {
    x.zero_grad();
    for (Tensor weight : layer.parameters()) weight.zero_grad();
    mean(layer(x).output).backward();
    benchmark::DoNotOptimize(x.grad());
  }
  const auto products = static_cast<double>(kSteps * kBatch * gates * kHidden * 2 * kHidden);
  // Forward, to the input and to the weights; a multiplication and an addition.
  state.counters["flops"] =
      benchmark::Counter(3 * 2 * products, benchmark::Counter::kIsIterationInvariantRate);
  set_num_threads(0);
}

void CellLSTM(benchmark::State& state) { run_cell<nn::LSTMCell>(state, 4, {.bias = nn::Bias::one}); }
// U_n (r h) waits for r, as in the minimal gated unit.
void CellTextbookGRU(benchmark::State& state) {
  run_cell<nn::GRUCell>(state, 3, {.bias = nn::Bias::one, .reset_after = false});
}
void CellOwn(benchmark::State& state) { run_cell<tests::MinimalGatedUnit>(state, 2, {}); }

BENCHMARK(CellLSTM)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(CellTextbookGRU)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(CellOwn)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
