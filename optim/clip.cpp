#include "optim/clip.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"
#include "core/tape.h"

namespace reel::optim {

namespace {

using lanes::Inputs;
using lanes::Program;

const Program scale = lanes::trace(1, [](const Inputs& x) { return x[0] * x.f(0); });
const Program clamp = lanes::trace(1, [](const Inputs& x) { return max(min(x[0], x.f(0)), -x.f(0)); });

// Whether nobody else can see the memory of this gradient, so that it may be written in place. Its handles
// are the variable's and ours.
bool exclusive(const Tensor& grad) {
  const Node& node = *grad.node();
  return !node.variable && !node.requires_grad && node.handles == 2 && node.readers == 0 &&
         !node.value->buffer.shared() && node.array().contiguous();
}

void rewrite_gradients(const Parameters& parameters, const Program& program, double scalar) {
  for (size_t k = 0; k < parameters.size(); ++k) {
    const Tensor grad = parameters[k].grad();
    if (!grad.defined()) continue;
    const Array in = evaluated(grad);
    if (exclusive(grad)) {
      if (!std::isfinite(scalar)) grad.node()->value->buffer.written();  // zeros may not stay zeros
      run_pointwise(program, {&in, 1}, in, {&scalar, 1});
    } else {
      const Tensor fresh(Tape::current().leaf(grad.dtype(), grad.shape()));
      run_pointwise(program, {&in, 1}, evaluated(fresh), {&scalar, 1});
      Tensor(parameters[k]).set_grad(fresh);
    }
  }
}

// Sums of |g| or |g|^p, and the largest |g|, over all elements of all gradients.
constexpr auto plus = [](double a, double b) { return a + b; };
constexpr auto larger = [](double a, double b) {
  return std::isnan(a) || a > b ? a : b;
};  // NaN where either is
constexpr auto magnitude = [](double g) { return std::fabs(g); };

// join(of(g)...) in an order that threads do not change: eight strands in a block, then the blocks.
template <class T, class Of, class Join>
double fold_elements(const Array& in, Of of, Join join) {
  constexpr int64_t block = 4096, strands = 8;
  const int64_t n = in.shape.numel();
  const T* g = in.as<T>();
  std::vector<double> parts(static_cast<size_t>((n + block - 1) / block));
  parallel_for(static_cast<int64_t>(parts.size()), block, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      std::array<double, strands> strand{};
      const int64_t last = std::min(n, (b + 1) * block);
      int64_t i = b * block;
      for (; i + strands <= last; i += strands) {
        for (size_t s = 0; s < strands; ++s) strand[s] = join(strand[s], of(g[i + static_cast<int64_t>(s)]));
      }
      for (; i < last; ++i) strand[0] = join(strand[0], of(g[i]));
      parts[static_cast<size_t>(b)] = std::accumulate(strand.begin(), strand.end(), 0.0, join);
    }
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0, join);
}

template <class Of, class Join>
double fold_gradients(const Parameters& parameters, Of of, Join join) {
  double whole = 0;
  for (size_t k = 0; k < parameters.size(); ++k) {
    const Tensor grad = parameters[k].grad();
    if (!grad.defined()) continue;
    Array in = evaluated(grad);
    Buffer room;
    if (!in.contiguous()) {
      room = Buffer(static_cast<size_t>(in.shape.numel()) * size_of(in.dtype));
      const Array packed{room.data(), in.dtype, in.shape, row_major(in.shape)};
      copy(in, packed);
      in = packed;
    }
    const bool wide = in.dtype == DType::f64;
    whole = join(whole, wide ? fold_elements<double>(in, of, join) : fold_elements<float>(in, of, join));
  }
  return whole;
}

double gradient_norm(const Parameters& parameters, double p) {
  if (std::isinf(p)) return fold_gradients(parameters, magnitude, larger);
  if (p == 1) return fold_gradients(parameters, magnitude, plus);
  if (p == 2)
    return std::sqrt(fold_gradients(
        parameters, [](double g) { return g * g; }, plus));
  return std::pow(fold_gradients(
                      parameters, [p](double g) { return std::pow(std::fabs(g), p); }, plus),
                  1 / p);
}

}  // namespace

double clip_grad_norm(const Parameters& parameters, double max_norm, double norm_type) {
  if (!(max_norm >= 0)) fail("[clip_grad_norm] max_norm {}: want 0 or more", max_norm);
  if (!(norm_type > 0))
    fail("[clip_grad_norm] norm_type {}: want 1, 2, infinity or another p above 0", norm_type);
  const double norm = gradient_norm(parameters, norm_type);
  const double factor = max_norm / (norm + 1e-6);
  if (!(factor >= 1)) rewrite_gradients(parameters, scale, factor);
  return norm;
}

void clip_grad_value(const Parameters& parameters, double value) {
  if (!(value >= 0)) fail("[clip_grad_value] a bound of {}: want 0 or more", value);
  rewrite_gradients(parameters, clamp, value);
}

bool all_finite(const Parameters& parameters) {
  return fold_gradients(
             parameters, [](double g) { return std::isfinite(g) ? 0.0 : 1.0; }, plus) == 0;
}

}  // namespace reel::optim
