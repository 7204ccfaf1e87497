// Elementwise arithmetic, comparison and choice, with NumPy's broadcasting. Arguments are tensors or plain
// numbers. Where f32 and i64 or bool meet the result is f32; f32 with f64 is refused (say to(x, DType::f64)).
#pragma once

#include "core/op.h"

namespace reel {

Tensor add(Arg a, Arg b);
Tensor sub(Arg a, Arg b);
Tensor mul(Arg a, Arg b);
Tensor div(Arg a, Arg b);  // integers give floats
Tensor neg(Arg x);
Tensor pow(Arg a, Arg b);  // a^b; differentiable in b where a > 0
Tensor exp(Arg x);
Tensor log(Arg x);  // natural
Tensor sqrt(Arg x);
Tensor abs(Arg x);   // gradient sign(x), 0 at 0
Tensor sign(Arg x);  // -1, 0, 1; no gradient
Tensor square(Arg x);
Tensor erf(Arg x);
Tensor minimum(Arg a, Arg b);  // gradient shared half and half where equal
Tensor maximum(Arg a, Arg b);
Tensor clamp(Arg x, double low, double high);  // gradient 1 inside and at the ends

// bool tensors, without a gradient
Tensor equal(Arg a, Arg b);
Tensor not_equal(Arg a, Arg b);
Tensor less(Arg a, Arg b);
Tensor less_equal(Arg a, Arg b);
Tensor greater(Arg a, Arg b);
Tensor greater_equal(Arg a, Arg b);

Tensor where(Arg condition, Arg yes, Arg no);  // condition: bool (or a number, not 0)

inline Tensor operator+(Arg a, Arg b) { return add(a, b); }
inline Tensor operator-(Arg a, Arg b) { return sub(a, b); }
inline Tensor operator*(Arg a, Arg b) { return mul(a, b); }
inline Tensor operator/(Arg a, Arg b) { return div(a, b); }
inline Tensor operator-(Arg x) { return neg(x); }

}  // namespace reel
