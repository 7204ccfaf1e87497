#include "core/buffer.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/environment.h"
#include "core/error.h"
#include "core/kernels/parallel.h"

namespace reel {

namespace {

// Freed blocks wait in a pool, by size class, for the next of their size: a training loop allocates nothing
// new. Classes are eighths of a power of two (at most 12 % is wasted). The pool keeps at most kPoolLimit
// bytes.
constexpr size_t kPoolLimit = size_t{256} << 20;

size_t round_to_class(size_t bytes) {
  if (bytes < 512) return (bytes + 63) / 64 * 64;
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

bool poison() {
  static const bool on = switched_on("REEL_POISON");
  return on;
}

thread_local bool pool_closed = false;  // outlives the pool, for handles that outlive their thread

}  // namespace

struct Buffer::Pool {
  std::vector<std::vector<Block*>> bins;
  MemoryUse use;

  // Of a class of size: those below 512 are multiples of 64, then there are eight for each power of two.
  std::vector<Block*>& bin(size_t size) {
    const auto power = static_cast<size_t>(std::bit_width(size) - 1);
    const size_t k = size < 512 ? size / 64 : 8 * (power - 8) + ((size >> (power - 3)) - 8);
    if (k >= bins.size()) bins.resize(k + 1);
    return bins[k];
  }

  // One of a class of size, if there is one; one with known zeros, if possible, where that is asked for.
  Block* take(size_t size, bool zeros) {
    std::vector<Block*>& blocks = bin(size);
    if (blocks.empty()) return nullptr;
    const auto known = [](const Block* b) { return b->stretches && !b->stretches->empty(); };
    const auto found = zeros ? std::find_if(blocks.rbegin(), blocks.rend(), known) : blocks.rend();
    if (found != blocks.rend()) std::swap(*found, blocks.back());
    Block* block = blocks.back();
    blocks.pop_back();
    use.pooled -= size;
    constexpr size_t kSoon = 8;  // a step's many small constants are made one after another
    if (blocks.size() >= kSoon) {
      __builtin_prefetch(blocks[blocks.size() - kSoon], 1);
      __builtin_prefetch(reinterpret_cast<std::byte*>(blocks[blocks.size() - kSoon]) + kHeader, 1);
    }
    return block;
  }

  ~Pool() {
    for (std::vector<Block*>& blocks : bins) {
      for (Block* block : blocks) Buffer::free(block);
    }
    pool_closed = true;
  }
};

thread_local Buffer::Pool Buffer::pool_;

void Buffer::free(Block* block) {
  delete block->stretches;
  std::free(block);
}

Buffer::Buffer(size_t bytes, bool for_rows) {
  const size_t size = round_to_class(bytes + kHeader);
  block_ = pool_.take(size, for_rows);
  if (!block_) {
    void* memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory) {
      fail("out of memory: could not get {} bytes (held by live values: {} bytes, kept for reuse: {} bytes)",
           bytes, pool_.use.live, pool_.use.pooled);
    }
    block_ = static_cast<Block*>(memory);
    block_->stretches = nullptr;
  }
  pool_.use.live += size;
  block_->refs = 1;
  block_->size_class = size;
  block_->pool = &pool_;
  if (!for_rows) written();
  const bool known = block_->stretches && !block_->stretches->empty();
  if (poison() && !known) std::memset(data(), 0xff, bytes);
}

void Buffer::release() {
  if (!block_ || --block_->refs > 0) return;
  const size_t size = block_->size_class;
  if (pool_closed || block_->pool != &pool_) {  // a handle that outlived its thread
    free(block_);
    return;
  }
  pool_.use.live -= size;
  if (pool_.use.pooled + size > kPoolLimit) {
    free(block_);
  } else {
    pool_.bin(size).push_back(block_);
    pool_.use.pooled += size;
  }
}

bool Buffer::clear_rows(size_t bytes) {
  if (!block_->stretches) block_->stretches = new std::vector<std::pair<size_t, size_t>>;
  auto& stretches = *block_->stretches;
  const bool known = !stretches.empty() && stretches[0].second >= bytes;
  const auto zero = [&](int64_t first, int64_t last) {  // these, counted from the one behind the whole
    for (auto k = static_cast<size_t>(first) + 1; k < static_cast<size_t>(last) + 1; ++k) {
      constexpr size_t kSoon = 3;
      const auto [begin, end] =
          k + kSoon < stretches.size() ? stretches[k + kSoon] : std::pair<size_t, size_t>();
      for (size_t at = begin; at < end; at += 64) __builtin_prefetch(data() + at, 1);
      std::memset(data() + stretches[k].first, 0, stretches[k].second - stretches[k].first);
    }
  };
  if (known && stretches.size() > 1) {
    const size_t row = stretches[1].second - stretches[1].first;
    parallel_for(static_cast<int64_t>(stretches.size() - 1), static_cast<int64_t>(row / sizeof(float)), zero);
  }
  if (!known) stretches.assign(1, {0, bytes});
  stretches.resize(1);
  return known;
}

void Buffer::rows_written(std::span<const int64_t> rows, size_t row_bytes) {
  auto& stretches = *block_->stretches;
  const size_t all = stretches[0].second;
  if ((stretches.size() - 1 + rows.size()) * row_bytes >= all) return stretches.assign({{0, all}, {0, all}});
  for (const int64_t row : rows) {
    const size_t begin = static_cast<size_t>(row) * row_bytes;
    if (row >= 0 && begin + row_bytes <= all) stretches.emplace_back(begin, begin + row_bytes);
  }
}

MemoryUse Buffer::use() { return pool_.use; }
MemoryUse memory_use() { return Buffer::use(); }

}  // namespace reel
