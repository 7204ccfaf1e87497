// Gradients held in bounds, and looked at, between backward() and step().
#pragma once

#include "optim/parameters.h"

namespace reel::optim {

// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm is that of all of them taken as one
// vector: (sum |g|^p)^(1/p), p = norm_type > 0, infinity for the largest |g|. Returns the norm before. Summed
// in double, in an order that depends on shapes alone. As in PyTorch, a norm of NaN makes every gradient NaN.
double clip_grad_norm(const Parameters& parameters, double max_norm, double norm_type = 2);

// Clamps every element of every gradient to [-value, value]; NaN stays NaN.
void clip_grad_value(const Parameters& parameters, double value);

// Whether no gradient holds a NaN or an infinity.
bool all_finite(const Parameters& parameters);

}  // namespace reel::optim
