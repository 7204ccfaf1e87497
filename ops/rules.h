// Shape rules and sample sets that op families share.
#pragma once

#include "core/op.h"

namespace reel::rules {

void same(Signature& s);        // the input's shape and dtype
void same_float(Signature& s);  // likewise, and it is a float
void broadcast2(Signature& s);  // two inputs broadcast; common dtype
void compare(Signature& s);     // likewise, giving bool

// A shape for each case that must hold everywhere: plain, one axis, scalar, size 1, zero size, more than a
// SIMD register.
std::vector<Sample> unary(Tensor (*f)(Arg), double low = -2, double high = 2);
std::vector<Sample> binary(Tensor (*f)(Arg, Arg), double low = -2, double high = 2);
std::vector<BadSample> binary_bad(Tensor (*f)(Arg, Arg));

}  // namespace reel::rules
