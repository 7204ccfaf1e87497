// Threads that run one program together: each has its share of the rows, and they wait for each other only
// where one reads what another wrote.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace reel::bench::hand {

// A barrier that spins: waking a sleeping thread takes tens of microseconds, a small step a few hundred.
class Barrier {
 public:
  explicit Barrier(int size) : size_(size) {}
  void wait();

 private:
  const int size_;
  std::atomic<int> arrived_{0};
  std::atomic<int> round_{0};
};

struct Share {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// The part of [0, n) that falls to one of `size` members, cut at multiples of `grain`.
Share share_of(int64_t n, int index, int size, int64_t grain = 1);

struct Member {
  int index, size;
  Barrier* barrier;
  Share share(int64_t n, int64_t grain = 1) const { return share_of(n, index, size, grain); }
  void wait() const { barrier->wait(); }
};

// Runs body on `threads` threads at once; library calls inside run on the calling thread alone.
void together(int threads, const std::function<void(const Member&)>& body);

// How many threads libgomp, and so oneDNN, may take for the next calls of this thread.
void limit_library_threads(int threads);

}  // namespace reel::bench::hand
