// Folding axes away: one loop nest for sums, maxima and minima over any axes and strides.
#pragma once

#include "core/buffer.h"

namespace reel {

enum class Fold { sum, max, min };

// `out` is contiguous; its shape, aligned at the right of in's, has 1 or nothing where an axis is folded. The
// order of summation depends on shapes alone, never on threads. `add`: onto what is there.
void reduce(Fold fold, const Array& in, const Array& out, bool add = false);

}  // namespace reel
