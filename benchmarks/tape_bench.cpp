// What the tape itself costs: recording, differentiating, and looking up and running a plan, a call.
#include <benchmark/benchmark.h>

#include "reel.h"

namespace {

using namespace reel;

constexpr int64_t kCalls = 1000;

Tensor variable(const Shape& shape) {
  Tensor t = full(shape, 0.01);
  return t.requires_grad_();
}

Tensor chain(const Tensor& x) {
  Tensor h = x;
  for (int64_t i = 0; i < kCalls; ++i) h = h + x;
  return h;
}

void per_call(benchmark::State& state) {
  state.counters["per_call"] =
      benchmark::Counter(static_cast<double>(kCalls),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void Record(benchmark::State& state) {
  const Tensor x = variable({1});
  for (auto _ : state) benchmark::DoNotOptimize(chain(x));
  per_call(state);
}
BENCHMARK(Record);

// Recording included.
void RecordAndDifferentiate(benchmark::State& state) {
  const Tensor x = variable({1});
  for (auto _ : state) benchmark::DoNotOptimize(grad(chain(x), x, {.create_graph = false}));
  per_call(state);
}
BENCHMARK(RecordAndDifferentiate);

// Everything, on one-element values: the price of a call beside its arithmetic.
void WholeStep(benchmark::State& state) {
  const Tensor x = variable({1});
  for (auto _ : state) {
    Tensor w = x;
    w.zero_grad();
    chain(x).backward();
  }
  per_call(state);
}
BENCHMARK(WholeStep);

// The LSTM of a character model, forwards and backwards: hidden 128, batch 16, 50 steps, 65 characters.
void CharacterLSTM(benchmark::State& state) {
  set_num_threads(static_cast<int>(state.range(0)));
  nn::LSTM lstm({}, 65, 128, {.cell = {.bias = nn::Bias::one}});
  nn::Linear output({}, 128, 65);
  std::vector<int64_t> ids(50 * 16);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * 7919 % 65);
  const Tensor targets = Tensor::from(ids, {50, 16});
  const Tensor x = one_hot(targets, 65);
  for (auto _ : state) {
    const Tensor loss = cross_entropy(output(lstm(x).output), targets);
    lstm.zero_grad();
    output.zero_grad();
    loss.backward();
  }
  set_num_threads(0);
}
BENCHMARK(CharacterLSTM)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
