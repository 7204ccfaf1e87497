// Matrix products.
#pragma once

#include "core/op.h"

namespace reel {

// y[.., m, n] = a[.., m, k] b[.., k, n]; leading axes broadcast. A vector on either side counts as one row
// (a) or one column (b), and its axis is dropped from the result, as in NumPy. Transposed operands are read
// in place.
Tensor matmul(Arg a, Arg b);

}  // namespace reel
