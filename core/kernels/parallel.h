// Threads by size of work. The pool is libgomp's, which oneDNN uses too: never two pools in one process.
#pragma once

#include <cstdint>
#include <functional>

namespace reel {

// Work, in elementary operations, below which a second thread costs more than it brings.
inline constexpr int64_t kWorkPerThread = 131072;

int threads_for(int64_t work);

// Calls body(begin, end) over pieces of [0, n). `cost` is the work of one index. Pieces depend on the number
// of threads, so bodies must not reduce across indices.
void parallel_for(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t)>& body);

// Tells libgomp (and so oneDNN) how many threads the next call of this thread may take.
void limit_library_threads(int threads);

}  // namespace reel
