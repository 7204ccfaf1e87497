// Memory: 64-byte aligned buffers, reference-counted, kept for reuse by size when freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/dtype.h"
#include "core/shape.h"

namespace reel {

// A block of memory that several values may look at. Counted without atomics: a value belongs to one thread.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);  // contents undefined (NaN patterns under REEL_POISON=1)
  Buffer(const Buffer& other) : block_(other.block_) {
    if (block_) ++block_->refs;
  }
  Buffer(Buffer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Buffer() { release(); }

  std::byte* data() const { return block_ ? reinterpret_cast<std::byte*>(block_) + kHeader : nullptr; }
  bool shared() const { return block_ && block_->refs > 1; }
  explicit operator bool() const { return block_ != nullptr; }

 private:
  static constexpr size_t kHeader = 64;
  struct Block {
    uint64_t refs;
    uint64_t size_class;
    const void* pool;  // of the thread that made it
  };
  void release();
  Block* block_ = nullptr;
};

// Bytes held by live buffers and by the pool of freed ones, on this thread.
struct MemoryUse {
  size_t live = 0;
  size_t pooled = 0;
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
