// What the rounds gave: a table on stdout, rows in a file.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace reel::bench {

struct Row {
  std::string workload, variant, dtype;
  int threads;
  double ms, low, high;  // a step: the median of the rounds, and what a tenth of them is below and above
  int64_t rounds;
  std::optional<double> first_ms;  // the first step of a structure never seen before
  std::optional<double> peak_mb;   // of memory, in MB
  double gflops;                   // of its matrix products; 0: unknown
};

// Of a workload at a number of threads: medians, and ratios to the yardstick, which is the faster of hand and
// dnnl in f32, or the first-order step where the workload is of second order; memory with its ratio to
// hand's.
std::string table(const std::vector<Row>& rows);
// "W3_planned_2=412.1 W3_planned_2_ratio=1.03 ..": the variants of reel itself.
std::string result_line(const std::vector<Row>& rows);
void write_json(const std::vector<Row>& rows, const std::string& path);

}  // namespace reel::bench
