// The f64 reference of every instruction: the standard library's functions, one element after another.
#include <cmath>

#include "core/kernels/lane_kernels.h"

namespace reel {

namespace {

double lane(const Rows<double>& x, size_t row, size_t i) {
  return x.at[static_cast<ptrdiff_t>(row) * x.step + static_cast<ptrdiff_t>(x.splat ? 0 : i)];
}

template <class F>
LaneKernel<double> every_lane(F) {
  return [](const Rows<double>* const* block, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; ++r) {
      double* out = block[0]->at + static_cast<ptrdiff_t>(r) * block[0]->step;
      for (size_t i = 0; i < n; ++i) {
        if constexpr (std::is_invocable_v<F, double>) {
          out[i] = F{}(lane(*block[1], r, i));
        } else if constexpr (std::is_invocable_v<F, double, double>) {
          out[i] = F{}(lane(*block[1], r, i), lane(*block[2], r, i));
        } else {
          out[i] = F{}(lane(*block[1], r, i), lane(*block[2], r, i), lane(*block[3], r, i));
        }
      }
    }
  };
}

}  // namespace

template <>
LaneKernel<double> lane_kernel(lanes::Code code) {
  using lanes::Code;
  switch (code) {
    case Code::number:
    case Code::scalar: return every_lane([](double x) { return x; });
    case Code::neg: return every_lane([](double x) { return -x; });
    case Code::abs: return every_lane([](double x) { return std::fabs(x); });
    case Code::sign: return every_lane([](double x) { return x > 0 ? 1 : x < 0 ? -1 : x; });
    case Code::exp: return every_lane([](double x) { return std::exp(x); });
    case Code::log: return every_lane([](double x) { return std::log(x); });
    case Code::log1p: return every_lane([](double x) { return std::log1p(x); });
    case Code::expm1: return every_lane([](double x) { return std::expm1(x); });
    case Code::sqrt: return every_lane([](double x) { return std::sqrt(x); });
    case Code::tanh: return every_lane([](double x) { return std::tanh(x); });
    case Code::sigmoid:
      return every_lane(
          [](double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); });
    case Code::erf: return every_lane([](double x) { return std::erf(x); });
    case Code::add: return every_lane([](double x, double y) { return x + y; });
    case Code::sub: return every_lane([](double x, double y) { return x - y; });
    case Code::mul: return every_lane([](double x, double y) { return x * y; });
    case Code::div: return every_lane([](double x, double y) { return x / y; });
    case Code::min: return every_lane([](double x, double y) { return std::isnan(x) || x < y ? x : y; });
    case Code::max: return every_lane([](double x, double y) { return std::isnan(x) || x > y ? x : y; });
    case Code::pow: return every_lane([](double x, double y) { return std::pow(x, y); });
    case Code::less: return every_lane([](double x, double y) { return x < y ? 1.0 : 0.0; });
    case Code::less_equal: return every_lane([](double x, double y) { return x <= y ? 1.0 : 0.0; });
    case Code::equal: return every_lane([](double x, double y) { return x == y ? 1.0 : 0.0; });
    case Code::select: return every_lane([](double x, double y, double z) { return x != 0 ? y : z; });
  }
  return nullptr;
}

}  // namespace reel
