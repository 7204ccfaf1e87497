#include "core/op_check.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/structural.h"

namespace reel {

namespace {

constexpr double kKernelBound = 1e-5, kPlannedBound = 1e-6;

// A sample's inputs: floats drawn in f32 precision, so that both kernels see the same numbers, then ids.
Tensors inputs_of(const Sample& sample, DType dtype, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(static_cast<float>(sample.low),
                                                static_cast<float>(sample.high));
  Tensors in;
  for (const Shape& shape : sample.shapes) {
    std::vector<double> values(static_cast<size_t>(shape.numel()));
    for (double& v : values) v = uniform(random);
    Tensor t = to(Tensor::from(values, shape), dtype);
    in.push_back(t.requires_grad_());
  }
  for (const Shape& shape : sample.id_shapes) {
    std::vector<int64_t> ids(static_cast<size_t>(shape.numel()));
    for (int64_t& id : ids)
      id = static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(1, sample.ids_below)));
    in.push_back(Tensor::from(ids, shape));
  }
  return in;
}

struct Outcome {
  std::vector<double> value;
  std::vector<std::vector<double>> gradients;
};

Outcome outcome(const Sample& sample, DType dtype, uint64_t seed) {
  const DefaultDType scope(dtype);
  const Tensors in = inputs_of(sample, dtype, seed);
  const Tensor y = sample.call(in);
  Outcome out;
  if (is_float(y.dtype()) && y.requires_grad()) {
    std::vector<double> cotangent(static_cast<size_t>(y.numel()));
    std::mt19937_64 random(seed + 1);
    for (double& u : cotangent) u = std::uniform_real_distribution<float>(-1, 1)(random);
    const Tensors wrt(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(sample.shapes.size()));
    GradOptions options{.cotangents = {to(Tensor::from(cotangent, y.shape()), y.dtype())},
                        .create_graph = true};
    for (const Tensor& g : grad({y}, wrt, options)) out.gradients.push_back(g.to_vector<double>());
  }
  out.value = y.to_vector<double>();
  return out;
}

// The largest difference, relative to the largest entry (or 1).
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0, largest = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;  // infinities among them
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
    worst = std::max(worst, std::fabs(a[i] - b[i]));
  }
  for (double x : b) {
    if (std::isfinite(x)) largest = std::max(largest, std::fabs(x));
  }
  return worst / largest;
}

class OpChecker {
 public:
  OpChecker(const Op& op, int64_t elements) : op_(op), elements_(elements) {
    report_.differentiable = op.vjp != nullptr;
  }

  OpReport run() {
    const std::vector<Sample> samples = op_.samples ? op_.samples() : std::vector<Sample>();
    for (size_t k = 0; k < samples.size(); ++k) {
      ++report_.samples;
      try {
        check_sample(samples[k], k);
      } catch (const std::exception& e) {
        problem(k, e.what());
      }
    }
    if (op_.bad) {
      for (const BadSample& bad : op_.bad()) check_refused(bad);
    }
    return std::move(report_);
  }

 private:
  void check_sample(const Sample& sample, size_t k) {
    const uint64_t seed = 100 + k;
    const Tensors in = inputs_of(sample, DType::f64, seed);
    if (op_.vjp) {
      const GradcheckReport first =
          gradcheck([&](const Tensors& x) { return sample.call(x); }, in, {.elements = elements_});
      take(first, k, "first order", report_.first);
      const GradcheckReport second = gradgradcheck([&](const Tensors& x) { return sample.call(x); }, in,
                                                   {.step = 1e-5, .tolerance = 1e-5, .elements = elements_});
      take(second, k, "second order", report_.second);
    }
    const Outcome f64 = outcome(sample, DType::f64, seed), f32 = outcome(sample, DType::f32, seed);
    compare(f32, f64, k, "f32 kernel against f64 reference", kKernelBound, report_.kernel);
    const Eager eager;
    const Outcome at_once = outcome(sample, DType::f32, seed);
    compare(f32, at_once, k, "planned against eager", kPlannedBound, report_.planned);
  }

  void take(const GradcheckReport& r, size_t k, const char* order, double& worst) {
    report_.checks += r.checked;
    report_.kinks += r.kinks;
    worst = std::max(worst, r.worst);
    if (!r.ok) problem(k, fmt::format("{}: {}", order, r.text()));
  }

  void compare(const Outcome& a, const Outcome& b, size_t k, const char* what, double bound, double& worst) {
    double distance_here = distance(a.value, b.value);
    for (size_t i = 0; i < a.gradients.size(); ++i) {
      distance_here = std::max(distance_here, distance(a.gradients[i], b.gradients[i]));
      ++report_.checks;
    }
    ++report_.checks;
    worst = std::max(worst, distance_here);
    if (!(distance_here <= bound))
      problem(k, fmt::format("{}: relative difference {:.3g}", what, distance_here));
  }

  void check_refused(const BadSample& bad) {
    ++report_.checks;
    try {
      bad.call().to_vector<double>();
      report_.problems.push_back(
          fmt::format("[{}] bad input was taken: want an error with '{}'", op_.name, bad.want));
    } catch (const Error& e) {
      if (std::string(e.what()).find(bad.want) == std::string::npos) {
        report_.problems.push_back(
            fmt::format("[{}] bad input gave '{}': want '{}' in it", op_.name, e.what(), bad.want));
      }
    }
  }

  void problem(size_t k, const std::string& sentence) {
    report_.problems.push_back(fmt::format("[{}] sample {}: {}", op_.name, k, sentence));
  }

  const Op& op_;
  int64_t elements_;
  OpReport report_;
};

}  // namespace

OpReport check(const Op& op, int64_t elements) { return OpChecker(op, elements).run(); }

}  // namespace reel
