#include "core/kernels/parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

// libgomp's stable entry points, called without the compiler's OpenMP: clang's would bring a second runtime
// along.
extern "C" {
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
thread_local bool inside = false;  // a body that runs on the pool

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until ready() with the core kept, at most for about as long as waking a sleeper takes.
template <class F>
bool spin(const F& ready) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::microseconds(60);
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return ready();
}

struct Region {
  Callable<int> body;
  int n;
  std::atomic<int> next;  // pieces that no thread was given
  std::exception_ptr error = nullptr;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  bool done = false;  // of what was begun ahead

  void run(int i) {
    try {
      body(i);
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  }
  void run_rest() {
    for (int i = next.fetch_add(1); i < n; i = next.fetch_add(1)) run(i);
  }
};

// A thread that waits for one piece at a time. The caller posts it and may take it back while nobody has
// begun, so a thread that gets no core costs nothing.
class Worker {
 public:
  void start(int index) {
    std::thread([this, index] {
      omp_set_num_threads(1);
      inside = true;
      for (;;) serve(index);
    }).detach();
  }
  void post(Region& region) {
    region_ = &region;
    if (state_.exchange(kPosted) == kAsleep) state_.notify_one();
  }
  void rouse() {
    int expected = kAsleep;
    if (state_.compare_exchange_strong(expected, kIdle)) state_.notify_one();
  }
  bool take_back() {
    int expected = kPosted;
    return state_.compare_exchange_strong(expected, kIdle);
  }
  void wait_until_done() {
    const auto done = [this] { return state_.load() != kRunning; };
    while (!spin(done)) state_.wait(kRunning);
  }

 private:
  enum State : int { kIdle, kAsleep, kPosted, kRunning };

  void serve(int index) {
    if (!spin([this] { return state_.load() == kPosted; })) {
      int expected = kIdle;
      if (state_.compare_exchange_strong(expected, kAsleep)) state_.wait(kAsleep);
    }
    int expected = kPosted;
    if (!state_.compare_exchange_strong(expected, kRunning)) return;
    region_->run(index);
    region_->run_rest();
    state_.store(kIdle);
    state_.notify_one();
  }

  alignas(64) std::atomic<int> state_{kIdle};
  Region* region_ = nullptr;
};

// Serves one caller at a time; the others do their work alone.
class Pool {
 public:
  void rouse() {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock) return;
    for (const auto& worker : workers_) worker->rouse();
  }

  // Gives it to a thread that does it when it can; false where there is none.
  bool begin(Region& region) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock || ahead_ || grow(1) < 1) return false;
    ahead_ = &region;
    workers_[0]->post(region);
    return true;
  }
  // Whether it is done; where it was not begun, it will not be.
  bool end(Region& region) {
    const std::unique_lock lock(busy_);
    if (ahead_ == &region) settle();
    return region.done;
  }

  bool run(Region& region) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock) return false;
    settle();
    const int helpers = grow(std::min(region.n, num_threads()) - 1);
    region.next = helpers + 1;
    for (int i = 0; i < helpers; ++i) workers_[static_cast<size_t>(i)]->post(region);
    region.run(0);
    region.run_rest();
    for (int i = 0; i < helpers; ++i) {
      Worker& worker = *workers_[static_cast<size_t>(i)];
      if (worker.take_back()) {
        region.run(i + 1);
      } else {
        worker.wait_until_done();
      }
    }
    return true;
  }

 private:
  // What was given ahead is done, or taken back.
  void settle() {
    if (!ahead_) return;
    Worker& worker = *workers_[0];
    if (!worker.take_back()) {
      worker.wait_until_done();
      ahead_->done = true;
    }
    ahead_ = nullptr;
  }

  // Threads that exist, at most `want`. They receive no signals: oneDNN's stack is no place for a handler.
  int grow(int want) {
    const int have = static_cast<int>(workers_.size());
    if (have >= want) return want;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      workers_.reserve(static_cast<size_t>(want));
      for (int i = have; i < want; ++i) {
        auto worker = std::make_unique<Worker>();
        worker->start(i + 1);
        workers_.push_back(std::move(worker));
      }
    } catch (const std::exception&) {  // the system gives no more threads: do with those there are
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return static_cast<int>(workers_.size());
  }

  std::mutex busy_;
  Region* ahead_ = nullptr;
  std::vector<std::unique_ptr<Worker>> workers_;
};

// Never destroyed: threads wait in it until the process ends. A forked child has none of them and starts
// anew.
std::atomic<Pool*> current{nullptr};
Pool& pool() {
  static const bool made = [] {
    current = new Pool;
    pthread_atfork(nullptr, nullptr, [] { current = new Pool; });
    return true;
  }();
  static_cast<void>(made);
  return *current;
}

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
  if (work < 2 * kWorkPerThread || inside || omp_in_parallel()) return 1;
  return static_cast<int>(std::min<int64_t>(num_threads(), work / kWorkPerThread));
}

void rouse_threads() {
  if (num_threads() > 1 && !inside) pool().rouse();
}

LibraryOnOneThread::LibraryOnOneThread() : before_(omp_get_max_threads()) {
  default_threads();  // asks libgomp before its answer becomes the limit set here
  if (before_ != 1) omp_set_num_threads(1);
}
LibraryOnOneThread::~LibraryOnOneThread() {
  if (before_ != 1) omp_set_num_threads(before_);
}

void run_on_threads(int n, Callable<int> body) {
  if (n <= 0) return;
  Region region{.body = body, .n = n, .next = 0};
  const bool outer = inside;
  inside = true;
  if (n == 1 || outer || omp_in_parallel() || num_threads() == 1 || !pool().run(region)) region.run_rest();
  inside = outer;
  if (region.error) std::rethrow_exception(region.error);
}

struct Ahead::Work {
  struct Call {
    Callable<> body;
    void operator()(int) const { body(); }
  } call;
  Region region{.body = call, .n = 1, .next = 1};
  bool given = false;
};

Ahead::Ahead(Callable<> body) : work_(new Work{.call = {body}}) {
  work_->given = !inside && !omp_in_parallel() && num_threads() > 1 && pool().begin(work_->region);
}

Ahead::~Ahead() {
  if (work_ && work_->given) pool().end(work_->region);
}

void Ahead::wait() {
  if (!work_) return;
  const std::unique_ptr<Work> work = std::move(work_);
  if (!work->given || !pool().end(work->region)) work->region.run(0);
  if (work->region.error) std::rethrow_exception(work->region.error);
}

void parallel_for(int64_t n, int64_t cost, Callable<int64_t, int64_t> body) {
  if (n <= 0) return;
  const int threads = static_cast<int>(std::min<int64_t>(n, threads_for(n * std::max<int64_t>(cost, 1))));
  if (threads <= 1) return body(0, n);
  run_on_threads(threads, [&](int i) { body(n * i / threads, n * (i + 1) / threads); });
}

}  // namespace reel
