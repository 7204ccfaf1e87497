#include "nn/init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/structural.h"
#include "ops/random.h"

namespace reel::nn::init {

namespace {

struct Fan {
  double in, out;
};

Fan fan(const Shape& shape) {
  if (shape.rank() < 2)
    fail("[init] a shape of {}: want [out, in, ..] for a scheme that depends on them", shape);
  const auto field =
      static_cast<double>(shape.numel()) / static_cast<double>(std::max<int64_t>(1, shape[0] * shape[1]));
  return {static_cast<double>(shape[1]) * field, static_cast<double>(shape[0]) * field};
}

}  // namespace

Init constant(double value) {
  return [value](const Shape& shape) { return full(shape, value); };
}
Init uniform(double low, double high) {
  return [low, high](const Shape& shape) { return reel::uniform(shape, low, high); };
}
Init normal(double mean, double std) {
  return [mean, std](const Shape& shape) { return reel::normal(shape, mean, std); };
}
Init xavier_uniform(double gain) {
  return [gain](const Shape& shape) {
    const double a = gain * std::sqrt(6 / (fan(shape).in + fan(shape).out));
    return reel::uniform(shape, -a, a);
  };
}
Init xavier_normal(double gain) {
  return [gain](const Shape& shape) {
    return reel::normal(shape, 0, gain * std::sqrt(2 / (fan(shape).in + fan(shape).out)));
  };
}
Init kaiming_uniform(double gain) {
  return [gain](const Shape& shape) {
    const double a = gain * std::sqrt(3 / fan(shape).in);
    return reel::uniform(shape, -a, a);
  };
}
Init kaiming_normal(double gain) {
  return [gain](const Shape& shape) { return reel::normal(shape, 0, gain / std::sqrt(fan(shape).in)); };
}

Init orthogonal(double gain) {
  return [gain](const Shape& shape) {
    if (shape.rank() != 2) fail("[init] orthogonal: a shape of {}: want [out, in]", shape);
    const bool wide = shape[0] < shape[1];
    const auto rows = static_cast<size_t>(wide ? shape[0] : shape[1]);  // vectors to make orthonormal
    const auto length = static_cast<size_t>(wide ? shape[1] : shape[0]);
    std::vector<double> q =
        reel::normal({static_cast<int64_t>(rows), static_cast<int64_t>(length)}, 0, 1).to_vector<double>();
    for (size_t i = 0; i < rows; ++i) {  // Gram and Schmidt, twice for the rounding
      double* v = &q[i * length];
      for (int pass = 0; pass < 2; ++pass) {
        for (size_t j = 0; j < i; ++j) {
          const double* u = &q[j * length];
          double dot = 0;
          for (size_t k = 0; k < length; ++k) dot += u[k] * v[k];
          for (size_t k = 0; k < length; ++k) v[k] -= dot * u[k];
        }
      }
      double norm = 0;
      for (size_t k = 0; k < length; ++k) norm += v[k] * v[k];
      for (size_t k = 0; k < length; ++k) v[k] /= std::sqrt(norm);
    }
    std::vector<double> out(q.size());
    for (size_t i = 0; i < rows; ++i) {
      for (size_t k = 0; k < length; ++k)
        out[wide ? i * length + k : k * rows + i] = gain * q[i * length + k];
    }
    return to(Tensor::from(out, shape), default_dtype());
  };
}

void fill(Tensor& parameter, const Init& init) {
  const NoGrad no_grad;
  const DefaultDType dtype(parameter.dtype());
  parameter.assign(init(parameter.shape()));
}

}  // namespace reel::nn::init
