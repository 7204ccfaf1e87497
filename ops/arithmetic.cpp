#include "ops/arithmetic.h"

#include "core/structural.h"
#include "ops/rules.h"

namespace reel {

namespace {

using lanes::Inputs;

// A binary op whose result is a float, whatever comes in.
void broadcast_float(Signature& s) {
  rules::broadcast2(s);
  if (!is_float(s.dtype)) s.dtype = default_dtype();
}

const Op add_op{
    .name = "add",
    .doc = "y = a + b",
    .kind = Kind::pointwise,
    .shape = rules::broadcast2,
    .vjp = [](Vjp& g) { g[0] = g[1] = g.dy; },
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] + x[1]; },
    .samples = [] { return rules::binary(add); },
    .bad = [] { return rules::binary_bad(add); },
};
const Register add_registered(add_op);

const Op sub_op{
    .name = "sub",
    .doc = "y = a - b",
    .kind = Kind::pointwise,
    .shape = rules::broadcast2,
    .vjp =
        [](Vjp& g) {
          g[0] = g.dy;
          if (g.needs(1)) g[1] = -g.dy;
        },
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] - x[1]; },
    .samples = [] { return rules::binary(sub); },
    .bad = [] { return rules::binary_bad(sub); },
};
const Register sub_registered(sub_op);

const Op mul_op{
    .name = "mul",
    .doc = "y = a b, element by element",
    .kind = Kind::pointwise,
    .shape = rules::broadcast2,
    .vjp =
        [](Vjp& g) {
          if (g.needs(0)) g[0] = g.dy * g.x(1);
          if (g.needs(1)) g[1] = g.dy * g.x(0);
        },
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] * x[1]; },
    .samples = [] { return rules::binary(mul); },
    .bad = [] { return rules::binary_bad(mul); },
};
const Register mul_registered(mul_op);

const Op div_op{
    .name = "div",
    .doc = "y = a / b",
    .kind = Kind::pointwise,
    .shape = broadcast_float,
    .vjp =
        [](Vjp& g) {
          const Tensor ga = g.dy / g.x(1);
          g[0] = ga;
          if (g.needs(1)) g[1] = -(ga * g.y());
        },
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] / x[1]; },
    .samples = [] { return rules::binary(div, 0.5, 2); },
    .bad = [] { return rules::binary_bad(div); },
};
const Register div_registered(div_op);

const Op neg_op{
    .name = "neg",
    .doc = "y = -x",
    .kind = Kind::pointwise,
    .shape = rules::same,
    .vjp = [](Vjp& g) { g[0] = -g.dy; },
    .lanes = [](const Inputs& x) { return -x[0]; },
    .samples = [] { return rules::unary(neg); },
};
const Register neg_registered(neg_op);

const Op pow_op{
    .name = "pow",
    .doc = "y = a^b; dy/da = b a^(b-1), dy/db = y log a where a > 0",
    .kind = Kind::pointwise,
    .shape = broadcast_float,
    .vjp =
        [](Vjp& g) {
          const Tensor a = g.x(0), b = g.x(1);
          if (g.needs(0)) g[0] = g.dy * b * pow(a, b - 1);
          if (g.needs(1)) g[1] = g.dy * g.y() * log(where(greater(a, 0.0), a, 1.0));
        },
    .inputs = 2,
    .lanes = [](const Inputs& x) { return pow(x[0], x[1]); },
    .samples =
        [] {
          std::vector<Sample> samples = rules::binary(pow, 0.5, 2);
          samples.push_back({{{2, 5}}, [](auto x) { return pow(x[0], 3.0); }, -2, -0.5});
          return samples;
        },
    .bad = [] { return rules::binary_bad(pow); },
};
const Register pow_registered(pow_op);

const Op exp_op{
    .name = "exp",
    .doc = "y = e^x",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy * g.y(); },
    .lanes = [](const Inputs& x) { return exp(x[0]); },
    .samples = [] { return rules::unary(exp); },
};
const Register exp_registered(exp_op);

const Op log_op{
    .name = "log",
    .doc = "y = ln x",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy / g.x(0); },
    .lanes = [](const Inputs& x) { return log(x[0]); },
    .samples = [] { return rules::unary(log, 0.5, 3); },
};
const Register log_registered(log_op);

const Op sqrt_op{
    .name = "sqrt",
    .doc = "y = x^(1/2)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy * 0.5 / g.y(); },
    .lanes = [](const Inputs& x) { return sqrt(x[0]); },
    .samples = [] { return rules::unary(sqrt, 0.5, 3); },
};
const Register sqrt_registered(sqrt_op);

const Op abs_op{
    .name = "abs",
    .doc = "y = |x|; the gradient at 0 is 0",
    .kind = Kind::pointwise,
    .shape = rules::same,
    .vjp = [](Vjp& g) { g[0] = g.dy * sign(g.x(0)); },
    .lanes = [](const Inputs& x) { return abs(x[0]); },
    .samples = [] { return rules::unary(abs); },
};
const Register abs_registered(abs_op);

const Op sign_op{
    .name = "sign",
    .doc = "y = -1, 0 or 1; no gradient",
    .kind = Kind::pointwise,
    .shape = rules::same,
    .lanes = [](const Inputs& x) { return sign(x[0]); },
    .samples = [] { return rules::unary(sign); },
};
const Register sign_registered(sign_op);

const Op erf_op{
    .name = "erf",
    .doc = "y = 2/sqrt(pi) integral of exp(-t^2) from 0 to x",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp = [](Vjp& g) { g[0] = g.dy * 1.1283791670955126 * exp(-square(g.x(0))); },
    .lanes = [](const Inputs& x) { return erf(x[0]); },
    .samples = [] { return rules::unary(erf, -4, 4); },
};
const Register erf_registered(erf_op);

// The gradient of min and max: all of it to the one that was taken, half to each where they are equal.
void chosen_vjp(Vjp& g) {
  const Tensor y = g.y(), a = g.x(0), b = g.x(1);
  const Tensor share = g.dy * (1 - 0.5 * to(equal(a, b), g.dy.dtype()));
  if (g.needs(0)) g[0] = where(equal(a, y), share, 0.0);
  if (g.needs(1)) g[1] = where(equal(b, y), share, 0.0);
}

const Op minimum_op{
    .name = "minimum",
    .doc = "y = the smaller of a and b; NaN where either is",
    .kind = Kind::pointwise,
    .shape = rules::broadcast2,
    .vjp = chosen_vjp,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return min(x[0], x[1]); },
    .samples = [] { return rules::binary(minimum); },
    .bad = [] { return rules::binary_bad(minimum); },
};
const Register minimum_registered(minimum_op);

const Op maximum_op{
    .name = "maximum",
    .doc = "y = the larger of a and b; NaN where either is",
    .kind = Kind::pointwise,
    .shape = rules::broadcast2,
    .vjp = chosen_vjp,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return max(x[0], x[1]); },
    .samples = [] { return rules::binary(maximum); },
    .bad = [] { return rules::binary_bad(maximum); },
};
const Register maximum_registered(maximum_op);

const Op clamp_op{
    .name = "clamp",
    .doc = "y = min(max(x, low), high)",
    .kind = Kind::pointwise,
    .shape = rules::same_float,
    .vjp =
        [](Vjp& g) {
          const Tensor inside = equal(g.x(0), g.y());
          g[0] = where(inside, g.dy, 0.0);
        },
    .lanes = [](const Inputs& x) { return min(max(x[0], x.f(0)), x.f(1)); },
    .samples =
        [] {
          return std::vector<Sample>{{{{2, 17}}, [](auto x) { return clamp(x[0], -1, 0.5); }},
                                     {{{}}, [](auto x) { return clamp(x[0], -3, 3); }},
                                     {{{0, 3}}, [](auto x) { return clamp(x[0], -1, 1); }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return clamp(zeros({2}), 1, 0); }, "low 1 and high 0"}};
        },
};
const Register clamp_registered(clamp_op);

const Op equal_op{
    .name = "equal",
    .doc = "y = (a = b), bool",
    .kind = Kind::pointwise,
    .shape = rules::compare,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] == x[1]; },
    .samples = [] { return rules::binary(equal); },
    .bad = [] { return rules::binary_bad(equal); },
};
const Register equal_registered(equal_op);

const Op not_equal_op{
    .name = "not_equal",
    .doc = "y = (a != b), bool",
    .kind = Kind::pointwise,
    .shape = rules::compare,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return 1.0 - (x[0] == x[1]); },
    .samples = [] { return rules::binary(not_equal); },
    .bad = [] { return rules::binary_bad(not_equal); },
};
const Register not_equal_registered(not_equal_op);

const Op less_op{
    .name = "less",
    .doc = "y = (a < b), bool",
    .kind = Kind::pointwise,
    .shape = rules::compare,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] < x[1]; },
    .samples = [] { return rules::binary(less); },
    .bad = [] { return rules::binary_bad(less); },
};
const Register less_registered(less_op);

const Op less_equal_op{
    .name = "less_equal",
    .doc = "y = (a <= b), bool",
    .kind = Kind::pointwise,
    .shape = rules::compare,
    .inputs = 2,
    .lanes = [](const Inputs& x) { return x[0] <= x[1]; },
    .samples = [] { return rules::binary(less_equal); },
    .bad = [] { return rules::binary_bad(less_equal); },
};
const Register less_equal_registered(less_equal_op);

void where_shape(Signature& s) {
  Shape values;
  const bool fit = broadcast(s.in(1), s.in(2), values) && broadcast(s.in(0), values, s.shape);
  if (!fit) s.fail("condition {}, yes {} and no {}: want shapes that broadcast", s.in(0), s.in(1), s.in(2));
  const DType yes = s.in_dtype(1), no = s.in_dtype(2);
  if (yes != no) s.fail("yes is {} and no is {}: want one dtype", name_of(yes), name_of(no));
  s.dtype = yes;
}

const Op where_op{
    .name = "where",
    .doc = "y = condition ? yes : no",
    .kind = Kind::pointwise,
    .shape = where_shape,
    .vjp =
        [](Vjp& g) {
          if (g.needs(1)) g[1] = where(g.x(0), g.dy, 0.0);
          if (g.needs(2)) g[2] = where(g.x(0), 0.0, g.dy);
        },
    .inputs = 3,
    .lanes = [](const Inputs& x) { return select(x[0], x[1], x[2]); },
    .samples =
        [] {
          const auto call = [](auto x) { return where(greater(x[0], 0.0), x[1], x[2]); };
          return std::vector<Sample>{{{{2, 3}, {2, 3}, {2, 3}}, call},
                                     {{{3}, {2, 1}, {}}, call},
                                     {{{33}, {33}, {33}}, call},
                                     {{{0, 3}, {3}, {1}}, call},
                                     {{{2, 3}}, [](auto x) { return where(greater(x[0], 0.0), x[0], 0.5); }}};
        },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return where(zeros({2}), zeros({3}), 0.0); }, "condition [2]"}};
        },
};
const Register where_registered(where_op);

}  // namespace

Tensor add(Arg a, Arg b) { return record(add_op, {a, b}); }
Tensor sub(Arg a, Arg b) { return record(sub_op, {a, b}); }
Tensor mul(Arg a, Arg b) { return record(mul_op, {a, b}); }
Tensor div(Arg a, Arg b) { return record(div_op, {a, b}); }
Tensor neg(Arg x) { return record(neg_op, {x}); }
Tensor pow(Arg a, Arg b) { return record(pow_op, {a, b}); }
Tensor exp(Arg x) { return record(exp_op, {x}); }
Tensor log(Arg x) { return record(log_op, {x}); }
Tensor sqrt(Arg x) { return record(sqrt_op, {x}); }
Tensor abs(Arg x) { return record(abs_op, {x}); }
Tensor sign(Arg x) { return record(sign_op, {x}); }
Tensor square(Arg x) { return mul(x, x); }
Tensor erf(Arg x) { return record(erf_op, {x}); }
Tensor minimum(Arg a, Arg b) { return record(minimum_op, {a, b}); }
Tensor maximum(Arg a, Arg b) { return record(maximum_op, {a, b}); }

Tensor clamp(Arg x, double low, double high) {
  if (!(low <= high)) fail("[clamp] low {} and high {}: want low <= high", low, high);
  return record(clamp_op, {x}, {.i = {}, .f = {low, high}});
}

Tensor equal(Arg a, Arg b) { return record(equal_op, {a, b}); }
Tensor not_equal(Arg a, Arg b) { return record(not_equal_op, {a, b}); }
Tensor less(Arg a, Arg b) { return record(less_op, {a, b}); }
Tensor less_equal(Arg a, Arg b) { return record(less_equal_op, {a, b}); }
Tensor greater(Arg a, Arg b) { return record(less_op, {b, a}); }
Tensor greater_equal(Arg a, Arg b) { return record(less_equal_op, {b, a}); }

Tensor where(Arg condition, Arg yes, Arg no) {
  // Numbers take the dtype of the other branch, not of the condition.
  Tensor held_yes, held_no;
  const auto like = [](Arg number, Arg other) {
    return full({}, number.number(), other.tensor() ? other.tensor()->dtype() : default_dtype());
  };
  if (!yes.tensor()) held_yes = like(yes, no);
  if (!no.tensor()) held_no = like(no, yes);
  return record(where_op, {condition, yes.tensor() ? yes : Arg(held_yes, yes.where()),
                           no.tensor() ? no : Arg(held_no, no.where())});
}

}  // namespace reel
