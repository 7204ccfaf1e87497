// Backpropagation through time by hand, as the lecture derives it for a sigmoid RNN with squared error:
//   z_t = sigmoid(W x_t + U z_(t-1)), o_t = sigmoid(V z_t), E = 1/2 sum_t |o_t - y_t|^2, z_(-1) = 0
#pragma once

#include <vector>

namespace reel::examples {

using Vector = std::vector<double>;

struct Matrix {
  std::size_t rows, columns;
  Vector values;

  double operator()(std::size_t r, std::size_t c) const { return values[r * columns + c]; }
  double& operator()(std::size_t r, std::size_t c) { return values[r * columns + c]; }
};

struct SigmoidRnn {
  Matrix w, u, v;  // [hidden, in], [hidden, hidden], [out, hidden]
};

struct BpttResult {
  double error;
  SigmoidRnn gradient;
};
BpttResult bptt(const SigmoidRnn& rnn, const std::vector<Vector>& x, const std::vector<Vector>& y);

// The largest |eigenvalue|, by Gelfand's formula lim |A^k|^(1/k) with k = 2^30.
double spectral_radius(Matrix a);

}  // namespace reel::examples
