// What one instruction of a pointwise program does to a block of lanes: SIMD in f32, the standard library in
// f64.
#pragma once

#include <cstddef>

#include "core/lanes.h"

namespace reel {

// A block of lanes: rows that start `step` apart, or one number for each row.
template <class T>
struct Rows {
  T* at = nullptr;
  ptrdiff_t step = 0;
  bool splat = false;
};

// block[0] = f(block[1], block[2], block[3]) for `rows` rows of n lanes. block[0] is no splat and may be one
// of the operands, element for element.
template <class T>
using LaneKernel = void (*)(const Rows<T>* const* block, size_t rows, size_t n);

// The kernel of an instruction; of Code::number: the copy of one operand.
template <class T>
LaneKernel<T> lane_kernel(lanes::Code code);
template <>
LaneKernel<float> lane_kernel(lanes::Code code);
template <>
LaneKernel<double> lane_kernel(lanes::Code code);

// Two instructions in one loop: a tanh or sigmoid of a sum (`second`'s operand is `first`), or add, sub and
// mul in pairs; `left` where the first's result is the second's left operand. The same bits as one after the
// other. Null where there is no such kernel; at most one operand may be a splat.
LaneKernel<float> lane_kernel(lanes::Code first, lanes::Code second, bool left);

}  // namespace reel
