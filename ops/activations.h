// Activations, element by element. Slopes and alphas are read when the kernel runs: another one plans nothing
// anew.
#pragma once

#include "core/op.h"

namespace reel {

Tensor tanh(Arg x);
Tensor sigmoid(Arg x);                          // 1 / (1 + e^-x)
Tensor relu(Arg x);                             // max(x, 0); gradient 0 at 0
Tensor leaky_relu(Arg x, double slope = 0.01);  // x where x > 0, else slope x
Tensor elu(Arg x, double alpha = 1);            // x where x > 0, else alpha (e^x - 1)
Tensor gelu(Arg x);       // x Phi(x), Phi the normal distribution function (Hendrycks, Gimpel 2016)
Tensor gelu_tanh(Arg x);  // its approximation by tanh, PyTorch's approximate="tanh"
Tensor silu(Arg x);       // x sigmoid(x)
Tensor softplus(Arg x);   // log(1 + e^x), without overflow or loss at either end

}  // namespace reel
