// Cross entropy in one pass over the logits, and its gradient in another.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/kernels/cross_entropy.h"
#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/losses.h"
#include "ops/reductions.h"
#include "ops/rows.h"
#include "ops/softmax.h"
#include "ops/targets.h"

namespace reel {

namespace {

// i[0] is the index to ignore, f[0] the share of a target that is spread over all classes.

void cross_entropy_kernel(const Exec& e) {
  const int64_t n = classes_of(e.in[0]);
  const int64_t* targets = checked_targets(e, n);
  const auto smoothing = static_cast<float>(e.attrs.f[0]);
  parallel_for(e.out.shape.numel(), n * 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = e.in[0].as<float>() + row * n;
      float& loss = e.out.as<float>()[row] = 0;
      if (targets[row] == e.attrs.i[0]) continue;
      const MaxAndSum r = max_and_sum_of_exp(x, n);
      loss = std::log(r.sum) + (1 - smoothing) * (r.max - x[targets[row]]);
      if (smoothing > 0)
        loss += smoothing * (r.max - simd::sum(x, static_cast<size_t>(n)) / static_cast<float>(n));
    }
  });
}

void cross_entropy_grad_kernel(const Exec& e) {
  const int64_t n = classes_of(e.in[0]);
  const int64_t* targets = checked_targets(e, n);
  const auto smoothing = static_cast<float>(e.attrs.f[0]);
  parallel_for(e.in[1].shape.numel(), n * 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* dx = e.out.as<float>() + row * n;
      if (targets[row] == e.attrs.i[0]) {
        std::fill(dx, dx + n, 0.f);
        continue;
      }
      const float* x = e.in[0].as<float>() + row * n;
      const auto size = static_cast<size_t>(n);
      const float dy = e.in[2].as<float>()[row];
      if (e.in.size() > 3) {  // log sum e^x is the loss and what the target has
        const float y = e.in[3].as<float>()[row];
        simd::exp_times(x, y + x[targets[row]], dy, dx, size);
        dx[targets[row]] -= dy;
        continue;
      }
      const float factor = dy / simd::exp_shifted(x, simd::max(x, size), dx, size);
      const float everywhere = dy * smoothing / static_cast<float>(n);
      for (int64_t c = 0; c < n; ++c) dx[c] = dx[c] * factor - everywhere;
      dx[targets[row]] -= dy * (1 - smoothing);
    }
  });
}

// The reference, from the definition: for each row log p and the smoothed target distribution q of each
// class; of none, where the row does not count.
template <class Row>
void reference(const Exec& e, const Row& at_row) {
  const int64_t n = classes_of(e.in[0]);
  const int64_t* targets = checked_targets(e, n);
  std::vector<double> log_p(static_cast<size_t>(n)), q(log_p.size());
  for (int64_t row = 0; row < e.in[1].shape.numel(); ++row) {
    if (targets[row] == e.attrs.i[0]) {
      at_row(row, {}, {});
      continue;
    }
    const double* x = e.in[0].as<double>() + row * n;
    double max = x[0], sum = 0;
    for (int64_t c = 1; c < n; ++c) max = std::isnan(x[c]) ? x[c] : std::max(max, x[c]);
    for (int64_t c = 0; c < n; ++c) sum += std::exp(x[c] - max);
    for (int64_t c = 0; c < n; ++c) {
      log_p[static_cast<size_t>(c)] = x[c] - max - std::log(sum);
      q[static_cast<size_t>(c)] =
          e.attrs.f[0] / static_cast<double>(n) + (c == targets[row] ? 1 - e.attrs.f[0] : 0);
    }
    at_row(row, log_p, q);
  }
}

void cross_entropy_reference(const Exec& e) {
  auto* y = e.out.as<double>();
  reference(e, [&](int64_t row, const std::vector<double>& log_p, const std::vector<double>& q) {
    y[row] = 0;
    for (size_t c = 0; c < q.size(); ++c) y[row] -= q[c] == 0 ? 0 : q[c] * log_p[c];
  });
}

void cross_entropy_grad_reference(const Exec& e) {
  const int64_t n = classes_of(e.in[0]);
  reference(e, [&](int64_t row, const std::vector<double>& log_p, const std::vector<double>& q) {
    double* dx = e.out.as<double>() + row * n;
    if (q.empty()) std::fill(dx, dx + n, 0.0);
    for (size_t c = 0; c < q.size(); ++c) dx[c] = (std::exp(log_p[c]) - q[c]) * e.in[2].as<double>()[row];
  });
}

// Rows in chunks that shapes alone decide, each with column sums of its own, which are added up in order.
void cross_entropy_and_grad_kernel(const Exec& e) {
  const int64_t ignored = e.attrs.i[0], n = classes_of(e.in[0]), rows = e.in[1].shape.numel();
  const int64_t* targets = checked_targets({cross_entropy_op, e.attrs, e.list, e.in, e.out}, n);
  const float *x = e.in[0].as<float>(), *dy = e.in[2].as<float>();
  const float* bias = e.attrs.i[1] ? e.in[3].as<float>() : nullptr;
  float *dx = e.out.as<float>(), *loss = dx + rows * n, *sums = e.attrs.i[2] ? loss + rows : nullptr;
  const int64_t chunks = std::clamp<int64_t>(rows * n / 8192, 1, std::min<int64_t>(16, rows));
  constexpr auto kVector = static_cast<int64_t>(simd::kSumsMultiple);
  const int64_t row = (n + kVector - 1) / kVector * kVector;
  std::vector<float> partial(static_cast<size_t>(sums ? chunks * row : 0), 0.f);
  parallel_for(chunks, rows / chunks * n * 4, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      float* own = sums ? partial.data() + chunk * row : nullptr;
      for (int64_t r = rows * chunk / chunks; r < rows * (chunk + 1) / chunks; ++r) {
        loss[r] = 0;
        if (targets[r] == ignored) {
          std::fill(dx + r * n, dx + (r + 1) * n, 0.f);
        } else {
          loss[r] = simd::cross_entropy_row(x + r * n, bias, static_cast<size_t>(n),
                                            static_cast<size_t>(targets[r]), dy[r], dx + r * n, own);
        }
      }
    }
  });
  if (!sums) return;
  std::fill(sums, sums + n, 0.f);
  simd::add_rows(sums, partial.data(), row, static_cast<size_t>(chunks), static_cast<size_t>(n));
}

void cross_entropy_and_grad_reference(const Exec& e) {
  const int64_t n = classes_of(e.in[0]), rows = e.in[1].shape.numel();
  std::vector<double> z(e.in[0].as<double>(), e.in[0].as<double>() + rows * n);
  if (e.attrs.i[1]) {
    for (size_t k = 0; k < z.size(); ++k) z[k] += e.in[3].as<double>()[k % static_cast<size_t>(n)];
  }
  Array logits = e.in[0], loss = e.out;
  logits.data = reinterpret_cast<std::byte*>(z.data());
  loss.data = e.out.data + static_cast<size_t>(rows * n) * sizeof(double);
  const Array in[] = {logits, e.in[1], e.in[2]};
  const Attrs attrs{.i = {e.attrs.i[0]}, .f = {}};
  cross_entropy_reference({cross_entropy_op, attrs, {}, in, loss});
  cross_entropy_grad_reference({cross_entropy_grad_op, attrs, {}, in, e.out});
  double* sums = e.attrs.i[2] ? loss.as<double>() + rows : nullptr;
  for (int64_t c = 0; sums && c < n; ++c) {
    sums[c] = 0;
    for (int64_t r = 0; r < rows; ++r) sums[c] += e.out.as<double>()[r * n + c];
  }
}

std::vector<Sample> joined_samples() {
  const auto sample = [](int64_t rows, int64_t classes, bool bias, bool sums, int64_t ignored) {
    std::vector<Shape> shapes{{rows, classes}, {rows}};
    if (bias) shapes.push_back({classes});
    return Sample{shapes,
                  [=](std::span<const Tensor> x) {
                    std::vector<Arg> in{x[0], x.back(), x[1]};
                    if (bias) in.emplace_back(x[2]);
                    const NoGrad none;
                    return record(cross_entropy_and_grad_op, in,
                                  {.attrs = {.i = {ignored, bias, sums}, .f = {}},
                                   .shape = {rows * classes + rows + (sums ? classes : 0)},
                                   .dtype = x[0].dtype(),
                                   .list = {}});
                  },
                  -2,
                  2,
                  {{rows}},
                  classes};
  };
  return {sample(4, 5, false, false, -100), sample(1, 1, true, true, -100), sample(7, 19, true, false, 3),
          sample(300, 33, false, true, -100), sample(5, 64, true, true, 60)};
}

// y: the rows of the cross-entropy itself; undefined where they are not at hand.
Tensor cross_entropy_grad(const Tensor& x, const Tensor& targets, const Tensor& dy, const Tensor& y,
                          const Attrs& attrs);

std::vector<Sample> fused_samples(Tensor (*f)(std::span<const Tensor>, const Attrs&), bool with_dy) {
  const auto sample = [&](Shape x, Shape rows, int64_t classes, const Attrs& attrs, double high = 2) {
    std::vector<Shape> shapes = {x};
    if (with_dy) shapes.push_back(rows);
    return Sample{shapes, [=](std::span<const Tensor> in) { return f(in, attrs); }, -high, high, {rows},
                  classes};
  };
  const Attrs plain{.i = {-100}, .f = {}}, smooth{.i = {-100}, .f = {0.1}}, ignoring{.i = {1}, .f = {0.3}};
  return {sample({4, 5}, {4}, 5, plain),          sample({3}, {}, 3, plain),
          sample({2, 3, 19}, {2, 3}, 19, smooth), sample({6, 3}, {6}, 3, ignoring),
          sample({3, 1}, {3}, 1, plain),          sample({0, 3}, {0}, 3, smooth),
          sample({2, 600}, {2}, 600, smooth, 20), sample({37, 2}, {37}, 2, ignoring)};
}

}  // namespace
const Op cross_entropy_op{
    .name = "cross_entropy",
    .doc =
        "y = log sum e^x - sum q x over the last axis; q = 1 - s at the target plus s / classes everywhere; "
        "0 where the target is ignored. x [.., classes], targets [..]",
    .shape = target_rows,
    .vjp = [](Vjp& g) { g[0] = cross_entropy_grad(g.x(0), g.x(1), g.dy, g.y(), g.attrs()); },
    .f32 = cross_entropy_kernel,
    .f64 = cross_entropy_reference,
    .samples =
        [] {
          const auto rows = [](std::span<const Tensor> x, const Attrs& attrs) {
            return cross_entropy(x[0], x[1], {attrs.i[0], attrs.f[0], {}, Reduction::none});
          };
          std::vector<Sample> samples = fused_samples(rows, false);
          const auto weighted = [](double smoothing) {
            return [=](std::span<const Tensor> x) { return cross_entropy(x[0], x[2], {2, smoothing, x[1]}); };
          };
          samples.push_back({{{7, 4}, {4}}, weighted(0), 0.5, 2, {{7}}, 4});
          samples.push_back({{{7, 4}, {4}}, weighted(0.2), 0.5, 2, {{7}}, 4});
          return samples;
        },
    .bad =
        [] {
          const auto ids = [](std::vector<int64_t> t, Shape shape) { return Tensor::from(t, shape); };
          return std::vector<BadSample>{
              {[=] {
                 return cross_entropy(zeros({2, 3}), ids({0, 3}, {2}));
               },
               "target 3 at position [1]"},
              {[=] {
                 return cross_entropy(zeros({1, 2, 3}), ids({0, -1}, {1, 2}));
               },
               "target -1 at position [0, 1]"},
              {[=] {
                 return cross_entropy(zeros({2, 3}), ids({0}, {1}));
               },
               "values [2, 3] and targets [1]"},
              {[=] {
                 return cross_entropy(zeros({2, 3}), zeros({2}));
               },
               "targets of dtype f32"},
              {[=] {
                 return cross_entropy(zeros({2, 3}), ids({0, 1}, {2}), {.label_smoothing = 2});
               },
               "smoothing 2"},
              {[=] {
                 return cross_entropy(zeros({2, 3}), ids({0, 1}, {2}), {.weight = zeros({2})});
               },
               "weight [2]"}};
        },
};
const Op cross_entropy_grad_op{
    .name = "cross_entropy_grad",
    .doc =
        "y = (softmax x - q) dy by row, q the smoothed target; 0 where the target is ignored. A fourth input "
        "is "
        "the cross-entropy of x: what is known of the sum of e^x, no variable of its own",
    .shape =
        [](Signature& s) {
          target_rows(s);
          s.shape = s.in(0);
        },
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0), targets = g.x(1), u = g.dy;
          if (g.needs(0)) {
            const Tensor p = softmax(x, -1);
            const Tensor row = where(not_equal(targets, static_cast<double>(g.attrs().i[0])), g.x(2), 0.0);
            g[0] = spread(row, -1, false, x.shape()) * p * (u - sum(u * p, -1, true));
          }
          if (g.needs(2)) {
            const Tensor one = full(targets.shape(), 1, x.dtype());
            g[2] = sum(u * cross_entropy_grad(x, targets, one, {}, g.attrs()), -1);
          }
        },
    .f32 = cross_entropy_grad_kernel,
    .f64 = cross_entropy_grad_reference,
    .in_place = true,
    .samples =
        [] {
          std::vector<Sample> samples = fused_samples(
              [](auto x, const Attrs& attrs) { return cross_entropy_grad(x[0], x[2], x[1], {}, attrs); },
              true);
          for (Sample& sample : fused_samples(
                   [](auto x, const Attrs&attrs) {
                     const Tensor y = record(cross_entropy_op, {x[0], x[2]}, attrs);
                     return cross_entropy_grad(x[0], x[2], x[1], y, attrs);
                   },
                   true)) {
            samples.push_back(std::move(sample));
          }
          return samples;
        },
};
const Op cross_entropy_and_grad_op{
    .name = "cross_entropy_and_grad",
    .doc =
        "one after another: the gradient, the rows' cross-entropy, the gradient's column sums; by the "
        "planner",
    .f32 = cross_entropy_and_grad_kernel,
    .f64 = cross_entropy_and_grad_reference,
    .shape_is_argument = true,
    .samples = joined_samples,
};
namespace {
const Register cross_entropy_registered(cross_entropy_op),
    cross_entropy_grad_registered(cross_entropy_grad_op),
    cross_entropy_and_grad_registered(cross_entropy_and_grad_op);

Tensor cross_entropy_grad(const Tensor& x, const Tensor& targets, const Tensor& dy, const Tensor& y,
                          const Attrs& attrs) {
  if (y.defined() && attrs.f[0] == 0) return record(cross_entropy_grad_op, {x, targets, dy, y}, attrs);
  return record(cross_entropy_grad_op, {x, targets, dy}, attrs);
}

}  // namespace

Tensor cross_entropy(Arg logits, Arg targets, const CrossEntropyOptions& options) {
  const double smoothing = options.label_smoothing;
  if (!(smoothing >= 0 && smoothing <= 1)) {
    fail("[cross_entropy] label smoothing {}: want 0 to 1{}", smoothing, at(logits.where()));
  }
  const Attrs attrs{.i = {options.ignore_index}, .f = {smoothing}};
  Tensor rows, weights;
  if (options.weight.defined()) {
    weights = target_weights(logits, targets, options.weight, options.ignore_index, "cross_entropy");
  }
  if (weights.defined() && smoothing > 0) {
    // Each class of the smoothed part has its own weight: (1 - s) w[target] nll - s / classes sum w log p.
    const Tensor log_p = log_softmax(logits, -1);
    const Tensor spread_part = -mean(log_p * options.weight, -1);
    const Tensor counts = not_equal(targets, static_cast<double>(options.ignore_index));
    rows = (1 - smoothing) * weights * -take_target(log_p, targets, options.ignore_index) +
           where(counts, smoothing * spread_part, 0.0);
  } else {
    rows = record(cross_entropy_op, {logits, targets}, attrs);
    if (weights.defined()) rows = rows * weights;
  }
  return reduced(rows, weights, targets, options.ignore_index, options.reduction);
}

}  // namespace reel
