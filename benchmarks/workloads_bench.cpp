// Every variant of every workload as a Google Benchmark: reel_bench --benchmark_filter=W2/planned/threads:1.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "benchmarks/passes.h"
#include "reel.h"

namespace {

using namespace reel;
using namespace reel::bench;

void run_steps(benchmark::State& state, const Workload& workload, const Variant& variant, int threads) {
  set_num_threads(threads);
  const auto stepper = variant.make(workload.weights());
  stepper->step(0);
  int64_t k = 0;
  double tokens = 0;
  for (auto _ : state) {
    ++k;
    benchmark::DoNotOptimize(stepper->step(k));
    if (workload.tokens) tokens += workload.tokens(k);
  }
  using Counter = benchmark::Counter;
  if (workload.flops > 0) {
    state.counters["flops"] = Counter(workload.flops, Counter::kIsIterationInvariantRate);
  }
  if (tokens > 0) state.counters["tokens"] = Counter(tokens, Counter::kIsRate);
  set_num_threads(0);
}

[[maybe_unused]] const bool registered = [] {
  for (const Workload& workload : workloads()) {
    for (const Variant& variant : with_ablations(workload)) {
      for (int threads : {1, 2}) {
        benchmark::RegisterBenchmark(
            fmt::format("{}/{}/threads:{}", workload.name, variant.name, threads).c_str(),
            [&workload, variant, threads](benchmark::State& state) {
              run_steps(state, workload, variant, threads);
            })
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      }
    }
  }
  return true;
}();

}  // namespace
