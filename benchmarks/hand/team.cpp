#include "benchmarks/hand/team.h"

#include <algorithm>
#include <thread>

#include "core/error.h"

extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
void omp_set_num_threads(int threads);
}

namespace reel::bench::hand {

void Barrier::wait() {
  if (size_ == 1) return;
  const int round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
    if (spins > 100000) std::this_thread::yield();  // the other one is not running
  }
}

Share share_of(int64_t n, int index, int size, int64_t grain) {
  const int64_t grains = (n + grain - 1) / grain;
  const auto edge = [&](int64_t i) { return std::min(n, grains * i / size * grain); };
  return {edge(index), edge(index + 1)};
}

void limit_library_threads(int threads) { omp_set_num_threads(threads); }

void together(int threads, const std::function<void(const Member&)>& body) {
  limit_library_threads(1);
  Barrier barrier(threads);
  if (threads == 1) return body({0, 1, &barrier});
  struct Job {
    const std::function<void(const Member&)>* body;
    Barrier* barrier;
    int threads;
  } job{&body, &barrier, threads};
  GOMP_parallel(
      [](void* data) {
        const Job& job = *static_cast<Job*>(data);
        if (omp_get_num_threads() != job.threads) fail("libgomp gave fewer than {} threads", job.threads);
        (*job.body)({omp_get_thread_num(), job.threads, job.barrier});
      },
      &job, static_cast<unsigned>(threads), 0);
}

}  // namespace reel::bench::hand
