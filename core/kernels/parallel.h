// Threads by size of work: one pool of our own, on which everything runs, oneDNN's calls included (each on
// one thread).
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace reel {

// A callable that somebody else keeps alive.
template <class... Args>
class Callable {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Callable>)
      Callable(F&& f)  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) {
          (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  void operator()(Args... args) const { call_(object_, args...); }

 private:
  void* object_;
  void (*call_)(void*, Args...);
};

// Work, in elementary operations, below which a second thread costs more than it brings.
inline constexpr int64_t kWorkPerThread = 8192;

// 1 inside a body that already runs on the pool.
int threads_for(int64_t work);

// Calls body(begin, end) over pieces of [0, n). `cost` is the work of one index. Pieces depend on the number
// of threads, so bodies must not reduce across indices.
void parallel_for(int64_t n, int64_t cost, Callable<int64_t, int64_t> body);

// Calls body(i) once for each i in [0, n), at the same time where threads are free: usually i on the i-th
// thread, always the same one, so that its caches serve again. The caller takes 0 and whatever no other
// thread has begun by then, so bodies must not wait for each other; what stands in thread_local memory
// belongs to the thread, not to i. Inside, everything else runs on one thread. The first error is passed on.
void run_on_threads(int n, Callable<int> body);

// Calls body() on another thread while this one goes on, or in wait() where no other has begun by then.
// Somebody else keeps the body alive. Other work for threads waits until it is done.
class Ahead {
 public:
  explicit Ahead(Callable<> body);
  ~Ahead();
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;
  void wait();  // passes an error on

 private:
  struct Work;
  std::unique_ptr<Work> work_;
};

// Work for several threads is about to come: those that sleep begin to wake.
void rouse_threads();

// While it lives, libgomp (and so oneDNN) gives calls of this thread no second one.
class LibraryOnOneThread {
 public:
  LibraryOnOneThread();
  ~LibraryOnOneThread();
  LibraryOnOneThread(const LibraryOnOneThread&) = delete;
  LibraryOnOneThread& operator=(const LibraryOnOneThread&) = delete;

 private:
  int before_;
};

}  // namespace reel
