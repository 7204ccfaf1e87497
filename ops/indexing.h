// Reading and adding by ids (indexing.cpp), and which entries are the largest (ranking.cpp). Ids are i64,
// from 0; one out of range throws when the value is computed. Names and semantics are PyTorch's; a negative
// axis counts from the end. index_select is in core/structural.h.
#pragma once

#include <optional>

#include "core/op.h"

namespace reel {

// y[i, j, ..] = x[ids[i, j, ..], j, ..] for axis 0, and so on. ids has x's rank and, off the axis,
// at most x's sizes.
Tensor gather(Arg x, int64_t axis, Arg ids);
// y = x, then y[ids[i, j, ..], j, ..] += source[i, j, ..] for axis 0, and so on: gather's
// transpose. source has at least the sizes of ids. Ids may repeat.
Tensor scatter_add(Arg x, int64_t axis, Arg ids, Arg source);

// Rows of weight [V, D] for ids of any shape: [..ids, D]. A look-up's gradient is rows, never a dense matrix.
// padding_idx: no gradient reaches this row (negative: from the end).
Tensor embedding(Arg weight, Arg ids, std::optional<int64_t> padding_idx = {});
Tensor one_hot(Arg ids, int64_t classes);  // [..ids, classes] of 0 and 1, in the default dtype

// Of equal entries the one with the lower index comes first; a NaN is above all numbers.
Tensor argmax(Arg x, int64_t axis, bool keepdim = false);  // i64, no gradient

// The k largest along an axis, in descending order. values have a gradient.
struct TopK {
  Tensor values, indices;  // [.., k, ..]
};
TopK topk(Arg x, int64_t k, int64_t axis = -1);

}  // namespace reel
