// Memory: 64-byte aligned buffers, reference-counted, kept for reuse by size when freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace reel {

// Bytes held by live buffers and by the pool of freed ones, on this thread.
struct MemoryUse {
  size_t live = 0;
  size_t pooled = 0;
};

// A block of memory that several values may look at. Counted without atomics: a value belongs to one thread.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) : Buffer(bytes, false) {}  // contents undefined (NaN under REEL_POISON=1)
  // One that will be zeros but for some rows, such as the gradient of an embedding: rather a block that was
  // so before, and then has only those rows to clear.
  static Buffer for_rows(size_t bytes) { return Buffer(bytes, true); }
  // Only rows_written() write to it from now on. False where what is in it is not known: the caller zeroes
  // it.
  bool clear_rows(size_t bytes);
  void rows_written(std::span<const int64_t> rows, size_t row_bytes);
  // Somebody writes to it in place.
  void written() {
    if (block_ && block_->stretches) block_->stretches->clear();
  }
  Buffer(const Buffer& other) : block_(other.block_) {
    if (block_) ++block_->refs;
  }
  Buffer(Buffer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Buffer() { release(); }

  static MemoryUse use();
  std::byte* data() const { return block_ ? reinterpret_cast<std::byte*>(block_) + kHeader : nullptr; }
  bool shared() const { return block_ && block_->refs > 1; }
  explicit operator bool() const { return block_ != nullptr; }
  void prefetch() const { __builtin_prefetch(block_, 1); }

 private:
  static constexpr size_t kHeader = 64;
  struct Block {
    uint64_t refs;
    uint64_t size_class;
    const void* pool;  // of the thread that made it
    // All is zero but for the stretches after the first, which says up to where; unknown where there is none.
    std::vector<std::pair<size_t, size_t>>* stretches;  // begin, end
  };
  struct Pool;
  static thread_local Pool pool_;
  Buffer(size_t bytes, bool for_rows);
  static void free(Block* block);
  void release();
  Block* block_ = nullptr;
};

MemoryUse memory_use();

// A strided view of memory: what a kernel reads and writes. Strides count elements.
struct Array {
  std::byte* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Strides strides{};

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  int64_t stride(int axis) const { return strides[static_cast<size_t>(axis)]; }
  bool contiguous() const { return is_contiguous(shape, strides); }
};

}  // namespace reel
