// One thread's run of a prepared pointwise program over a range of the outermost dimension.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/kernels/pointwise.h"
#include "core/kernels/simd.h"

namespace reel {

// Calls f(pointer of the array's type).
template <class F>
void with_type(DType dtype, std::byte* data, F&& f) {
  switch (dtype) {
    case DType::f32: return f(reinterpret_cast<float*>(data));
    case DType::f64: return f(reinterpret_cast<double*>(data));
    case DType::i64: return f(reinterpret_cast<int64_t*>(data));
    case DType::boolean: return f(reinterpret_cast<uint8_t*>(data));
  }
}

// A lane as an element: booleans are 0 and 1.
template <class To, class T>
To element(T lane) {
  if constexpr (std::is_same_v<To, uint8_t>) return lane != 0;
  return static_cast<To>(lane);
}

template <class T>
class PointwiseRun {
 public:
  // `copied`: inputs to be copied before outputs overwrite them.
  PointwiseRun(const PreparedPointwise& prepared, std::byte* const* data, const uint8_t* copied,
               std::span<const double> scalars)
      : p_(prepared), s_(scratch()), inner_axis_(static_cast<size_t>(p_.shape_.rank() - 1)) {
    s_.slots.resize(p_.operands_ + p_.outputs_.size());
    s_.numbers.resize(p_.constants_.size());
    s_.base.assign(data, data + p_.strides_.size());
    s_.at = s_.base;
    const auto lanes = static_cast<size_t>(p_.width_ * p_.block_rows_);
    stride_ = (lanes + 15) / 16 * 16;
    if (s_.rooms.size() < p_.rooms_ * stride_ + 16) s_.rooms.resize(p_.rooms_ * stride_ + 16);
    rooms_ = s_.rooms.data();
    while (reinterpret_cast<uintptr_t>(rooms_) % 64) ++rooms_;
    row_step_ = static_cast<ptrdiff_t>(p_.width_);
    prepare_slots(copied, scalars);
  }

  // Sums that are not added onto what is there begin at zero.
  void range(int64_t begin, int64_t end) {
    if (p_.sums_) {
      for (size_t j = 0; j < p_.outputs_.size(); ++j) {
        const auto& o = p_.outputs_[j];
        if (o.sums && (!o.add || o.partial))
          zero(p_.inputs_.size() + j, 0, s_.base[p_.inputs_.size() + j], begin, end);
      }
    }
    if (inner_axis_ == 0) return columns(0, begin, end);
    if (inner_axis_ == 1) return rows(begin, end);
    for (int64_t i = begin; i < end; ++i) outer(i);
  }

  // Indices [begin, end) of the outermost dimension by machine code alone, which needs no more than
  // addresses.
  static void bare_range(const PreparedPointwise& p, std::byte* const* data, std::span<const double> scalars,
                         int64_t begin, int64_t end) {
    LaneRows rows[PreparedPointwise::kMostAddresses];
    float numbers[PreparedPointwise::kMostAddresses];
    const bool flat = p.shape_.rank() == 1;
    bool joins = !flat;
    size_t count = 0, number = 0;
    for (const uint16_t slot : p.addresses_) {
      const size_t inputs = p.inputs_.size();
      if (slot >= inputs && slot < p.operands_) {
        const auto& c = p.constants_[number];
        numbers[number] = static_cast<float>(c.is_number ? c.number : scalars[c.scalar]);
        rows[count++] = {reinterpret_cast<std::byte*>(&numbers[number++]), 0};
        continue;
      }
      const size_t k = slot < inputs ? slot : inputs + slot - p.operands_;
      constexpr auto kBytes = static_cast<ptrdiff_t>(sizeof(float));
      const ptrdiff_t step = p.strides_[k][0];
      joins = joins && step == (slot < inputs && p.inputs_[slot].splat ? 0 : p.inner_);
      rows[count++] = {data[k] + begin * step * kBytes, flat ? 0 : step * kBytes};
    }
    const auto size = static_cast<size_t>(end - begin), inner = static_cast<size_t>(p.inner_);
    if (flat) return p.loop_(rows, 1, size);
    p.loop_(rows, joins ? 1 : size, joins ? size * inner : inner);
  }

 private:
  struct Load {
    uint16_t operand;
    bool packed;
  };
  struct Scratch {  // a thread's, kept from run to run
    std::vector<Rows<T>> slots;
    std::vector<T> numbers, rooms;
    std::vector<std::byte*> base, at;
    std::vector<Load> loads;
    std::vector<uint16_t> direct;
    std::vector<LaneRows> addresses;
  };
  static Scratch& scratch() {
    static thread_local Scratch scratch;
    return scratch;
  }

  T* room(uint16_t k) const { return rooms_ + k * stride_; }

  void prepare_slots(const uint8_t* copied, std::span<const double> scalars) {
    s_.loads.clear();
    s_.direct.clear();
    const size_t row_axis = inner_axis_ - 1;
    const auto row_stride = [&](size_t operand) {
      return inner_axis_ > 0 ? static_cast<ptrdiff_t>(p_.strides_[operand][row_axis]) : 0;
    };
    for (size_t i = 0; i < p_.inputs_.size(); ++i) {
      if (p_.last_read_[i] < 0) continue;
      const auto& input = p_.inputs_[i];
      const bool packed = input.packed || copied[i];
      s_.loads.push_back({static_cast<uint16_t>(i), packed});
      s_.slots[i] = {packed ? room(input.room) : nullptr,
                     !packed       ? row_stride(i)
                     : input.splat ? 1
                                   : row_step_,
                     input.splat};
    }
    for (size_t k = 0; k < p_.constants_.size(); ++k) {
      const auto& c = p_.constants_[k];
      s_.numbers[k] = static_cast<T>(c.is_number ? c.number : scalars[c.scalar]);
      s_.slots[c.operand] = {&s_.numbers[k], 0, true};
    }
    for (const auto& step : p_.steps_) {
      if (!step.direct) s_.slots[step.out] = {room(step.room), step.narrow ? 1 : row_step_, step.narrow};
    }
    for (size_t j = 0; j < p_.outputs_.size(); ++j) {
      const auto& o = p_.outputs_[j];
      if (!o.direct) {
        if (p_.loop_) s_.slots[o.slot] = {room(o.room), row_step_, false};
        continue;
      }
      s_.slots[o.slot] = {nullptr, row_stride(p_.inputs_.size() + j), false};
      s_.direct.push_back(static_cast<uint16_t>(j));
    }
  }

  // Bytes of an operand: accumulators of partial sums have the lanes' type.
  int64_t bytes(size_t operand) const {
    const size_t inputs = p_.inputs_.size();
    if (operand >= inputs && p_.outputs_[operand - inputs].partial) return sizeof(T);
    return static_cast<int64_t>(p_.size(operand));
  }

  void zero(size_t operand, size_t axis, std::byte* at, int64_t begin, int64_t end) {
    const int64_t stride = p_.strides_[operand][axis] * bytes(operand);
    if (stride == 0) {
      begin = 0;
      end = 1;
    }
    for (int64_t i = begin; i < end; ++i) {
      std::byte* to = at + i * stride;
      if (axis < inner_axis_) {
        zero(operand, axis + 1, to, 0, p_.shape_[static_cast<int>(axis) + 1]);
      } else {
        std::memset(to, 0, static_cast<size_t>(bytes(operand)));
      }
    }
  }

  // All rows of index `i` of the outermost of three or more dimensions.
  void outer(int64_t i) {
    int64_t middle = 1;
    const auto row_axis = static_cast<int>(inner_axis_) - 1;
    for (int axis = 1; axis < row_axis; ++axis) middle *= p_.shape_[axis];
    for (int64_t m = 0; m < middle; ++m) {
      for (size_t k = 0; k < s_.base.size(); ++k) {
        int64_t offset = i * p_.strides_[k][0], rest = m;
        for (int axis = row_axis; --axis > 0;) {
          offset += rest % p_.shape_[axis] * p_.strides_[k][static_cast<size_t>(axis)];
          rest /= p_.shape_[axis];
        }
        s_.at[k] = s_.base[k] + offset * bytes(k);
      }
      rows(0, p_.shape_[row_axis]);
    }
  }

  void rows(int64_t begin, int64_t end) {
    if (p_.width_ < p_.inner_) {
      for (int64_t r = begin; r < end; ++r) columns(r, 0, p_.inner_);
      return;
    }
    for (int64_t r = begin; r < end; r += p_.block_rows_) {
      block(r, 0, static_cast<size_t>(std::min(p_.block_rows_, end - r)), static_cast<size_t>(p_.inner_));
    }
  }

  void columns(int64_t row, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += p_.width_) {
      block(row, i, 1, static_cast<size_t>(std::min(p_.width_, end - i)));
    }
  }

  std::byte* address(size_t operand, int64_t row, int64_t column) const {
    const Strides& strides = p_.strides_[operand];
    int64_t offset = column * strides[inner_axis_];
    if (inner_axis_ > 0) offset += row * strides[inner_axis_ - 1];
    return s_.at[operand] + offset * bytes(operand);
  }

  void block(int64_t row, int64_t column, size_t rows, size_t n) {
    for (const Load& load : s_.loads) {
      std::byte* from = address(load.operand, row, column);
      if (load.packed) {
        pack(load.operand, from, rows, n);
      } else {
        s_.slots[load.operand].at = reinterpret_cast<T*>(from);
      }
    }
    for (uint16_t j : s_.direct) {
      s_.slots[p_.outputs_[j].slot].at = reinterpret_cast<T*>(address(p_.inputs_.size() + j, row, column));
    }
    if (p_.loop_) machine_code(rows, n);
    for (const auto& step : p_.steps_) {
      const Rows<T>* const operands[4] = {&s_.slots[step.out], &s_.slots[step.a], &s_.slots[step.b],
                                          &s_.slots[step.c]};
      if constexpr (std::is_same_v<T, float>) {
        step.f32(operands, rows, step.narrow ? 1 : n);
      } else {
        step.f64(operands, rows, step.narrow ? 1 : n);
      }
    }
    for (size_t j = 0; j < p_.outputs_.size(); ++j) {
      if (!p_.outputs_[j].direct) finish(j, address(p_.inputs_.size() + j, row, column), rows, n);
    }
  }

  // Rows without a gap are one long row.
  void machine_code(size_t rows, size_t n) {
    s_.addresses.clear();
    bool joins = true;
    for (uint16_t slot : p_.addresses_) {
      const Rows<T>& r = s_.slots[slot];
      s_.addresses.push_back(
          {reinterpret_cast<std::byte*>(r.at), r.step * static_cast<ptrdiff_t>(sizeof(T))});
      joins = joins && r.step == (r.splat ? 0 : static_cast<ptrdiff_t>(n));
    }
    p_.loop_(s_.addresses.data(), joins ? 1 : rows, joins ? rows * n : n);
  }

  void pack(uint16_t operand, std::byte* data, size_t rows, size_t n) {
    const bool splat = p_.inputs_[operand].splat;
    const int64_t step = inner_axis_ > 0 ? p_.strides_[operand][inner_axis_ - 1] : 0;
    const int64_t stride = p_.strides_[operand][inner_axis_];
    const size_t count = splat ? 1 : n;
    T* to = room(p_.inputs_[operand].room);
    with_type(p_.dtypes_[operand], data, [&](const auto* from) {
      for (size_t r = 0; r < rows; ++r, from += step, to += splat ? 1 : row_step_) {
        for (size_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[static_cast<int64_t>(i) * stride]);
      }
    });
  }

  // What becomes of a block of results that its instruction did not write in place.
  void finish(size_t j, std::byte* data, size_t rows, size_t n) {
    const auto& o = p_.outputs_[j];
    const size_t operand = p_.inputs_.size() + j;
    const Rows<T>& from = s_.slots[o.slot];
    const int64_t step = inner_axis_ > 0 ? p_.strides_[operand][inner_axis_ - 1] : 0;
    const int64_t stride = p_.strides_[operand][inner_axis_];
    const bool adds = o.add || o.sums;
    const bool lanes = o.partial || o.dtype == dtype_of<T>;
    if (lanes && o.sums && stride == 0) return sum_rows(from, reinterpret_cast<T*>(data), step, rows, n);
    if constexpr (std::is_same_v<T, float>) {
      if (lanes && o.sums && stride == 1 && step == 0 && !from.splat) {
        return simd::add_rows(reinterpret_cast<float*>(data), from.at, from.step, rows, n);
      }
    }
    if (lanes && stride == 1) {
      const Rows<T> to = {reinterpret_cast<T*>(data), static_cast<ptrdiff_t>(step), false};
      const Rows<T>* const operands[4] = {&to, &from, &to, &to};
      static const LaneKernel<T> add = lane_kernel<T>(lanes::Code::add);
      static const LaneKernel<T> store = lane_kernel<T>(lanes::Code::number);
      return adds ? add(operands, rows, n) : store(operands, rows, n);
    }
    const auto scatter = [&](auto* to) {
      using To = std::remove_pointer_t<decltype(to)>;
      for (size_t r = 0; r < rows; ++r, to += step) {
        const T* lane = from.at + static_cast<ptrdiff_t>(r) * from.step;
        for (size_t i = 0; i < n; ++i) {
          To& cell = to[static_cast<int64_t>(i) * stride];
          const T value = lane[from.splat ? 0 : i];
          cell = element<To>(adds ? static_cast<T>(cell) + value : value);
        }
      }
    };
    if (lanes) return scatter(reinterpret_cast<T*>(data));
    with_type(o.dtype, data, scatter);
  }

  void sum_rows(const Rows<T>& from, T* to, int64_t step, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; ++r, to += step) {
      const T* lane = from.at + static_cast<ptrdiff_t>(r) * from.step;
      if (from.splat) {
        *to += *lane * static_cast<T>(n);
      } else if constexpr (std::is_same_v<T, float>) {
        *to += simd::sum(lane, n);
      } else {
        T sum = 0;
        for (size_t i = 0; i < n; ++i) sum += lane[i];
        *to += sum;
      }
    }
  }

  const PreparedPointwise& p_;
  Scratch& s_;
  size_t inner_axis_;
  size_t stride_ = 0;  // from register to register
  ptrdiff_t row_step_ = 0;
  T* rooms_ = nullptr;
};

}  // namespace reel
