#include "ops/activations.h"

#include "core/structural.h"
#include "ops/arithmetic.h"
#include "ops/rules.h"

namespace reel {

namespace {

using lanes::Inputs;
using lanes::Lane;

constexpr double kSqrtHalf = 0.70710678118654752;        // 1 / sqrt(2)
constexpr double kNormalDensity0 = 0.39894228040143268;  // 1 / sqrt(2 pi)
constexpr double kSqrt2OverPi = 0.79788456080286536;
constexpr double kGeluCubic = 0.044715;

std::vector<BadSample> refuses_integers(Tensor (*f)(Arg)) {
  return {{[f] {
             return f(Tensor::from(std::vector<int64_t>{1, 2}, {2}));
           },
           "want f32 or f64"},
          {[f] { return f(Tensor()); }, "undefined"}};
}

const Op tanh_op{
    .name = "tanh",
    .doc = "y = (e^x - e^-x) / (e^x + e^-x)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy * (1 - square(g.y())); },
    .lanes = [](const Inputs& x) { return tanh(x[0]); },
    .samples = [] { return rules::unary(tanh); },
    .bad = [] { return refuses_integers(tanh); },
};
const Register tanh_registered(tanh_op);

const Op sigmoid_op{
    .name = "sigmoid",
    .doc = "y = 1 / (1 + e^-x)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp =
        [](Vjp& g) {
          const Tensor y = g.y();
          g[0] = g.dy * y * (1 - y);
        },
    .lanes = [](const Inputs& x) { return sigmoid(x[0]); },
    .samples = [] { return rules::unary(sigmoid); },
    .bad = [] { return refuses_integers(sigmoid); },
};
const Register sigmoid_registered(sigmoid_op);

const Op relu_op{
    .name = "relu",
    .doc = "y = max(x, 0); the gradient at 0 is 0",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = where(greater(g.x(0), 0.0), g.dy, 0.0); },
    .lanes = [](const Inputs& x) { return max(x[0], 0.0); },
    .samples = [] { return rules::unary(relu); },
    .bad = [] { return refuses_integers(relu); },
};
const Register relu_registered(relu_op);

const Op leaky_relu_op{
    .name = "leaky_relu",
    .doc = "y = x where x > 0, else slope x; the gradient at 0 is slope",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = where(greater(g.x(0), 0.0), g.dy, g.dy * g.attrs().f[0]); },
    .lanes = [](const Inputs& x) { return select(Lane(0.0) < x[0], x[0], x[0] * x.f(0)); },
    .samples = [] { return rules::unary([](Arg x) { return leaky_relu(x, 0.2); }); },
    .bad = [] { return refuses_integers([](Arg x) { return leaky_relu(x); }); },
};
const Register leaky_relu_registered(leaky_relu_op);

const Op elu_op{
    .name = "elu",
    .doc = "y = x where x > 0, else alpha (e^x - 1); the gradient at 0 is alpha",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = where(greater(g.x(0), 0.0), g.dy, g.dy * (g.y() + g.attrs().f[0])); },
    .lanes = [](const Inputs& x) { return select(Lane(0.0) < x[0], x[0], expm1(x[0]) * x.f(0)); },
    .samples = [] { return rules::unary([](Arg x) { return elu(x, 1.5); }); },
    .bad = [] { return refuses_integers([](Arg x) { return elu(x); }); },
};
const Register elu_registered(elu_op);

const Op gelu_op{
    .name = "gelu",
    .doc = "y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)); dy/dx = Phi(x) + x phi(x)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0);
          const Tensor density = kNormalDensity0 * exp(-0.5 * square(x));
          g[0] = g.dy * (0.5 * (1 + erf(kSqrtHalf * x)) + x * density);
        },
    .lanes = [](const Inputs& x) { return 0.5 * x[0] * (1.0 + erf(x[0] * kSqrtHalf)); },
    .samples = [] { return rules::unary(gelu, -4, 4); },
    .bad = [] { return refuses_integers(gelu); },
};
const Register gelu_registered(gelu_op);

const Op gelu_tanh_op{
    .name = "gelu_tanh",
    .doc = "y = x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0), xx = square(x);
          const Tensor t = tanh(kSqrt2OverPi * x * (1 + kGeluCubic * xx));
          const Tensor slope = kSqrt2OverPi * (1 + 3 * kGeluCubic * xx);  // du/dx
          g[0] = g.dy * (0.5 * (1 + t) + 0.5 * x * (1 - square(t)) * slope);
        },
    .lanes =
        [](const Inputs& x) {
          const Lane u = kSqrt2OverPi * x[0] * (1.0 + kGeluCubic * x[0] * x[0]);
          return 0.5 * x[0] * (1.0 + tanh(u));
        },
    .samples = [] { return rules::unary(gelu_tanh, -4, 4); },
    .bad = [] { return refuses_integers(gelu_tanh); },
};
const Register gelu_tanh_registered(gelu_tanh_op);

const Op silu_op{
    .name = "silu",
    .doc = "y = x s, s = sigmoid(x); dy/dx = s (1 + x (1 - s))",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp =
        [](Vjp& g) {
          const Tensor x = g.x(0), s = sigmoid(x);
          g[0] = g.dy * s * (1 + x * (1 - s));
        },
    .lanes = [](const Inputs& x) { return x[0] * sigmoid(x[0]); },
    .samples = [] { return rules::unary(silu, -4, 4); },
    .bad = [] { return refuses_integers(silu); },
};
const Register silu_registered(silu_op);

const Op softplus_op{
    .name = "softplus",
    .doc = "y = log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy * sigmoid(g.x(0)); },
    .lanes = [](const Inputs& x) { return max(x[0], 0.0) + log1p(exp(-abs(x[0]))); },
    .samples = [] { return rules::unary(softplus, -4, 4); },
    .bad = [] { return refuses_integers(softplus); },
};
const Register softplus_registered(softplus_op);

}  // namespace

Tensor tanh(Arg x) { return record(tanh_op, {x}); }
Tensor sigmoid(Arg x) { return record(sigmoid_op, {x}); }
Tensor relu(Arg x) { return record(relu_op, {x}); }
Tensor leaky_relu(Arg x, double slope) { return record(leaky_relu_op, {x}, {.i = {}, .f = {slope}}); }
Tensor elu(Arg x, double alpha) { return record(elu_op, {x}, {.i = {}, .f = {alpha}}); }
Tensor gelu(Arg x) { return record(gelu_op, {x}); }
Tensor gelu_tanh(Arg x) { return record(gelu_tanh_op, {x}); }
Tensor silu(Arg x) { return record(silu_op, {x}); }
Tensor softplus(Arg x) { return record(softplus_op, {x}); }

}  // namespace reel
