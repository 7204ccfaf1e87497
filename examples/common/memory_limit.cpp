// Owns the reading of what the kernel says about memory; all numbers are bytes.
#include "examples/common/memory_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace reel::examples {
namespace {

// "MemAvailable:   1234 kB"
std::uint64_t kilobytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  for (std::string word; file >> word;) {
    if (word == key + ":" && file >> value) return value << 10;
  }
  return 0;
}

std::optional<std::uint64_t> number(const char* path) {
  std::uint64_t value = 0;
  if (std::ifstream file(path); file >> value) return value;
  return std::nullopt;  // not there, or "max"
}

// What the container may still take; version 2 of control groups, then version 1.
std::uint64_t left_in_container() {
  for (const auto& [most, used] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const auto limit = number(most);
    if (limit) return *limit - std::min(*limit, number(used).value_or(0));
  }
  return std::numeric_limits<std::uint64_t>::max();
}

}  // namespace

void limit_memory() {
  const std::uint64_t left =
      kilobytes("/proc/meminfo", "MemAvailable") + kilobytes("/proc/meminfo", "SwapFree");
  if (left == 0) return;  // the kernel does not say
  rlimit limit{};
  if (::getrlimit(RLIMIT_DATA, &limit) != 0) return;
  const std::uint64_t ours = std::min(left, left_in_container());  // but a sixteenth, for who else is here
  const std::uint64_t most = kilobytes("/proc/self/status", "VmData") + ours - ours / 16;
  limit.rlim_cur = std::min<rlim_t>({most, limit.rlim_cur, limit.rlim_max});
  ::setrlimit(RLIMIT_DATA, &limit);
}

}  // namespace reel::examples
