// Runs every variant of the workloads, and rivals, in interleaved rounds, and compares their medians.
#include <dnnl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <set>

#include "benchmarks/passes.h"
#include "benchmarks/runner/contestant.h"
#include "benchmarks/runner/elsewhere.h"
#include "benchmarks/runner/peer.h"
#include "benchmarks/runner/report.h"
#include "core/error.h"

namespace reel::bench {

namespace {

struct Settings {
  std::vector<std::string> only, variants;
  std::vector<int> threads{1, 2};
  int64_t rounds = 15;
  double seconds = 2;  // of each variant
  std::string json;
  bool peers = false, first = true;
  std::vector<std::string> peer_modes{"module", "composed", "hoisted", "batched", "scan"};
  bool memory = false, sweep = false;
  std::string first_step_of, peak_memory_of;  // "W3/planned/2": print that number, and end
};

bool chosen(const std::vector<std::string>& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (double v : values) total += v;
  return total;
}

// A contestant and what it has shown so far.
struct Lane {
  std::unique_ptr<Contestant> contestant;
  std::optional<double> first_ms, peak_mb;
  int64_t steps = 0;            // a round
  bool elsewhere = false;       // a rival, whose first step is the first that is asked for
  std::vector<double> samples;  // the mean of each round's steps
};

std::vector<Lane> lanes_of(const Settings& settings, const Workload& workload, int threads) {
  std::vector<Lane> lanes;
  for (const Variant& variant : settings.sweep ? workload.variants : with_ablations(workload)) {
    const auto base = name_and_dtype(variant.name).first;
    if (!chosen(settings.variants, variant.name) && !chosen(settings.variants, base)) continue;
    Lane& lane = lanes.emplace_back();
    const std::string name = name_of(workload.name, variant.name, threads);
    if (settings.first) lane.first_ms = elsewhere("--first-step-of", name);
    if (settings.memory) lane.peak_mb = elsewhere("--peak-memory-of", name);
    lane.contestant = contestant(workload, variant, threads);
  }
  if (settings.peers) {
    const std::string folder = REEL_SOURCE_DIR "/benchmarks/peers/";
    for (const std::string name : {"torch", "jax"}) {
      const std::string script = folder + name + "_workloads.py";
      if (!std::filesystem::exists(script)) {
        if (name == "torch") fmt::print(stderr, "there is no {}; going on without it\n", script);
        continue;
      }
      const auto process = std::make_shared<PeerProcess>(script, threads);
      for (const std::string& mode : settings.peer_modes) {
        const auto [base, dtype] = name_and_dtype(mode);
        Lane& lane = lanes.emplace_back();
        lane.contestant = peer_contestant(process, name, workload.name, base, dtype);
        lane.elsewhere = true;
      }
    }
  }
  lanes.emplace_back().contestant = peak(threads);
  return lanes;
}

// A few steps each to warm up and to see how many make a round; lanes that do not answer are dropped.
void begin(const Settings& settings, std::vector<Lane>& lanes) {
  for (Lane& lane : lanes) {
    const std::vector<double> first = lane.contestant->run(1), second = lane.contestant->run(2);
    if (second.empty()) continue;
    if (lane.elsewhere) lane.first_ms = first.at(0);
    const double round_ms = 1000 * settings.seconds / static_cast<double>(settings.rounds);
    lane.steps = std::max<int64_t>(1, static_cast<int64_t>(round_ms / std::max(second.back(), 1e-3)));
    if (lane.contestant->variant == "peak") lane.steps = 2;
  }
  std::erase_if(lanes, [](const Lane& lane) { return lane.steps == 0; });
}

std::vector<Row> measure(const Settings& settings, const Workload& workload, int threads) {
  std::vector<Lane> lanes = lanes_of(settings, workload, threads);
  warm_up(threads);
  begin(settings, lanes);
  for (int64_t round = 0; round < settings.rounds; ++round) {
    for (size_t i = 0; i < lanes.size(); ++i) {
      Lane& lane = lanes[(i + static_cast<size_t>(round)) % lanes.size()];
      const std::vector<double> times = lane.contestant->run(lane.steps);
      if (!times.empty()) lane.samples.push_back(sum(times) / static_cast<double>(times.size()));
    }
    if (isatty(STDERR_FILENO) != 0 || round + 1 == settings.rounds) {
      fmt::print(stderr, "\r{} at {} thread{}: round {} of {}", workload.name, threads,
                 threads == 1 ? "" : "s", round + 1, settings.rounds);
    }
  }
  fmt::print(stderr, "\n");
  std::vector<Row> rows;
  for (const Lane& lane : lanes) {
    if (lane.samples.empty()) continue;
    const double ms = quantile(lane.samples, 0.5);
    const bool is_peak = lane.contestant->variant == "peak";
    rows.push_back({workload.name, lane.contestant->variant, lane.contestant->dtype, threads, ms,
                    quantile(lane.samples, 0.1), quantile(lane.samples, 0.9),
                    static_cast<int64_t>(lane.samples.size()), lane.first_ms, lane.peak_mb,
                    is_peak ? 1e3 / ms : workload.flops * 1e-6 / ms});
  }
  return rows;
}

const std::vector<Workload>& measured(const Settings& settings) {
  return settings.sweep ? sweeps() : workloads();
}

void check_names(const Settings& settings) {
  std::vector<std::string> names;
  for (const Workload& workload : measured(settings)) names.push_back(workload.name);
  for (const std::string& name : settings.only) {
    if (!chosen(names, name))
      throw CLI::ValidationError("--only",
                                 fmt::format("there is no '{}', but {}", name, fmt::join(names, ", ")));
  }
  std::set<std::string> variants;
  for (const Workload& workload : measured(settings)) {
    for (const Variant& v : with_ablations(workload)) {
      variants.insert({v.name, name_and_dtype(v.name).first});
    }
  }
  for (const std::string& name : settings.variants) {
    if (!variants.contains(name))
      throw CLI::ValidationError("--variants",
                                 fmt::format("there is no '{}', but {}", name, fmt::join(variants, ", ")));
  }
}

int run(int argc, char** argv) {
  Settings settings;
  CLI::App app{
      "Every variant of the workloads in interleaved rounds: medians, and ratios to hand-written code"};
  app.add_option("--only", settings.only, "workloads, as W2,W3; all if not given")->delimiter(',');
  app.add_option("--variants", settings.variants, "variants, as planned,hand; all if not given")
      ->delimiter(',');
  app.add_option("--threads", settings.threads, "numbers of threads, one after another")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds, "rounds; each runs every variant")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}))
      ->capture_default_str();
  app.add_option("--seconds", settings.seconds, "about how long each variant runs in all")
      ->check(CLI::Range(0.01, 1e5))
      ->capture_default_str();
  app.add_option("--json", settings.json, "rows go to this file, one object a line");
  app.add_flag("--peers", settings.peers, "also rivals: benchmarks/peers/*_workloads.py");
  app.add_option("--peer-modes", settings.peer_modes, "of the rivals, as module,compile,module-bf16")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--first,!--no-first", settings.first, "measure first steps, each in a process of its own");
  app.add_flag("--memory", settings.memory, "measure the peak of memory, in a process of its own each");
  app.add_flag("--sweep", settings.sweep, "instead of the workloads: LSTMs of growing length and depth");
  app.add_option("--first-step-of", settings.first_step_of)->group("");
  app.add_option("--peak-memory-of", settings.peak_memory_of)->group("");
  try {
    app.parse(argc, argv);
    check_names(settings);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (!settings.first_step_of.empty()) {
    fmt::print("{:.6f}\n", first_step(settings.first_step_of));
    return 0;
  }
  if (!settings.peak_memory_of.empty()) {
    fmt::print("{:.3f}\n", peak_memory(settings.peak_memory_of));
    return 0;
  }
  std::vector<Row> rows;
  for (const Workload& workload : measured(settings)) {
    if (!chosen(settings.only, workload.name)) continue;
    for (int threads : settings.threads) {
      const std::vector<Row> more = measure(settings, workload, threads);
      rows.insert(rows.end(), more.begin(), more.end());
      fmt::print("{}", table(more));
      std::fflush(stdout);
      if (!settings.json.empty()) write_json(rows, settings.json);
    }
  }
  fmt::print("\n{}\n", result_line(rows));
  return 0;
}

}  // namespace

}  // namespace reel::bench

int main(int argc, char** argv) {
  try {
    return reel::bench::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "reel_workloads: {}\n", e.what());
    return 1;
  }
}
