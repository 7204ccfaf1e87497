#include "core/buffer.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/environment.h"
#include "core/error.h"

namespace reel {

namespace {

// Freed blocks wait here, by size class, for the next of their size: a training loop allocates nothing new.
// Classes are eighths of a power of two (at most 12 % is wasted). The pool keeps at most kPoolLimit bytes.
constexpr size_t kPoolLimit = size_t{256} << 20;

size_t round_to_class(size_t bytes) {
  if (bytes < 512) return (bytes + 63) / 64 * 64;
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

struct Pool {
  std::vector<std::vector<void*>> bins;
  MemoryUse use;

  // Of a class of size: those below 512 are multiples of 64, then there are eight for each power of two.
  std::vector<void*>& bin(size_t size) {
    const auto power = static_cast<size_t>(std::bit_width(size) - 1);
    const size_t k = size < 512 ? size / 64 : 8 * (power - 8) + ((size >> (power - 3)) - 8);
    if (k >= bins.size()) bins.resize(k + 1);
    return bins[k];
  }
  void trim() {
    for (std::vector<void*>& blocks : bins) {
      for (void* block : blocks) std::free(block);
    }
    bins.clear();
    use.pooled = 0;
  }
  ~Pool();
};
thread_local Pool pool;
thread_local bool pool_closed = false;  // outlives the pool, for handles that outlive their thread

Pool::~Pool() {
  trim();
  pool_closed = true;
}

bool poison() {
  static const bool on = switched_on("REEL_POISON");
  return on;
}

}  // namespace

Buffer::Buffer(size_t bytes) {
  const size_t size = round_to_class(bytes + kHeader);
  std::vector<void*>& bin = pool.bin(size);
  void* memory = nullptr;
  if (!bin.empty()) {
    memory = bin.back();
    bin.pop_back();
    pool.use.pooled -= size;
  } else {
    memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory) {
      fail("out of memory: could not get {} bytes (held by live values: {} bytes, kept for reuse: {} bytes)",
           bytes, pool.use.live, pool.use.pooled);
    }
  }
  pool.use.live += size;
  block_ = static_cast<Block*>(memory);
  block_->refs = 1;
  block_->size_class = size;
  block_->pool = &pool;
  if (poison()) std::memset(data(), 0xff, bytes);
}

void Buffer::release() {
  if (!block_ || --block_->refs > 0) return;
  const size_t size = block_->size_class;
  if (pool_closed || block_->pool != &pool) {  // a handle that outlived its thread
    std::free(block_);
    return;
  }
  pool.use.live -= size;
  if (pool.use.pooled + size > kPoolLimit) {
    std::free(block_);
  } else {
    pool.bin(size).push_back(block_);
    pool.use.pooled += size;
  }
}

MemoryUse memory_use() { return pool.use; }

}  // namespace reel
