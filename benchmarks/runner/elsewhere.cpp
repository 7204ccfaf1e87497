#include "benchmarks/runner/elsewhere.h"

#include <fmt/format.h>
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "benchmarks/passes.h"
#include "benchmarks/runner/contestant.h"
#include "core/error.h"

namespace reel::bench {

namespace {

struct Named {
  const Workload& workload;
  Variant variant;
  int threads;
};

const Workload& find_workload(const std::string& name) {
  for (const auto* list : {&workloads(), &sweeps()}) {
    for (const Workload& workload : *list) {
      if (workload.name == name) return workload;
    }
  }
  fail("there is no workload '{}'", name);
}

Variant find_variant(const Workload& workload, const std::string& name) {
  for (const Variant& v : with_ablations(workload)) {
    if (v.name == name) return v;
  }
  fail("{} has no variant '{}'", workload.name, name);
}

Named parse(const std::string& name) {
  const size_t a = name.find('/'), b = name.rfind('/');
  if (a == std::string::npos || a == b) fail("'{}' names no variant: want W3/planned/2", name);
  const Workload& workload = find_workload(name.substr(0, a));
  return {workload, find_variant(workload, name.substr(a + 1, b - a - 1)), std::stoi(name.substr(b + 1))};
}

// A warm-up on W2 would show these a structure they are made of.
bool same_structure_as_w2(const std::string& workload) {
  return workload == "W9" || workload == "W2-penalty" || workload == "depth-1";
}

// Three steps of another workload, by the engine and by hand: what libraries do once is done.
void warm_libraries(const std::string& other, const Named& named) {
  if (named.workload.name == other) return;
  const Workload& workload = find_workload(other);
  for (const char* variant : {"planned", "hand"}) {
    contestant(workload, find_variant(workload, variant), named.threads)->run(3);
  }
}

// A field of /proc/self/status, in MB.
double status(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field + ":")) return std::stod(line.substr(field.size() + 1)) / 1024;
  }
  fail("/proc/self/status has no {}", field);
}

}  // namespace

void warm_up(int threads) {
  const auto machine = peak(threads);
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(300)) machine->run(1);
}

std::string name_of(const std::string& workload, const std::string& variant, int threads) {
  return fmt::format("{}/{}/{}", workload, variant, threads);
}

double first_step(const std::string& name) {
  const Named named = parse(name);
  warm_up(named.threads);
  warm_libraries("W1", named);
  if (!same_structure_as_w2(named.workload.name)) warm_libraries("W2", named);
  return contestant(named.workload, named.variant, named.threads)->run(1).at(0);
}

double peak_memory(const std::string& name) {
  mallopt(M_MMAP_THRESHOLD, 1 << 17);  // fixed: what is freed leaves the process
  const Named named = parse(name);
  warm_up(named.threads);
  warm_libraries("W1", named);
  set_num_threads(named.threads);
  const Weights weights = named.workload.weights();
  malloc_trim(0);
  const double before = status("VmRSS");
  const auto stepper = named.variant.make(weights);
  std::ofstream("/proc/self/clear_refs") << 5 << std::flush;  // VmHWM begins anew
  for (int64_t k = 0; k < 3; ++k) stepper->step(k);
  return status("VmHWM") - before;
}

std::optional<double> elsewhere(const std::string& flag, const std::string& name) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::FILE* pipe = popen(fmt::format("'{}' {} {}", self, flag, name).c_str(), "r");
  if (!pipe) return {};
  char line[64] = "";
  const bool answered = std::fgets(line, sizeof line, pipe) != nullptr;
  if (pclose(pipe) != 0 || !answered) return {};
  return std::atof(line);
}

}  // namespace reel::bench
