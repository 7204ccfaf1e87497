// Random programs over a few shapes, for tests that run one program in two ways and compare. What a program
// does depends on its seed alone, never on values: sharing, dead ends, views, copies, sums of parts, looks in
// between, in-place updates, gradients of gradients.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/structural.h"
#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/shape.h"

namespace reel::tests {

using Rows = std::vector<std::vector<double>>;

// The largest difference, relative to each value's largest element.
inline double distance(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    if (a[k].size() != b[k].size()) return INFINITY;
    double largest = 1e-2;
    for (double x : b[k]) largest = std::max(largest, std::fabs(x));
    for (size_t i = 0; i < a[k].size(); ++i) {
      const double d = std::fabs(a[k][i] - b[k][i]) / largest;
      if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
    }
  }
  return worst;
}

class RandomProgram {
 public:
  RandomProgram(uint64_t seed, DType dtype) : random_(seed), dtype_(dtype) {}

  // Every value kept to the end, then every gradient.
  Rows run() {
    const DefaultDType numbers(dtype_);
    for (const Shape& shape : {Shape{3, 4}, Shape{4}, Shape{3, 1}, Shape{}, Shape{4, 4}}) {
      variables_.push_back(constant(shape).requires_grad_());
      values_.push_back(variables_.back());
    }
    values_.push_back(constant({3, 4}));
    for (int k = 0, steps = 6 + pick(10); k < steps; ++k) step();
    Tensor loss = total(values_.back());
    for (const Tensor& v : values_) {
      if (v.requires_grad() && pick(2) == 0) loss = loss + total(v);
    }
    if (pick(3) == 0) loss = loss + of_gradient(loss);
    if (loss.requires_grad()) loss.backward();
    Rows out;
    for (const Tensor& v : values_) out.push_back(v.to_vector<double>());
    out.push_back(loss.to_vector<double>());
    for (const Tensor& v : variables_)
      out.push_back(v.grad().defined() ? v.grad().to_vector<double>() : std::vector<double>());
    return out;
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Tensor any() { return values_[static_cast<size_t>(pick(static_cast<int>(values_.size())))]; }

  Tensor constant(const Shape& shape) {
    std::vector<double> values(static_cast<size_t>(shape.numel()));
    for (double& x : values) x = 0.25 + static_cast<double>(random_() % 1000) / 1000;
    return to(Tensor::from(values, shape), dtype_);
  }
  Tensor ids(int64_t count, int below) {
    std::vector<int64_t> values(static_cast<size_t>(2 * count));
    for (int64_t& id : values) id = pick(below);
    const Tensor both =
        Tensor::from(values, {count, 2});  // every second one: ids that do not lie side by side
    return pick(2) ? select(both, 1, 1) : slice(reshape(both, {2 * count}), 0, 0, count);
  }
  Tensor total(const Tensor& x) { return sum_to(x * x * 0.5 + x, {}); }
  static Tensor tame(const Tensor& x) { return erf(x * 0.5); }

  Tensor of_gradient(const Tensor& loss) {
    const Tensors g = grad({loss}, {variables_[0], variables_[static_cast<size_t>(1 + pick(4))]});
    return sum_to(tame(g[0]), {}) + sum_to(g[1] * g[1], {}) * 0.01;
  }

  Tensor binary() {
    const Tensor a = any();
    Tensor b = any();
    for (Shape both; !broadcast(a.shape(), b.shape(), both) || both.numel() > 60;) b = any();
    switch (pick(6)) {
      case 0: return a + b;
      case 1: return a - b;
      case 2: return tame(a * b);
      case 3: return minimum(a, b * 0.9);
      case 4: return where(less(a, b), a * 0.5, b);
      default: return a / (b * b + 1);
    }
  }

  Tensor view() {
    const Tensor x = any();
    const int64_t rank = x.dim(), axis = rank > 0 ? pick(static_cast<int>(rank)) : 0;
    switch (pick(6)) {
      case 0: return rank > 1 ? transpose(x, 0, 1) : reshape(x, {1, -1});
      case 1: return reshape(x, {-1});
      case 2: return x.numel() <= 12 && rank < 3 ? broadcast_to(x, wider(x.shape())) : detach(x);
      case 3: return reshape(x, x.shape());
      default: break;
    }
    if (rank == 0 || x.size(axis) < 1) return unsqueeze(x, 0);
    const int64_t begin = pick(static_cast<int>(x.size(axis)));
    return slice(x, axis, begin, begin + 1 + pick(static_cast<int>(x.size(axis) - begin)));
  }
  static Shape wider(const Shape& shape) {
    Shape wide = shape;
    wide.insert(0, 2);
    return wide;
  }

  Tensor product() {
    const Tensor a = any();
    if (a.dim() < 1 || a.dim() > 2) return tame(a);
    const int64_t k = a.size(-1);
    Tensor b = constant({k, 3});
    for (const Tensor& v : values_) {
      if (v.dim() == 2 && v.size(0) == k) b = v;
      if (v.dim() == 2 && v.size(1) == k && pick(2)) b = transpose(v, 0, 1);
    }
    return tame(matmul(a, b));
  }

  Tensor gathered() {
    const Tensor x = any();
    if (x.dim() == 0) return exp(-x * x);
    const int64_t axis = pick(static_cast<int>(x.dim()));
    return index_select(x, axis, ids(1 + pick(4), static_cast<int>(x.size(axis))));
  }

  Tensor sum_of_parts() {
    using At = Place::At;
    const Tensor x = any();
    if (x.dim() == 0) return abs(x - 0.5);
    const int64_t axis = pick(static_cast<int>(x.dim())), n = x.size(axis);
    Shape whole = x.shape();
    whole[static_cast<int>(axis)] = 2 * n;
    std::vector<Contribution> parts{{x, {At::slice, axis, pick(static_cast<int>(n) + 1)}, {}}};
    if (pick(2)) parts.push_back({tame(x), {At::slice, axis, pick(2) ? n : 0}, {}});
    if (pick(2)) parts.push_back({x, {At::rows, axis, 0}, ids(n, static_cast<int>(2 * n))});
    if (pick(3) == 0) parts.push_back({constant(whole), {}, {}});
    if (pick(3) == 0) parts.push_back({broadcast_to(variables_[3], whole), {}, {}});
    const Tensor y = accumulate(parts, whole, dtype_);
    return y.numel() > 48 ? slice(y, axis, 0, n) : y;
  }

  void step() {
    switch (pick(12)) {
      case 0:
      case 1:
      case 2: values_.push_back(binary()); break;
      case 3: values_.push_back(tame(binary() + 0.1) * 2 - 0.3); break;  // a chain that can run in place
      case 4:
      case 5: values_.push_back(view()); break;
      case 6: values_.push_back(product()); break;
      case 7: values_.push_back(gathered()); break;
      case 8: values_.push_back(sum_of_parts()); break;
      case 9: (void)binary(); break;  // a dead end
      case 10: {                      // forget a value that later ones may have read
        const auto k = static_cast<size_t>(pick(static_cast<int>(values_.size())));
        if (values_.size() > 8) values_.erase(values_.begin() + static_cast<std::ptrdiff_t>(k));
        break;
      }
      default: look(); break;
    }
  }

  // Something is computed in the middle, or a variable changes under what was recorded.
  void look() {
    const Tensor x = any();
    if (pick(2)) {
      (void)x.to_vector<double>();
    } else {
      Tensor& v = variables_[static_cast<size_t>(pick(5))];
      v.assign(detach(v) * 0.75 + 0.1);
    }
  }

  std::mt19937_64 random_;
  DType dtype_;
  Tensors variables_, values_;
};

}  // namespace reel::tests
