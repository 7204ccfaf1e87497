// Shapes: up to six dimensions held in place, NumPy's broadcasting rule, row-major strides.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace reel {

inline constexpr int kMaxRank = 6;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return dims_[static_cast<size_t>(axis)]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }

  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : *this) n *= d;
    return n;
  }
  void push_back(int64_t dim);
  void erase(int axis);
  void insert(int axis, int64_t dim);

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i) {
      if ((*this)[i] != other[i]) return false;
    }
    return true;
  }

  std::string str() const;  // "[2, 3]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

using Strides = std::array<int64_t, kMaxRank>;

Strides row_major(const Shape& shape);
bool is_contiguous(const Shape& shape, const Strides& strides);

// NumPy's rule: aligned at the right, equal or 1. False where they do not fit.
bool broadcast(const Shape& a, const Shape& b, Shape& out);

// The strides that read a value of shape `from` as if it had shape `to`: 0 along every broadcast axis.
Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to);

// A negative axis counts from the end. Throws where there is no such axis; `op` opens the sentence.
int normal_axis(int64_t axis, int rank, const char* op);

// The number of elements; throws where it does not fit into memory's address space.
int64_t checked_numel(const Shape& shape);

}  // namespace reel

template <>
struct fmt::formatter<reel::Shape> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const reel::Shape& shape, Context& context) const {
    return fmt::formatter<std::string>::format(shape.str(), context);
  }
};
