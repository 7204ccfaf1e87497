#include "core/plan/explain.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/environment.h"
#include "core/kernels/gemm.h"

namespace reel::plan::explain {

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* kPhases[] = {"read the structure", "rewrite (batch, prune)", "differentiate", "plan",
                                   "run"};
const std::string kInLevels = "in levels of at most: ";

struct Entry {
  uint64_t count = 0;
  double us = 0, flops = 0, bytes = 0;
};

double us_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double, std::micro>(b - a).count();
}

// One f32 product of 768 x 768 matrices, the best of a few: what the machine can do, on one thread or on all.
double peak_gflops() {
  constexpr int64_t n = 768;
  std::vector<float> a(n * n, 0.5f), b(n * n, 0.25f), c(n * n);
  double best = 0;
  for (int k = 0; k < 8; ++k) {
    const auto start = Clock::now();
    gemm(n, n, n, Matrix<const float>{a.data(), n, 1}, Matrix<const float>{b.data(), n, 1},
         Matrix<float>{c.data(), n, 1}, 0.0f);
    best = std::max(best, 2.0 * n * n * n / us_between(start, Clock::now()) / 1e3);
  }
  return best;
}

class Report {
 public:
  static Report& get() {
    static Report report;
    return report;
  }

  ~Report() {
    if (trace_) {
      std::fputs("\n]}\n", trace_);
      std::fclose(trace_);
    }
    if (switched_on("REEL_EXPLAIN") && !entries_.empty()) print();
  }

  void add(Phase phase, double us) {
    const std::lock_guard lock(mutex_);
    phases_[static_cast<size_t>(phase)].count++;
    phases_[static_cast<size_t>(phase)].us += us;
  }

  void add(const Plan& plan, const Step& step, Clock::time_point start, Clock::time_point end,
           std::optional<double> share) {
    const std::lock_guard lock(mutex_);
    const std::string label = (share ? kInLevels : "") + text_of(plan, step);
    Entry& e = entries_[label];
    ++e.count;
    e.us += us_between(start, end);
    e.flops += flops_of(plan, step) * share.value_or(1);
    for (uint32_t k = 0; k < step.inputs + step.outputs; ++k) {
      const PlannedValue& v = plan.values[static_cast<size_t>(plan.operands[step.first + k])];
      e.bytes +=
          static_cast<double>(v.shape.numel()) * static_cast<double>(size_of(v.dtype)) * share.value_or(1);
    }
    if (trace_) {
      fmt::print(trace_,
                 "{}{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{:.3f},\"dur\":{:.3f}}}",
                 first_ ? "\n" : ",\n", label, us_between(begin_, start), us_between(start, end));
      first_ = false;
    }
  }

 private:
  Report() {
    const char* path = std::getenv("REEL_TRACE");
    if (!path || !*path) return;
    trace_ = std::fopen(path, "w");
    if (!trace_) {
      fmt::print(stderr, "REEL_TRACE: {} cannot be written\n", path);
      return;
    }
    std::fputs("{\"traceEvents\":[", trace_);
  }

  void print() const {
    double total = 0;
    for (const auto& [label, e] : entries_) {
      if (!label.starts_with(kInLevels)) total += e.us;
    }
    std::vector<std::pair<std::string, Entry>> rows(entries_.begin(), entries_.end());
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.second.us > b.second.us; });
    fmt::print(stderr, "\nsteps that ran: {:.1f} ms in all; the machine multiplies at {:.0f} GFLOP/s\n",
               total / 1e3, peak_);
    fmt::print(stderr, "{:>7} {:>9} {:>9} {:>8} {:>7} {:>7}  step\n", "share", "ms", "times", "us each",
               "GFLOP/s", "GB/s");
    const size_t shown = std::min<size_t>(rows.size(), 60);
    for (size_t k = 0; k < shown; ++k) {
      const auto& [label, e] = rows[k];
      fmt::print(stderr, "{:6.1f}% {:9.2f} {:9} {:8.2f} {:>7} {:7.1f}  {}\n", 100 * e.us / total, e.us / 1e3,
                 e.count, e.us / static_cast<double>(e.count),
                 e.flops > 0 ? fmt::format("{:.1f}", e.flops / e.us / 1e3) : "", e.bytes / e.us / 1e3, label);
    }
    if (rows.size() > shown) fmt::print(stderr, "and {} smaller ones\n", rows.size() - shown);
    fmt::print(stderr, "\nbetween recording and results:\n");
    for (size_t k = 0; k < phases_.size(); ++k) {
      fmt::print(stderr, "{:9.2f} ms {:9} times  {}\n", phases_[k].us / 1e3, phases_[k].count, kPhases[k]);
    }
  }

  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
  std::array<Entry, static_cast<size_t>(Phase::count)> phases_{};
  std::FILE* trace_ = nullptr;
  bool first_ = true;
  const double peak_ = peak_gflops();  // now: when the program ends, kernels are gone
  const Clock::time_point begin_ = Clock::now();
};

}  // namespace

bool on() {
  static const bool on = switched_on("REEL_EXPLAIN") || switched_on("REEL_TRACE");
  return on;
}

Scope::~Scope() {
  if (!on_) return;
  const Clock::time_point end =
      Clock::now();  // before the report, which measures the machine when it is made
  Report::get().add(phase_, us_between(start_, end));
}

void step_ran(const Plan& plan, const Step& step, Clock::time_point start, Clock::time_point end,
              std::optional<double> share) {
  Report::get().add(plan, step, start, end, share);
}

}  // namespace reel::plan::explain
