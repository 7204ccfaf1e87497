// The one place that knows oneDNN, and what differs between its versions 2.6 and 3.x.
#pragma once

#include <cstdint>
#include <string>

#include "core/kernels/gemm.h"

namespace reel::dnnl_wall {

// oneDNN's BLAS-like routine: best for plain and transposed A.
void sgemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
           float beta);

// The matmul primitive: best for transposed B with few rows. Ready primitives are kept, at most kPrimitives
// of them.
inline constexpr size_t kPrimitives = 512;
void matmul(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
            float beta);

struct CacheStats {
  uint64_t hits = 0, misses = 0, held = 0;
};
CacheStats cache_stats();

std::string version();           // of the library that runs, "2.6.3"
std::string compiled_version();  // of the headers it was compiled with

}  // namespace reel::dnnl_wall
