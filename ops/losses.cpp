#include "ops/losses.h"

#include "core/structural.h"
#include "core/tape.h"
#include "ops/activations.h"
#include "ops/arithmetic.h"
#include "ops/reductions.h"
#include "ops/targets.h"

namespace reel {

namespace {

using lanes::Inputs;
using lanes::Lane;

void want_one_shape(const Arg& x, const Arg& target, std::string_view op) {
  const Shape a = shape_of(x, op), b = shape_of(target, op);
  if (!(a == b)) fail("[{}] x {} and target {}: want one shape{}", op, a, b, at(x.where()));
}

void bce_shape(Signature& s) {
  s.want_float(0);
  Shape with_weight;
  if (!(s.in(0) == s.in(1))) s.fail("x {} and targets {}: want one shape", s.in(0), s.in(1));
  if (!broadcast(s.in(0), s.in(2), with_weight) || !(with_weight == s.in(0))) {
    s.fail("x {} and pos_weight {}: want one that broadcasts to x", s.in(0), s.in(2));
  }
  s.shape = s.in(0);
  s.dtype = s.in_dtype(0);
  for (size_t k = 1; k <= 2; ++k) {
    if (is_float(s.in_dtype(k)) && s.in_dtype(k) != s.dtype) {
      s.fail("x is {} and argument {} is {}: want one dtype, or to(x, dtype)", name_of(s.dtype), k + 1,
             name_of(s.in_dtype(k)));
    }
  }
}

// With softplus(x) = -log(1 - sigmoid(x)) both parts are sums of positive terms: nothing overflows, nothing
// cancels.
const Op bce_with_logits_op{
    .name = "bce_with_logits",
    .doc =
        "y = p t softplus(-x) + (1 - t) softplus(x), p the weight of positives; "
        "dx = ((1 - t) sigmoid(x) - p t sigmoid(-x)) dy",
    .kind = Kind::pointwise,
    .shape = bce_shape,
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0), t = g.x(1), p = g.x(2);
          if (g.needs(0)) g[0] = g.dy * ((1 - t) * sigmoid(x) - p * t * sigmoid(-x));
          if (g.needs(1)) g[1] = g.dy * (p * softplus(-x) - softplus(x));
          if (g.needs(2)) g[2] = g.dy * t * softplus(-x);
        },
    .inputs = 3,
    .lanes =
        [](const Inputs& x) {
          const Lane tail = log1p(exp(-abs(x[0])));
          return x[2] * x[1] * (tail + max(-x[0], 0.0)) + (1.0 - x[1]) * (tail + max(x[0], 0.0));
        },
    .samples =
        [] {
          const auto rows = [](auto x) {
            return bce_with_logits(x[0], x[1], {.reduction = Reduction::none});
          };
          const auto weighted = [](auto x) {
            return bce_with_logits(x[0], x[1], {.pos_weight = x[2], .reduction = Reduction::sum});
          };
          return std::vector<Sample>{
              {{{2, 3}, {2, 3}}, rows, 0, 1},
              {{{}, {}}, rows, 0, 1},
              {{{0, 3}, {0, 3}}, rows, 0, 1},
              {{{4, 1}, {4, 1}, {1}}, weighted, 0, 1},
              {{{5, 19}, {5, 19}, {19}}, weighted, 0, 1},
              {{{3, 7}, {3, 7}}, [](auto x) { return bce_with_logits(8 * x[0] - 4, x[1]); }, 0, 1},
              {{{4}}, [](auto x) { return bce_with_logits(x[0], greater(x[0], 0.0)); }, -3, 3}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] { return bce_with_logits(zeros({2}), zeros({3})); }, "x [2] and targets [3]"},
              {[] { return bce_with_logits(zeros({2}), zeros({2}), {.pos_weight = zeros({3})}); },
               "pos_weight [3]"},
              {[] { return bce_with_logits(zeros({2}), full({2}, 1, DType::f64)); }, "argument 2 is f64"}};
        },
};
const Register bce_with_logits_registered(bce_with_logits_op);

}  // namespace

Tensor reduced(const Tensor& rows, Reduction reduction) {
  switch (reduction) {
    case Reduction::mean: return mean(rows);
    case Reduction::sum: return sum(rows);
    case Reduction::none: break;
  }
  return rows;
}

Tensor nll_loss(Arg log_probs, Arg targets, const NllOptions& options) {
  Tensor rows = -take_target(log_probs, targets, options.ignore_index), weights;
  if (options.weight.defined()) {
    weights = target_weights(log_probs, targets, options.weight, options.ignore_index, "nll_loss");
    rows = rows * weights;
  }
  return reduced(rows, weights, targets, options.ignore_index, options.reduction);
}

Tensor mse_loss(Arg x, Arg target, Reduction reduction) {
  want_one_shape(x, target, "mse_loss");
  return reduced(square(sub(x, target)), reduction);
}

Tensor huber_loss(Arg x, Arg target, double delta, Reduction reduction) {
  want_one_shape(x, target, "huber_loss");
  if (!(delta > 0)) fail("[huber_loss] delta {}: want a positive one{}", delta, at(x.where()));
  const Tensor distance = abs(sub(x, target));
  const Tensor near = minimum(distance, delta);
  return reduced(near * (distance - 0.5 * near), reduction);
}

Tensor bce_with_logits(Arg x, Arg targets, const BceOptions& options) {
  const Arg one(1.0, x.where());
  const Arg weight = options.pos_weight.defined() ? Arg(options.pos_weight, x.where()) : one;
  return reduced(record(bce_with_logits_op, {x, targets, weight}), options.reduction);
}

}  // namespace reel
