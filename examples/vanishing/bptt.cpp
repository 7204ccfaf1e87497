#include "examples/vanishing/bptt.h"

#include <cmath>

namespace reel::examples {

namespace {

Vector operator*(const Matrix& m, const Vector& x) {
  Vector y(m.rows);
  for (std::size_t r = 0; r < m.rows; ++r) {
    for (std::size_t c = 0; c < m.columns; ++c) y[r] += m(r, c) * x[c];
  }
  return y;
}

Vector transposed_times(const Matrix& m, const Vector& x) {
  Vector y(m.columns);
  for (std::size_t r = 0; r < m.rows; ++r) {
    for (std::size_t c = 0; c < m.columns; ++c) y[c] += m(r, c) * x[r];
  }
  return y;
}

Vector operator+(Vector a, const Vector& b) {
  for (std::size_t k = 0; k < a.size(); ++k) a[k] += b[k];
  return a;
}

Vector sigmoid(Vector a) {
  for (double& x : a) x = 1 / (1 + std::exp(-x));
  return a;
}

// d * sigma', where s = sigma(a) and so sigma' = s (1 - s)
Vector through_sigmoid(Vector d, const Vector& s) {
  for (std::size_t k = 0; k < d.size(); ++k) d[k] *= s[k] * (1 - s[k]);
  return d;
}

void add_outer(Matrix& m, const Vector& a, const Vector& b) {  // m += a b^T
  for (std::size_t r = 0; r < m.rows; ++r) {
    for (std::size_t c = 0; c < m.columns; ++c) m(r, c) += a[r] * b[c];
  }
}

Matrix zeros_like(const Matrix& m) { return {m.rows, m.columns, Vector(m.values.size())}; }

}  // namespace

BpttResult bptt(const SigmoidRnn& rnn, const std::vector<Vector>& x, const std::vector<Vector>& y) {
  const std::size_t time = x.size();
  const Vector nothing(rnn.u.rows);
  std::vector<Vector> z, o;
  BpttResult result{0, {zeros_like(rnn.w), zeros_like(rnn.u), zeros_like(rnn.v)}};
  for (std::size_t t = 0; t < time; ++t) {
    z.push_back(sigmoid(rnn.w * x[t] + rnn.u * (t > 0 ? z[t - 1] : nothing)));
    o.push_back(sigmoid(rnn.v * z[t]));
    for (std::size_t k = 0; k < o[t].size(); ++k) result.error += 0.5 * std::pow(o[t][k] - y[t][k], 2);
  }
  Vector d_z_next(rnn.u.rows);
  for (std::size_t t = time; t-- > 0;) {
    Vector d_o = o[t];
    for (std::size_t k = 0; k < d_o.size(); ++k) d_o[k] -= y[t][k];
    d_o = through_sigmoid(d_o, o[t]);
    const Vector d_z =
        through_sigmoid(transposed_times(rnn.v, d_o) + transposed_times(rnn.u, d_z_next), z[t]);
    add_outer(result.gradient.v, d_o, z[t]);
    add_outer(result.gradient.w, d_z, x[t]);
    add_outer(result.gradient.u, d_z, t > 0 ? z[t - 1] : nothing);
    d_z_next = d_z;
  }
  return result;
}

double spectral_radius(Matrix a) {
  double log_scale = 0;  // the matrix squared k times is a e^log_scale
  constexpr int squarings = 30;
  for (int k = 0; k <= squarings; ++k) {
    double norm = 0;
    for (const double x : a.values) norm += x * x;
    norm = std::sqrt(norm);
    if (norm == 0) return 0;  // nilpotent
    for (double& x : a.values) x /= norm;
    log_scale += std::log(norm);
    if (k == squarings) break;
    Matrix square = zeros_like(a);
    for (std::size_t r = 0; r < a.rows; ++r) {
      for (std::size_t m = 0; m < a.rows; ++m) {
        for (std::size_t c = 0; c < a.rows; ++c) square(r, c) += a(r, m) * a(m, c);
      }
    }
    a = square;
    log_scale *= 2;
  }
  return std::exp(std::ldexp(log_scale, -squarings));
}

}  // namespace reel::examples
