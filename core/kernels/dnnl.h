// The one place that knows oneDNN, and what differs between its versions 2.6 and 3.x. Each call here runs on
// the calling thread alone; primitives, memory objects and scratch memory belong to the thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/kernels/gemm.h"

namespace reel::dnnl_wall {

// oneDNN's BLAS-like routine.
void sgemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
           float beta);

// The matmul primitive, in bf16. Ready ones are kept, at most kPrimitives of them a thread.
inline constexpr size_t kPrimitives = 512;
void matmul(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<float> c);

// How the matmul primitive likes to find its right side in bf16.
struct PackedLayout {
  size_t bytes = 0;
  // Blocks of kPanel columns lie one after another, each of this many bytes, its pairs of rows in order; 0
  // where oneDNN wants something else, which only its own reorder can write.
  size_t panel_bytes = 0;
};
inline constexpr int64_t kPanel = 64;
PackedLayout packed_layout(int64_t k, int64_t n);
void reorder(int64_t k, int64_t n, Matrix<const float> from, void* packed);

// `packed` has the layout of packed_layout(k, n); where that has panels, it may start at any of them.
void matmul_packed(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, const void* packed,
                   Matrix<float> c);

// Whether oneDNN multiplies bf16 by instructions made for it.
bool has_bf16();

struct CacheStats {
  uint64_t hits = 0, misses = 0, held = 0;
};
CacheStats cache_stats();  // this thread's

std::string version();           // of the library that runs, "2.6.3"
std::string compiled_version();  // of the headers it was compiled with

}  // namespace reel::dnnl_wall
