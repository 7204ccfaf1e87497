// Runs a pointwise program over broadcast, strided inputs: blocks that stay in L1, one SIMD loop an
// instruction.
#pragma once

#include <span>

#include "core/buffer.h"
#include "core/lanes.h"

namespace reel {

// out[...] = program(in[...]...). `out` is contiguous and may be one of the inputs, element for element.
// Lanes are f64 where the output or an input is f64 or i64, else f32; booleans are 0 and 1.
void run_pointwise(const lanes::Program& program, std::span<const Array> in, const Array& out,
                   std::span<const double> scalars);

// out = in, whatever the strides of `in`, converting the dtype.
void copy(const Array& in, const Array& out);

}  // namespace reel
