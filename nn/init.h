// Initial values of parameters. Each is a function of the shape, [out, in] for a weight, as PyTorch lays it
// out.
#pragma once

#include <functional>

#include "core/tensor.h"

namespace reel::nn::init {

using Init = std::function<Tensor(const Shape&)>;

Init constant(double value);
Init uniform(double low, double high);
Init normal(double mean, double std);
Init xavier_uniform(double gain = 1);  // U(-a, a), a = gain sqrt(6 / (in + out)); Glorot and Bengio 2010
Init xavier_normal(double gain = 1);   // N(0, gain^2 2 / (in + out))
Init kaiming_uniform(double gain = 1.4142135623730951);  // U(-a, a), a = gain sqrt(3 / in); He et al. 2015
Init kaiming_normal(double gain = 1.4142135623730951);   // N(0, gain^2 / in)
Init orthogonal(double gain = 1);                        // rows (or columns) orthonormal; Saxe et al. 2013

// Gives a parameter new values in place.
void fill(Tensor& parameter, const Init& init);

}  // namespace reel::nn::init
