#include "core/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <random>

#include "core/structural.h"
#include "core/tape.h"

namespace reel {

namespace {

using Values = std::vector<std::vector<double>>;
using ManyFunction = std::function<Tensors(const Tensors&)>;

constexpr size_t kMostProblems = 8;

// Inputs as f64 variables: those that are are taken as they are, so that a function may also capture them.
Tensors as_variables(const Tensors& inputs) {
  Tensors out;
  for (const Tensor& t : inputs) {
    if (!is_float(t.dtype()) || (t.is_variable() && t.requires_grad() && t.dtype() == DType::f64)) {
      out.push_back(t);
      continue;
    }
    Tensor v = Tensor::from(t.to_vector<double>(), t.shape());
    out.push_back(v.requires_grad_());
  }
  return out;
}

class Checker {
 public:
  Checker(ManyFunction f, Tensors inputs, const GradcheckOptions& options)
      : f_(std::move(f)), inputs_(std::move(inputs)), options_(options), random_(options.seed) {
    for (const Tensor& t : inputs_) {
      if (is_float(t.dtype())) wrt_.push_back(t);
    }
  }

  GradcheckReport run() {
    for (const Tensor& y : f_(inputs_)) {
      differentiable_ = differentiable_ || (is_float(y.dtype()) && y.requires_grad());
      shapes_.push_back(y.shape());
    }
    if (!differentiable_) return report_;
    const Values u = draw(), v = draw();
    const Values g = gradients(u);
    const double first = value(u), second = value(u);
    if (first != second && !(std::isnan(first) && std::isnan(second))) {
      problem(fmt::format("the function is not repeatable: {:.17g}, then {:.17g}", first, second));
    }
    derivatives(u, g);
    linear(u, v, g);
    return report_;
  }

 private:
  Values draw() {
    std::uniform_real_distribution<double> uniform(-1, 1);
    Values u;
    for (const Shape& s : shapes_) {
      u.emplace_back(static_cast<size_t>(s.numel()));
      for (double& x : u.back()) x = uniform(random_);
    }
    return u;
  }

  // The gradients of sum(u * f) with respect to every float input.
  Values gradients(const Values& u) {
    const Tensors y = f_(inputs_);
    GradOptions options{.cotangents = {}, .create_graph = false};
    Tensors outputs;
    for (size_t k = 0; k < y.size(); ++k) {
      if (!y[k].requires_grad()) continue;
      outputs.push_back(y[k]);
      options.cotangents.push_back(Tensor::from(u[k], y[k].shape()));
    }
    Values g;
    for (const Tensor& t : grad(outputs, wrt_, options)) g.push_back(t.to_vector<double>());
    return g;
  }

  double value(const Values& u) {
    const NoGrad no_grad;
    double total = 0;
    const Tensors y = f_(inputs_);
    for (size_t k = 0; k < y.size(); ++k) {
      const std::vector<double> values = y[k].to_vector<double>();
      for (size_t i = 0; i < values.size(); ++i) total += u[k][i] * values[i];
    }
    return total;
  }

  // The central difference of sum(u * f) while `move(h)` shifts the inputs by h along some direction.
  template <class Move>
  void compare(const Values& u, double analytic, double scale, double h, size_t input, int64_t index,
               const Move& move) {
    move(h);
    const double right = value(u);
    move(-h);
    const double left = value(u);
    move(0);
    const double here = base(u);
    const double numeric = (right - left) / (2 * h);
    const double bend = std::fabs((right - here) - (here - left)) / h;
    if (bend > options_.kink * std::max(1.0, std::fabs(numeric))) {
      ++report_.kinks;
      return;
    }
    ++report_.checked;
    const double error = std::fabs(analytic - numeric) / std::max({1.0, scale, std::fabs(numeric)});
    if (!(error <= report_.worst)) {
      report_.worst = std::isnan(error) ? INFINITY : error;
      report_.input = input;
      report_.index = index;
      report_.analytic = analytic;
      report_.numeric = numeric;
    }
    if (!(error <= options_.tolerance)) {
      problem(fmt::format("input {}, index {}: analytic {:.9g}, numeric {:.9g}, relative error {:.3g}", input,
                          index, analytic, numeric, error));
    }
  }

  double base(const Values& u) {
    if (!has_base_) base_ = value(u);
    has_base_ = true;
    return base_;
  }

  void derivatives(const Values& u, const Values& g) {
    has_base_ = false;
    std::vector<double> scale;
    for (const auto& values : g) {
      double largest = 0;
      for (double x : values) largest = std::max(largest, std::fabs(x));
      scale.push_back(largest);
    }
    if (options_.directions > 0) return along_directions(u, g);
    for (size_t k = 0; k < wrt_.size(); ++k) {
      for (int64_t i : chosen(wrt_[k].numel())) {
        const double x = writable(wrt_[k]).as<double>()[i];
        const double h = options_.step * std::max(1.0, std::fabs(x));
        compare(u, g[k][static_cast<size_t>(i)], scale[k], h, k, i,
                [&](double shift) { writable(wrt_[k]).as<double>()[i] = x + shift; });
      }
    }
  }

  std::vector<int64_t> chosen(int64_t count) {
    std::vector<int64_t> all(static_cast<size_t>(count)), some;
    std::iota(all.begin(), all.end(), 0);
    if (options_.elements == 0 || count <= options_.elements) return all;
    std::sample(all.begin(), all.end(), std::back_inserter(some), options_.elements, random_);
    return some;
  }

  void along_directions(const Values& u, const Values& g) {
    Values start;
    for (const Tensor& t : wrt_) start.push_back(t.to_vector<double>());
    for (int d = 0; d < options_.directions; ++d) {
      std::normal_distribution<double> normal;
      Values v;
      double slope = 0, norm = 0;
      for (size_t k = 0; k < wrt_.size(); ++k) {
        v.emplace_back(start[k].size());
        for (double& x : v.back()) {
          x = normal(random_);
          norm += x * x;
        }
      }
      for (auto& values : v) {
        for (double& x : values) x /= std::sqrt(norm);
      }
      for (size_t k = 0; k < v.size(); ++k) {
        for (size_t i = 0; i < v[k].size(); ++i) slope += v[k][i] * g[k][i];
      }
      compare(u, slope, std::fabs(slope), options_.step, 0, -1, [&](double shift) {
        for (size_t k = 0; k < wrt_.size(); ++k) {
          auto* x = writable(wrt_[k]).as<double>();
          for (size_t i = 0; i < v[k].size(); ++i) x[i] = start[k][i] + shift * v[k][i];
        }
      });
    }
  }

  // gradient(2u - 3v) = 2 gradient(u) - 3 gradient(v); the same again is the same; of nothing comes nothing.
  void linear(const Values& u, const Values& v, const Values& g) {
    Values mixed = u, none = u;
    for (size_t k = 0; k < u.size(); ++k) {
      for (size_t i = 0; i < u[k].size(); ++i) mixed[k][i] = 2 * u[k][i] - 3 * v[k][i];
      std::fill(none[k].begin(), none[k].end(), 0.0);
    }
    const Values gv = gradients(v), gm = gradients(mixed), g0 = gradients(none), again = gradients(u);
    for (size_t k = 0; k < g.size(); ++k) {
      for (size_t i = 0; i < g[k].size(); ++i) {
        const double want = 2 * g[k][i] - 3 * gv[k][i];
        const double size = std::fabs(2 * g[k][i]) + std::fabs(3 * gv[k][i]) + 1;
        if (std::fabs(gm[k][i] - want) > 1e-9 * size) {
          problem(
              fmt::format("input {}, index {}: not linear in the cotangent: {:.9g} for 2u - 3v, want {:.9g}",
                          k, i, gm[k][i], want));
        }
        if (g0[k][i] != 0)
          problem(fmt::format("input {}, index {}: a zero cotangent gives {:.9g}", k, i, g0[k][i]));
        // What else was pending the first time may have changed the order of a sum.
        if (!(std::fabs(again[k][i] - g[k][i]) <= 1e-13 * size) &&
            !(std::isnan(again[k][i]) && std::isnan(g[k][i]))) {
          problem(fmt::format("input {}, index {}: not repeatable: {:.17g}, then {:.17g}", k, i, g[k][i],
                              again[k][i]));
        }
      }
    }
  }

  void problem(std::string sentence) {
    report_.ok = false;
    if (report_.problems.size() < kMostProblems) report_.problems.push_back(std::move(sentence));
  }

  ManyFunction f_;
  Tensors inputs_, wrt_;
  GradcheckOptions options_;
  std::mt19937_64 random_;
  std::vector<Shape> shapes_;
  bool differentiable_ = false;
  bool has_base_ = false;
  double base_ = 0;
  GradcheckReport report_;
};

}  // namespace

std::string GradcheckReport::text() const {
  std::string out =
      fmt::format("{}: {} derivatives, worst relative error {:.3g}", ok ? "ok" : "WRONG", checked, worst);
  if (checked > 0) {
    out += fmt::format(" (input {}, {}: analytic {:.9g}, numeric {:.9g})", input,
                       index < 0 ? std::string("a direction") : fmt::format("index {}", index), analytic,
                       numeric);
  }
  if (kinks > 0) out += fmt::format("; {} points without a derivative passed over", kinks);
  for (const std::string& sentence : problems) out += "\n  " + sentence;
  return out;
}

GradcheckReport gradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options) {
  const DefaultDType f64(DType::f64);
  return Checker([&](const Tensors& x) { return Tensors{f(x)}; }, as_variables(inputs), options).run();
}

GradcheckReport gradgradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options) {
  const DefaultDType f64(DType::f64);
  Tensors variables = as_variables(inputs);
  const Tensor y = f(variables);
  if (!is_float(y.dtype()) || !y.requires_grad()) return {};
  std::mt19937_64 random(options.seed + 1);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> cotangent(static_cast<size_t>(y.numel()));
  for (double& u : cotangent) u = uniform(random);
  const size_t count = variables.size();
  variables.push_back(Tensor::from(cotangent, y.shape()).requires_grad_());
  const auto gradients = [&](const Tensors& x) {
    // Called without a graph too, for the differences: the first derivative still needs one.
    Tape& tape = Tape::current();
    const bool before = std::exchange(tape.grad_enabled, true);
    const Tensors arguments(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count));
    Tensors wrt;
    for (const Tensor& t : arguments) {
      if (is_float(t.dtype())) wrt.push_back(t);
    }
    const Tensors g = grad(Tensors{f(arguments)}, wrt, {.cotangents = {x[count]}, .create_graph = before});
    tape.grad_enabled = before;
    return g;
  };
  return Checker(gradients, variables, options).run();
}

}  // namespace reel
