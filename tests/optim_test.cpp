// Optimisers against PyTorch's numbers; clipping; saving and resuming bit for bit.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "core/structural.h"
#include "ops/arithmetic.h"
#include "optim/adagrad.h"
#include "optim/adam.h"
#include "optim/clip.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "tests/scratch.h"

using namespace reel;
using namespace reel::optim;
using scratch::Contains;
using scratch::message_of;

namespace {

using Doubles = std::vector<double>;
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

Tensor tensor(const Doubles& values, DType dtype = DType::f64) {
  const Tensor wide = Tensor::from(values, {static_cast<int64_t>(values.size())});
  if (dtype == DType::f64) return wide;
  return Tensor::from(std::vector<float>(values.begin(), values.end()), wide.shape());
}
Tensor variable(const Doubles& values, DType dtype = DType::f64) {
  return tensor(values, dtype).requires_grad_();
}
Tensor with_grad(const Doubles& grad, DType dtype = DType::f64) {
  Tensor t = variable(Doubles(grad.size(), 0), dtype);
  t.set_grad(tensor(grad, dtype));
  return t;
}
Doubles grad_of(const Tensor& t) { return t.grad().to_vector<double>(); }

void check_close(const Doubles& got, const Doubles& want, double tolerance) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(std::fabs(got[i] - want[i]) <= tolerance * std::max(1.0, std::fabs(want[i])));
  }
}

using Optim = std::unique_ptr<Optimizer>;
using Maker = std::function<Optim(Parameters)>;
template <class T, class Options>
Maker make(Options options) {
  return [options](Parameters p) { return std::make_unique<T>(std::move(p), options); };
}

// d/dx sum a (x - c)^2 / 2 at x, from x = (1, -2, 1/4).
void descend(Optimizer& optimizer, const Tensor& x) {
  const Tensor a = tensor({1, 3, 0.5}, x.dtype()), c = tensor({0.5, -1, 2}, x.dtype());
  optimizer.zero_grad();
  ((x - c) * (x - c) * a * 0.5).backward(tensor({1, 1, 1}, x.dtype()), {});
  optimizer.step();
}
Tensor start(DType dtype) { return variable({1, -2, 0.25}, dtype); }

struct Case {
  Maker make;
  Doubles after_1, after_5;
};

// From PyTorch 2.13 in double; eps_inside_sqrt from NumPy: s += g*g; x += -lr * g / sqrt(s + eps).
const std::vector<Case> cases{
    {make<SGD>(SGDOptions{}),
     {0.9995, -1.997, 0.250875},
     {0.9975049950024996, -1.985089730404757, 0.25437062718695325}},
    {make<SGD>(SGDOptions{.lr = 0.1}), {0.95, -1.7, 0.3375}, {0.795245, -1.16807, 0.6458833593750001}},
    {make<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9}),
     {0.95, -1.7, 0.3375},
     {0.4854200000000001, -0.2217199999999999, 1.269977109375}},
    {make<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.2}),
     {0.93, -1.66, 0.3325},
     {0.4923096448, -0.19675772159999982, 0.8937804144578125}},
    {make<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.2, .nesterov = true}),
     {0.867, -1.3539999999999999, 0.40675},
     {0.29147256847155195, -0.603498101968384, 1.2869323122391667}},
    {make<Adagrad>(AdagradOptions{}),
     {0.990000000002, -1.9900000000003333, 0.25999999999885715},
     {0.9680684047018296, -1.967873872648845, 0.28220828529995884}},
    {make<Adagrad>(AdagradOptions{
         .lr = 0.5, .lr_decay = 0.1, .weight_decay = 0.2, .initial_accumulator_value = 0.3, .eps = 1e-2}),
     {0.6106003233244137, -1.5077935208875561, 0.662390668628519},
     {0.4268645883951479, -1.0605051153094862, 1.1669020539423514}},
    {make<Adagrad>(AdagradOptions{.lr = 0.1, .eps = 1e-2, .eps_inside_sqrt = true}),
     {0.901941932430908, -1.9000555093020846, 0.3493532672656404},
     {0.7255593728782173, -1.697807410311637, 0.560622995411832}},
    {make<RMSprop>(RMSpropOptions{}),
     {0.900000019999996, -1.9000000033333333, 0.34999998857142983},
     {0.7215710179390802, -1.6964657852239329, 0.5630139117246519}},
    {make<RMSprop>(RMSpropOptions{.lr = 0.05, .alpha = 0.9, .eps = 1e-2, .weight_decay = 0.2}),
     {0.8487202399302141, -1.8433431535965634, 0.40227700808917444},
     {0.587808433859626, -1.5236551272697738, 0.7227215234464749}},
    {make<RMSprop>(RMSpropOptions{.lr = 0.05, .alpha = 0.9, .momentum = 0.5}),
     {0.8418861269915804, -1.8418861186582476, 0.4081138772941335},
     {0.43434524636090527, -1.2399450085272816, 1.0764916461891834}},
    {make<RMSprop>(RMSpropOptions{.lr = 0.05, .alpha = 0.9, .momentum = 0.5, .centered = true}),
     {0.8333333444444437, -1.833333335185185, 0.4166666603174606},
     {0.421793080389583, -1.1714365366365962, 1.1727499833176125}},
    {make<RMSprop>(RMSpropOptions{.lr = 0.05, .alpha = 0.9, .eps = 1e-2, .centered = true}),
     {0.84375, -1.835164835164835, 0.41055045871559637},
     {0.586266624886758, -1.4710050784328446, 0.8057461245160451}},
    {make<Adam>(AdamOptions{}),
     {0.99900000002, -1.9990000000033334, 0.2509999999885714},
     {0.9950008777189198, -1.9950004360440519, 0.2549997514630851}},
    {make<Adam>(AdamOptions{.lr = 0.1, .betas = {0.8, 0.95}, .eps = 1e-2, .weight_decay = 0.2}),
     {0.9014084507042254, -1.900293255131965, 0.34880239520958084},
     {0.5340611434327747, -1.511773149225361, 0.73489305773562}},
    {make<AdamW>(AdamWOptions{}),
     {0.99899000002, -1.9989800000033335, 0.25099749998857146},
     {0.9949509875903066, -1.9949005468119385, 0.2549871523423345}},
    {make<AdamW>(AdamWOptions{.lr = 0.1, .betas = {0.8, 0.95}, .eps = 1e-2, .weight_decay = 0.2}),
     {0.8819607843137255, -1.8603322259136212, 0.3438700564971751},
     {0.48126520764203773, -1.3472279666415583, 0.696076661103239}},
};

}  // namespace

TEST_CASE("each optimiser: five steps on a quadratic are PyTorch's") {
  for (size_t k = 0; k < cases.size(); ++k) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(k);
      CAPTURE(name_of(dtype));
      const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-12;
      const Tensor x = start(dtype);
      const Optim optimizer = cases[k].make({x});
      descend(*optimizer, x);
      check_close(x.to_vector<double>(), cases[k].after_1, tolerance);
      for (int i = 1; i < 5; ++i) descend(*optimizer, x);
      check_close(x.to_vector<double>(), cases[k].after_5, tolerance);
    }
  }
}

TEST_CASE("step: more elements than a SIMD block, each as if alone") {
  Doubles values(5003);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<double>(i));
  const Tensor many = variable(values, DType::f32);
  Adam optimizer({many}, {.lr = 0.1});
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_grad();
    (many * many * many).backward(full(many.shape(), 1, DType::f32), {});
    optimizer.step();
  }
  const auto got = many.to_vector<double>();
  for (const size_t i : {size_t{1}, size_t{777}, size_t{5002}}) {
    const Tensor one = variable({values[i]}, DType::f32);
    Adam alone({one}, {.lr = 0.1});
    for (int step = 0; step < 3; ++step) {
      alone.zero_grad();
      (one * one * one).backward();
      alone.step();
    }
    CHECK(got[i] == doctest::Approx(one.item()).epsilon(1e-6));
  }
}

TEST_CASE("step: a parameter without a gradient is skipped, its step count too") {
  const Tensor x = start(DType::f64), idle = variable({7});
  AdamW optimizer({x, idle}, {.lr = 0.1, .weight_decay = 0.5});
  descend(optimizer, x);
  CHECK(idle.item() == 7);
  const NamedTensors state = optimizer.state();
  REQUIRE(state.size() == 5);
  CHECK(state[0].first == "lr");
  CHECK(state[1].first == "0.step");
  CHECK(state[1].second.item() == 1);
  CHECK(state[2].first == "0.exp_avg");
  CHECK(state[3].first == "0.exp_avg_sq");
  CHECK(state[4].first == "1.step");
  CHECK(state[4].second.item() == 0);
  optimizer.zero_grad();
  CHECK_FALSE(x.grad().defined());
  const auto before = x.to_vector<double>();
  optimizer.step();
  CHECK(x.to_vector<double>() == before);
}

TEST_CASE("step: what was recorded before reads the old values, what comes after the new") {
  const Tensor x = variable({2});
  SGD optimizer({x}, {.lr = 1});
  const Tensor before = x * 10.0;
  Tensor(x).set_grad(tensor({1}));
  optimizer.step();
  CHECK(before.item() == 20);
  CHECK((x * 10.0).item() == 10);
}

TEST_CASE("step: a gradient that is another parameter is read before it changes") {
  const Tensor a = variable({1}), b = variable({10});
  Tensor(b).set_grad(a);  // b's gradient is a itself, which is updated first
  Tensor(a).set_grad(tensor({5}));
  SGD optimizer({a, b}, {.lr = 1});
  optimizer.step();
  CHECK(a.item() == -4);
  CHECK(b.item() == 9);
}

TEST_CASE("step: a gradient of strides, scalars and empty parameters") {
  const Tensor wide = variable({1, 2, 3}), scalar = Tensor::from(Doubles{4}, {}).requires_grad_();
  const Tensor empty = Tensor::from(Doubles{}, {0, 3}).requires_grad_();
  Tensor(wide).set_grad(broadcast_to(tensor({2}), {3}));
  Tensor(scalar).set_grad(full({}, 1, DType::f64));
  Tensor(empty).set_grad(full({0, 3}, 1, DType::f64));
  for (const Maker& maker : {make<SGD>(SGDOptions{.lr = 0.5}), make<Adam>(AdamOptions{.lr = 1})}) {
    const Optim optimizer = maker(std::vector<Tensor>{wide, scalar, empty});
    optimizer->step();
  }
  check_close(wide.to_vector<double>(), {-1, 0, 1}, 1e-8);
  CHECK(scalar.item() == doctest::Approx(2.5));
  CHECK(clip_grad_norm({wide, scalar, empty}, 100) == doctest::Approx(std::sqrt(13.0)));
}

TEST_CASE("a learning rate set between steps counts from the next") {
  const Tensor x = variable({0});
  SGD optimizer({x}, {.lr = 1});
  for (const double lr : {1.0, 0.25, 0.0}) {
    optimizer.set_lr(lr);
    CHECK(optimizer.lr() == lr);
    Tensor(x).set_grad(tensor({1}));
    optimizer.step();
  }
  CHECK(x.item() == -1.25);
}

TEST_CASE("state, load_state: resuming is bit-exact, for every optimiser") {
  for (size_t k = 0; k < cases.size(); ++k) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(k);
      const Tensor straight = start(dtype);
      const Optim one = cases[k].make({straight});
      for (int i = 0; i < 3; ++i) descend(*one, straight);
      one->set_lr(0.037);
      const NamedTensors saved = one->state();
      const Tensor resumed = Tensor::from_bytes(straight.to_bytes(), dtype, {3}).requires_grad_();
      for (int i = 0; i < 4; ++i) descend(*one, straight);  // must not touch what was saved

      const Optim two = cases[k].make({resumed});
      two->load_state(saved);
      CHECK(two->lr() == 0.037);
      for (int i = 0; i < 4; ++i) descend(*two, resumed);
      CHECK(resumed.to_bytes() == straight.to_bytes());
    }
  }
}

TEST_CASE("load_state: what does not fit is refused by name, and nothing changes") {
  const Tensor x = start(DType::f32);
  Adam optimizer(NamedTensors{{"rnn.weight", x}}, {.lr = 0.1});
  descend(optimizer, x);
  const NamedTensors good = optimizer.state();
  const auto refused = [&](const std::function<void(NamedTensors&)>& damage) {
    NamedTensors state = good;
    damage(state);
    state[0].second = Tensor::from(Doubles{99}, {});
    return message_of([&] { optimizer.load_state(state); });
  };
  CHECK(refused([](auto& s) { s.pop_back(); }) ==
        Contains("\"rnn.weight.exp_avg_sq\" is missing: want f32 [3]"));
  CHECK(refused([](auto& s) { s.emplace_back("x.step", tensor({1})); }) ==
        Contains("\"x.step\" belongs to no"));
  CHECK(refused([](auto& s) { s.push_back(s[1]); }) == Contains("\"rnn.weight.step\" comes twice"));
  CHECK(refused([](auto& s) { s[2].second = tensor({1, 2, 3}); }) == Contains("is f64 [3]: want f32 [3]"));
  CHECK(refused([](auto& s) { s[2].second = tensor({1}, DType::f32); }) ==
        Contains("is f32 [1]: want f32 [3]"));
  CHECK(refused([](auto& s) { s[2].second = {}; }) == Contains("exp_avg\" is undefined"));
  CHECK(refused([](auto& s) { s[1].second = Tensor::from(std::vector<int64_t>{-1}, {}); }) ==
        Contains("is -1"));
  CHECK(refused([](auto& s) { s.erase(s.begin()), s.insert(s.begin(), s[0]); }) == Contains("comes twice"));
  CHECK(message_of([&] {
          NamedTensors state = good;
          state[0].second = Tensor::from(Doubles{quiet_nan}, {});
          optimizer.load_state(state);
        }) == Contains("a learning rate of nan"));
  CHECK(optimizer.lr() == 0.1);
  const NamedTensors after = optimizer.state();
  for (size_t k = 0; k < good.size(); ++k) CHECK(after[k].second.to_bytes() == good[k].second.to_bytes());
}

TEST_CASE("parameters and options that make no sense are refused") {
  const Tensor x = start(DType::f64), y = start(DType::f64);
  const auto sgd = [&](SGDOptions options) { return message_of([&] { SGD({x}, options); }); };
  CHECK(sgd({.lr = -1}) == Contains("[SGD] a learning rate of -1: want"));
  CHECK(sgd({.lr = quiet_nan}) == Contains("a learning rate of nan"));
  CHECK(sgd({.lr = inf}) == Contains("a learning rate of inf"));
  CHECK(sgd({.momentum = -0.1}) == Contains("momentum -0.1: want at least 0"));
  CHECK(sgd({.dampening = quiet_nan}) == Contains("dampening nan"));
  CHECK(sgd({.weight_decay = -1}) == Contains("weight_decay -1"));
  CHECK(sgd({.nesterov = true}) == Contains("nesterov with momentum 0"));
  CHECK(sgd({.momentum = 0.9, .dampening = 0.1, .nesterov = true}) == Contains("and dampening 0.1"));
  CHECK(sgd({.lr = 0}) == Contains("nothing was thrown"));
  CHECK(message_of([&] {
          Adam({x}, {.betas = {1, 0.9}});
        }) == Contains("betas[0] 1: want at least 0 and less than 1"));
  CHECK(message_of([&] { Adam({x}, {.betas = {0.9, -0.1}}); }) == Contains("betas[1] -0.1"));
  CHECK(message_of([&] { Adam({x}, {.eps = -1}); }) == Contains("eps -1"));
  CHECK(message_of([&] { AdamW({x}, {.weight_decay = quiet_nan}); }) == Contains("[AdamW] weight_decay nan"));
  CHECK(message_of([&] { Adagrad({x}, {.lr_decay = -1}); }) == Contains("lr_decay -1"));
  CHECK(message_of([&] { Adagrad({x}, {.initial_accumulator_value = -1}); }) ==
        Contains("initial_accumulator_value -1"));
  CHECK(message_of([&] { RMSprop({x}, {.alpha = -1}); }) == Contains("alpha -1"));
  CHECK(message_of([&] { RMSprop({x}, {.momentum = -1}); }) == Contains("momentum -1"));
  CHECK(message_of([&] { SGD({x}).set_lr(-2); }) == Contains("a learning rate of -2"));

  CHECK(message_of([&] { SGD({x, y, x}); }) == Contains("parameters \"0\" and \"2\" are one variable"));
  CHECK(message_of([&] { SGD(NamedTensors{{"w", x}, {"w", y}}); }) == Contains("both named \"w\""));
  CHECK(message_of([&] {
          SGD({x, tensor({1})});
        }) == Contains("parameter \"1\" is a computed or constant tensor"));
  CHECK(message_of([&] {
          SGD({x, x * 2.0});
        }) == Contains("parameter \"1\" is a computed or constant tensor"));
  CHECK(message_of([&] { SGD({Tensor()}); }) == Contains("parameter \"0\" is an undefined tensor"));
  CHECK(message_of([&] { SGD(std::vector<Tensor>{}); }) == Contains("[SGD] an empty list"));
  CHECK(message_of([&] { clip_grad_norm({x}, -1); }) == Contains("max_norm -1"));
  CHECK(message_of([&] { clip_grad_norm({x}, quiet_nan); }) == Contains("max_norm nan"));
  CHECK(message_of([&] { clip_grad_norm({x}, 1, 0); }) == Contains("norm_type 0"));
  CHECK(message_of([&] { clip_grad_norm({x, x}, 1); }) == Contains("are one variable"));
  CHECK(message_of([&] { clip_grad_value({x}, quiet_nan); }) == Contains("a bound of nan"));
}

TEST_CASE("clip_grad_norm: PyTorch's norm and gradients, for every p") {
  struct Norm {
    double p, norm;
    Doubles first, second;
  };
  const std::vector<Norm> norms{
      {1.0,
       13.0,
       {0.5769230325443822, -0.7692307100591762},
       {0.19230767751479405, 0.3846153550295881, 0.3846153550295881, -0.19230767751479405}},
      {2.0,
       5.916079783099616,
       {1.2677311678070968, -1.6903082237427958},
       {0.42257705593569894, 0.8451541118713979, 0.8451541118713979, -0.42257705593569894}},
      {3.0,
       4.776856181035017,
       {1.5700699677135734, -2.093426623618098},
       {0.5233566559045245, 1.046713311809049, 1.046713311809049, -0.5233566559045245}},
      {inf,
       4.0,
       {1.874999531250117, -2.499999375000156},
       {0.624999843750039, 1.249999687500078, 1.249999687500078, -0.624999843750039}},
  };
  for (const Norm& want : norms) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(want.p);
      const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-12;
      const Tensor a = with_grad({3, -4}, dtype), b = with_grad({1, 2, 2, -1}, dtype),
                   none = variable({1}, dtype);
      CHECK(clip_grad_norm({a, none, b}, 2.5, want.p) == doctest::Approx(want.norm).epsilon(1e-12));
      check_close(grad_of(a), want.first, tolerance);
      check_close(grad_of(b), want.second, tolerance);
      CHECK_FALSE(none.grad().defined());
      const auto before = grad_of(a);
      CHECK(clip_grad_norm({a, b}, 100, want.p) <= 2.5 + 1e-6);  // within the bound nothing changes
      CHECK(grad_of(a) == before);
    }
  }
}

TEST_CASE("clip_grad_norm: the same bits whatever the threads, and exact where f32 would not be") {
  const size_t n = 300'001;
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = 1 + 1e-3F * static_cast<float>(i % 1000);
  Tensor t = Tensor::from(std::vector<float>(n), {static_cast<int64_t>(n)}).requires_grad_();
  t.set_grad(Tensor::from(values, t.shape()));
  const double exact = std::sqrt(std::accumulate(
      values.begin(), values.end(), 0.0, [](double s, float v) { return s + double{v} * double{v}; }));
  set_num_threads(1);
  const double one = clip_grad_norm({t}, inf);
  set_num_threads(3);
  const double three = clip_grad_norm({t}, inf);
  set_num_threads(0);
  CHECK(one == three);
  CHECK(one == doctest::Approx(exact).epsilon(1e-13));
  CHECK(clip_grad_norm({t}, inf, inf) == values[999]);
}

TEST_CASE("clip: NaN and infinity as in PyTorch") {
  for (const double p : {1.0, 2.0, inf}) {
    CAPTURE(p);
    const Tensor a = with_grad({1, quiet_nan, 2}), b = with_grad({1, inf});
    CHECK_FALSE(all_finite({a}));
    CHECK_FALSE(all_finite({b}));
    CHECK(clip_grad_norm({b}, 1, p) == inf);
    CHECK(grad_of(b)[0] == 0);
    CHECK(std::isnan(grad_of(b)[1]));
    CHECK(std::isnan(clip_grad_norm({a}, 1, p)));
    for (const double g : grad_of(a)) CHECK(std::isnan(g));
  }
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = with_grad({-7, quiet_nan, 2, inf, -inf, 0.5}, dtype);
    clip_grad_value({a}, 5);
    const auto g = grad_of(a);
    CHECK(g[0] == -5);
    CHECK(std::isnan(g[1]));
    CHECK(Doubles(g.begin() + 2, g.end()) == Doubles{2, 5, -5, 0.5});
  }
  CHECK(all_finite({with_grad({1, 2}), with_grad({-1e308}), variable({quiet_nan})}));
  CHECK_FALSE(all_finite({with_grad({1, 2}), with_grad({1, -inf}, DType::f32)}));
}

TEST_CASE("clip: memory that somebody else sees is left alone") {
  const Tensor a = variable({0, 0}), b = variable({0, 0});
  (a + b).backward(tensor({3, 4}), {});  // both may have received the same tensor
  const Tensor seen = a.grad();
  CHECK(clip_grad_norm({a, b}, 1) == doctest::Approx(std::sqrt(50.0)));
  CHECK(seen.to_vector<double>() == Doubles{3, 4});
  check_close(grad_of(a), {3 / std::sqrt(50.0), 4 / std::sqrt(50.0)}, 1e-6);
  check_close(grad_of(b), grad_of(a), 0);

  const Tensor whole = tensor({8, 1, 9}), c = variable({0, 0});
  Tensor(c).set_grad(slice(whole, 0, 0, 2));  // a view
  clip_grad_value({c}, 2);
  CHECK(grad_of(c) == Doubles{2, 1});
  CHECK(whole.to_vector<double>() == Doubles{8, 1, 9});

  const Tensor spread = variable({0, 0});
  Tensor(spread).set_grad(broadcast_to(tensor({8}), {2}));
  clip_grad_value({spread}, 2);
  CHECK(grad_of(spread) == Doubles{2, 2});

  const Tensor d = variable({5}), pending = variable({0});
  Tensor(pending).set_grad(d);  // a variable as gradient
  clip_grad_value({pending}, 2);
  CHECK(d.item() == 5);
  CHECK(grad_of(pending) == Doubles{2});
  Tensor(pending).set_grad(variable({5}).requires_grad_(false));  // and one that nobody else holds
  clip_grad_value({pending}, 2);
  CHECK(grad_of(pending) == Doubles{2});
  const Tensor e = with_grad({6});
  const Tensor later = e.grad() * 1.0;  // recorded, not computed
  clip_grad_value({e}, 2);
  CHECK(later.item() == 6);
}
