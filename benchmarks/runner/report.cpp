#include "benchmarks/runner/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace reel::bench {

namespace {

bool same_run(const Row& a, const Row& b) { return a.workload == b.workload && a.threads == b.threads; }

double yardstick(const std::vector<Row>& rows, const Row& row) {
  double best = 0;
  for (const Row& other : rows) {
    if (!same_run(row, other) || other.dtype != "f32") continue;
    if (other.variant != "hand" && other.variant != "dnnl" && other.variant != "first-order") continue;
    if (best == 0 || other.ms < best) best = other.ms;
  }
  return best;
}

double peak_of(const std::vector<Row>& rows, const Row& row) {
  for (const Row& other : rows) {
    if (same_run(row, other) && other.variant == "peak") return other.gflops;
  }
  return 0;
}

// "123.4 MB, 1.05 x hand"
std::string memory(const std::vector<Row>& rows, const Row& row) {
  if (!row.peak_mb) return "";
  std::string text = fmt::format(" {:.1f} MB", *row.peak_mb);
  for (const Row& other : rows) {
    if (!same_run(row, other) || other.variant != "hand" || other.dtype != "f32" || !other.peak_mb) continue;
    text += fmt::format(", {:.3f} x hand", *row.peak_mb / *other.peak_mb);
  }
  return text;
}

std::string or_dash(double value, const char* format) {
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "-";
}

// Four significant digits, and never an exponent.
std::string milliseconds(double ms) { return fmt::format("{:.{}f}", ms, ms < 1 ? 4 : ms < 100 ? 2 : 1); }

}  // namespace

std::string table(const std::vector<Row>& rows) {
  std::string text;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (i == 0 || !same_run(row, rows[i - 1])) {
      text += fmt::format("\n{}, {} thread{}{:>14} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9}\n", row.workload,
                          row.threads, row.threads == 1 ? " " : "s", "dtype", "ms", "low", "high", "x yard",
                          "GFLOP/s", "% peak", "first ms");
    }
    const double yard = yardstick(rows, row), peak = peak_of(rows, row);
    const bool is_peak = row.variant == "peak";
    text +=
        fmt::format("  {:<18} {:>7} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9}{}\n", row.variant, row.dtype,
                    is_peak ? "" : milliseconds(row.ms), is_peak ? "" : milliseconds(row.low),
                    is_peak ? "" : milliseconds(row.high),
                    is_peak || yard == 0 ? "-" : fmt::format("{:.3f}", row.ms / yard),
                    or_dash(row.gflops, "{:.1f}"), or_dash(peak > 0 ? 100 * row.gflops / peak : 0, "{:.0f}"),
                    row.first_ms ? milliseconds(*row.first_ms) : "-", memory(rows, row));
  }
  return text;
}

std::string result_line(const std::vector<Row>& rows) {
  std::string line = "result";
  for (const Row& row : rows) {
    if (row.variant != "planned" && row.variant != "hand") continue;
    const std::string key = fmt::format("{}_{}{}_{}", row.workload, row.variant,
                                        row.dtype == "f32" ? "" : "_" + row.dtype, row.threads);
    line += fmt::format(" {}={:.4f}", key, row.ms);
    const double yard = yardstick(rows, row);
    if (yard > 0) line += fmt::format(" {}_ratio={:.3f}", key, row.ms / yard);
  }
  return line;
}

void write_json(const std::vector<Row>& rows, const std::string& path) {
  std::ofstream file(path);
  for (const Row& row : rows) {
    nlohmann::ordered_json json{{"workload", row.workload}, {"variant", row.variant}, {"dtype", row.dtype},
                                {"threads", row.threads},   {"ms", row.ms},           {"low", row.low},
                                {"high", row.high},         {"rounds", row.rounds},   {"first_ms", nullptr}};
    if (row.first_ms) json["first_ms"] = *row.first_ms;
    if (row.peak_mb) json["peak_mb"] = *row.peak_mb;
    if (row.gflops > 0) json["gflops"] = row.gflops;
    file << json.dump() << '\n';
  }
  file.flush();
  if (!file) fail("cannot write {}", path);
}

}  // namespace reel::bench
