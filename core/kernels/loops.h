// The loop nest over a space that several strided operands walk together.
#pragma once

#include <vector>

#include "core/buffer.h"

namespace reel {

// Merges dimensions that all operands walk alike, so that the inner ones are long, and drops those of
// length 1. `strides` holds each operand's strides over `space` and then over the result, which has a
// dimension at least.
Shape merge_loops(const Shape& space, std::vector<Strides>& strides);

}  // namespace reel
