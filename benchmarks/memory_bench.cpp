// Whether memory stays flat: a training loop's resident size over 100,000 steps, and over 10,000 sequence
// lengths.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "reel.h"

namespace {

using namespace reel;

double resident_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024;
  }
  return 0;
}

struct Model : nn::Module {
  nn::LSTM lstm{{this, "lstm"}, 4, 8};
  nn::Linear output{{this, "output"}, 8, 4};
};

// One training step on a sequence of this length. The LSTM runs over its last steps, at most 50; a pooled
// summary of all of it, whose shapes are new with every length, goes beside.
void train(Model& model, optim::Adam& adam, int64_t length) {
  const Tensor ids = full({length, 2}, 1, DType::i64);
  const Tensor x = one_hot(ids, 4);
  const Tensor recent = slice(x, 0, std::max<int64_t>(0, length - 50), length);
  const Tensor summary = sum(softmax(matmul(x, transpose(x, 1, 2)), 0) * 0.1, {0, 2});
  const Tensor last = model.lstm(recent).state.back().h + unsqueeze(summary, 1);
  const Tensor loss = cross_entropy(model.output(last), select(ids, 0, -1));
  adam.zero_grad();
  loss.backward();
  adam.step();
}

// Measures after a tenth of the run, when pools and caches are warm, and at its end.
template <class Length>
void soak(benchmark::State& state, int64_t steps, const Length& length) {
  Model model;
  optim::Adam adam(model.parameters(), {});
  for (auto _ : state) {
    for (int64_t step = 0; step < steps / 10; ++step) train(model, adam, length(step));
    const double warm = resident_mb();
    for (int64_t step = steps / 10; step < steps; ++step) train(model, adam, length(step));
    state.counters["warm_MB"] = warm;
    state.counters["end_MB"] = resident_mb();
    state.counters["live_nodes"] = static_cast<double>(tape_stats().live_nodes);
    state.counters["plans"] = static_cast<double>(tape_stats().plans_cached);
  }
}

void Steps100000(benchmark::State& state) {
  soak(state, 100000, [](int64_t) { return 5; });
}
BENCHMARK(Steps100000)->Iterations(1)->Unit(benchmark::kSecond);

// Every length from 1 to 10,000 once, in a scrambled order.
void Lengths10000(benchmark::State& state) {
  soak(state, 10000, [](int64_t step) { return 1 + step * 7919 % 10000; });
}
BENCHMARK(Lengths10000)->Iterations(1)->Unit(benchmark::kSecond);

}  // namespace
