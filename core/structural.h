// The few ops that a tape needs by itself: constants, and what sums, places and broadcasts gradients.
#pragma once

#include "core/op.h"

namespace reel {

// A value of this shape with one number everywhere. dtype: the default one unless given.
Tensor full(const Shape& shape, double value);
Tensor full(const Shape& shape, double value, DType dtype);
Tensor zeros(const Shape& shape);
Tensor ones(const Shape& shape);

Tensor to(Arg x,
          DType dtype);  // converts; floats to integers by truncation. A gradient passes between floats only
Tensor detach(Arg x);    // the same value; no gradient flows through
Tensor broadcast_to(Arg x, const Shape& shape);  // NumPy's rule, without a copy
Tensor sum_to(Arg x, const Shape& shape);        // sums what broadcasting to x's shape had repeated
Tensor slice(Arg x, int64_t axis, int64_t begin, int64_t end);  // x[.., begin:end, ..], without a copy
Tensor select(Arg x, int64_t axis, int64_t index);  // x[.., index, ..] without the axis; -1 is the last index
Tensor reshaped(const Tensor& x, const Shape& shape);  // the same elements, row by row
// As many elements of x [n] as the shape has, from `begin` on, row by row, without a copy.
Tensor stretch(const Tensor& x, int64_t begin, const Shape& shape);
Tensor index_select(Arg x, int64_t axis, Arg ids);  // out[.., j, ..] = x[.., ids[j], ..]

// The sum of contributions to a value of this shape, zero where there are none: how the tape adds up
// gradients.
Tensor accumulate(const std::vector<Contribution>& parts, const Shape& shape, DType dtype);

// Memory behind accumulate: `part` written or added at its place in `whole`, which is contiguous.
void put(const Array& part, Place place, const Array* ids, const Array& whole, bool add);
// Whether the places cover the axis of a whole without a gap or an overlap, so that nothing has to be zeroed
// first.
bool tiles(std::span<const int64_t> list, std::span<const Shape> parts, const Shape& whole);
inline constexpr size_t kPlaceWords =
    4;  // of `list`, for each part: at, axis, begin, input that holds the ids or -1
Place place_of(std::span<const int64_t> list, size_t part);
// What the planner makes itself, or knows by more than its kind.
extern const Op accumulate_op, slice_op, select_op, sum_to_op, full_op, index_select_op, concat_op,
    pick_rows_op, put_rows_op, reshape_op, stretch_op, alias_op;
// The loss of rows over classes, its gradient, and both in one pass over the logits: [dx, loss, column sums
// of dx] as one row of numbers. Inputs x, targets, dy, the bias that x lacks if i[1]; column sums if i[2]. dx
// may lie over x.
extern const Op cross_entropy_op, cross_entropy_grad_op, cross_entropy_and_grad_op;
const Op& plus_op();  // a + b, as a pointwise program

}  // namespace reel
