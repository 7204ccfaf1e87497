#include "core/kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "core/error.h"
#include "core/tensor.h"

// libgomp's stable entry points, called without the compiler's OpenMP: clang's would bring a second runtime
// along.
extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
int omp_in_parallel(void);
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);
}

namespace reel {

namespace {

int default_threads() {
  static const int threads = std::max(1, omp_get_max_threads());
  return threads;
}
std::atomic<int> chosen{0};

struct Job {
  const std::function<void(int64_t, int64_t)>* body;
  int64_t n;
  std::exception_ptr error;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;

  void run_piece(int index, int count) {
    const int64_t begin = n * index / count;
    const int64_t end = n * (index + 1) / count;
    if (begin == end) return;
    try {
      (*body)(begin, end);
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  }
};

}  // namespace

void set_num_threads(int threads) {
  if (threads < 0 || threads > 1024) fail("set_num_threads: got {}, want 0 (all cores) to 1024", threads);
  chosen = threads;
}

int num_threads() {
  const int threads = chosen;
  return threads > 0 ? threads : default_threads();
}

int threads_for(int64_t work) {
  if (work < 2 * kWorkPerThread || omp_in_parallel()) return 1;
  return static_cast<int>(std::min<int64_t>(num_threads(), work / kWorkPerThread));
}

void limit_library_threads(int threads) {
  default_threads();  // asks libgomp before its answer becomes the limit set here
  omp_set_num_threads(threads);
}

void parallel_for(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t)>& body) {
  if (n <= 0) return;
  const int threads = static_cast<int>(std::min<int64_t>(n, threads_for(n * std::max<int64_t>(cost, 1))));
  if (threads <= 1) return body(0, n);
  Job job{.body = &body, .n = n, .error = {}};
#if defined(__SANITIZE_THREAD__)
  // The thread sanitizer cannot see libgomp's barriers; it checks the same pieces on threads it knows.
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back([&job, i, threads] { job.run_piece(i, threads); });
  for (std::thread& w : workers) w.join();
#else
  GOMP_parallel(
      [](void* data) { static_cast<Job*>(data)->run_piece(omp_get_thread_num(), omp_get_num_threads()); },
      &job, static_cast<unsigned>(threads), 0);
#endif
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace reel
