// What losses over classes share: values x [.., classes] and targets [..] of i64, each naming one class of
// its row, or ignore_index where the row does not count. Input 0 and input 1 of the ops here, which keep
// ignore_index in i[0].
#pragma once

#include "core/op.h"
#include "ops/losses.h"

namespace reel {

void target_rows(Signature& s);  // the shape rule: x [.., classes] and targets [..] give [..]

inline int64_t classes_of(const Array& x) { return x.shape[x.shape.rank() - 1]; }

// A kernel's targets; throws with the position of one that is out of range and not to be ignored.
const int64_t* checked_targets(const Exec& e, int64_t classes);

Tensor take_target(Arg x, Arg targets, int64_t ignore_index);  // x[.., target[..]]; 0 where ignored

// A class's weight for each row, by its target; 0 where that is ignored.
Tensor target_weights(const Arg& x, const Arg& targets, const Tensor& weight, int64_t ignore_index,
                      std::string_view op);

// The mean is over what counts: the rows that are not ignored, or their weights where those are defined.
Tensor reduced(const Tensor& rows, const Tensor& weights, const Arg& targets, int64_t ignore_index,
               Reduction reduction);

}  // namespace reel
