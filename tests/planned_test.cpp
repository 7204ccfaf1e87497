// All op samples and all layers: planned, by all passes and without each of them, equals eager.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <random>

#include "core/op.h"
#include "core/plan/plan.h"
#include "reel.h"
#include "tests/every_cell.h"

using namespace reel;

namespace {

[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

const char* const kPlans[] = {"", "-prune", "-batch", "-accumulate", "-fuse", "-place", "none"};

using Rows = std::vector<std::vector<double>>;

double distance(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    if (a[k].size() != b[k].size()) return INFINITY;
    double largest = 1e-2;
    for (double x : b[k]) largest = std::isfinite(x) ? std::max(largest, std::fabs(x)) : largest;
    for (size_t i = 0; i < a[k].size(); ++i) {
      if (a[k][i] == b[k][i] || (std::isnan(a[k][i]) && std::isnan(b[k][i]))) continue;
      const double d = std::fabs(a[k][i] - b[k][i]) / largest;
      worst = std::isnan(d) ? INFINITY : std::max(worst, d);
    }
  }
  return worst;
}

// `run` under each choice of passes against eager.
void check_passes(const std::string& name, const std::function<Rows()>& run, double bound) {
  const Rows want = [&] {
    const Eager eager;
    return run();
  }();
  REQUIRE(!want.empty());
  for (const char* passes : kPlans) {
    set_plan_passes(passes);
    for (int time = 0; time < 2; ++time) {  // by a new plan, and by one found again
      const double d = distance(run(), want);
      CHECK_MESSAGE(d <= bound,
                    name << ", passes '" << std::string(passes) << "': relative difference " << d);
    }
  }
  set_plan_passes("");
}

Tensors inputs_of(const Sample& sample, DType dtype) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(sample.low, sample.high);
  Tensors in;
  for (const Shape& shape : sample.shapes) {
    std::vector<double> values(static_cast<size_t>(shape.numel()));
    for (double& v : values) v = uniform(random);
    in.push_back(
        Tensor::from_bytes(to(Tensor::from(values, shape), dtype).to_bytes(), dtype, shape).requires_grad_());
  }
  for (const Shape& shape : sample.id_shapes) {
    std::vector<int64_t> ids(static_cast<size_t>(shape.numel()));
    for (int64_t& id : ids)
      id = static_cast<int64_t>(random() % static_cast<uint64_t>(std::max<int64_t>(1, sample.ids_below)));
    in.push_back(Tensor::from(ids, shape));
  }
  return in;
}

// The value, first- and second-order gradients; the call stands twice, so that there is something to join.
Rows of_sample(const Sample& sample, DType dtype) {
  const DefaultDType scope(dtype);
  manual_seed(1);
  const Tensors in = inputs_of(sample, dtype);
  const Tensors wrt(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(sample.shapes.size()));
  Rows out;
  const Tensor y = sample.call(in);
  if (!is_float(y.dtype()) || !y.requires_grad()) return {y.to_vector<double>()};
  const Tensor again = sample.call(in);
  const Tensor loss = to(mean(square(tanh(y * 0.3))) + mean(again * y * 0.1), dtype);
  Tensor penalty = zeros({});
  for (const Tensor& g : grad({loss}, wrt)) penalty = penalty + mean(square(g));
  (loss + penalty).backward();
  out.push_back(y.to_vector<double>());
  for (const Tensor& x : wrt)
    out.push_back(x.grad().defined() ? x.grad().to_vector<double>() : std::vector<double>());
  return out;
}

// Loss and gradients of a model, twice: with an update in between.
Rows of_model(const nn::Module& model, const Tensors& inputs, const std::function<Tensor()>& f) {
  Rows out;
  std::vector<std::vector<std::byte>> before;
  for (const Tensor& p : model.parameters()) before.push_back(p.to_bytes());
  for (int step = 0; step < 2; ++step) {
    manual_seed(static_cast<uint64_t>(step));
    for (Tensor p : model.parameters()) p.zero_grad();
    for (Tensor x : inputs) x.zero_grad();
    const Tensor y = f();
    const Tensor loss = mean(square(y)) + mean(y * 0.1);
    loss.backward();
    out.push_back(y.to_vector<double>());
    for (Tensor p : model.parameters()) {
      out.push_back(p.grad().to_vector<double>());
      p.assign(p - p.grad() * 0.1);
    }
    for (const Tensor& x : inputs) out.push_back(x.grad().to_vector<double>());
  }
  size_t k = 0;
  for (Tensor p : model.parameters()) p.assign(Tensor::from_bytes(before[k++], p.dtype(), p.shape()));
  return out;
}

// Whether the op's call writes where it reads its first input.
bool overwrites(const plan::Plan& plan, const Op* op) {
  for (const plan::Step& step : plan.steps) {
    if (step.node < 0 || plan.nodes[static_cast<size_t>(step.node)].op != op) continue;
    const auto offset = [&](uint32_t k) {
      const plan::PlannedValue& v = plan.values[static_cast<size_t>(plan.operands[step.first + k])];
      return plan.roots[static_cast<size_t>(v.root)].offset + v.offset;
    };
    return offset(0) == offset(step.inputs);
  }
  return false;
}

void check_model(const std::string& name, const nn::Module& model, const Tensors& inputs,
                 const std::function<Tensor()>& f) {
  const DType dtype = model.parameters()[0].dtype();
  check_passes(
      fmt::format("{}, {}", name, name_of(dtype)), [&] { return of_model(model, inputs, f); },
      dtype == DType::f64 ? 1e-9 : 3e-4);
}

Tensor variable(const Shape& shape) {
  Tensor x = uniform(shape, -1, 1);
  eval({x});
  return x.requires_grad_();
}

template <class Layers, class... More>
void check_recurrent(const std::string& name, const More&... more) {
  for (bool both : {false, true}) {
    const Layers layers({}, 5, 4, {.num_layers = 2, .bidirectional = both, .dropout = 0.2}, more...);
    const Tensor x = variable({4, 3, 5});
    check_model(name, layers, {x}, [&] { return layers(x).output; });
    check_model(name + " of mixed lengths", layers, {x}, [&] {
      const auto [output, state] = layers(x, {}, {.lengths = {4, 1, 3}});
      return output + sum(square(nn::shown(state[0])));
    });
  }
}

template <class Cell>
void check_tree(const Cell& cell, const std::string& name) {
  const nn::Tree trees{{{}, {}, {0, 1}, {}, {}, {}, {4, 5}, {3, 6}, {2, 7}, {}, {}, {9, 10}, {}}};
  const Tensor words = variable({13, 4});
  check_model(name, cell, {words}, [&] {
    Tensors x, roots;
    for (size_t k = 0; k < trees.size(); ++k)
      x.push_back(slice(words, 0, static_cast<int64_t>(k), static_cast<int64_t>(k) + 1));
    auto states = nn::walk(cell, trees, x);
    for (int64_t root : trees.roots()) roots.push_back(nn::shown(states[static_cast<size_t>(root)]));
    return concat(roots, 0);
  });
}

void check_models() {
  manual_seed(11);
  for (const tests::Kind& kind : tests::every_cell()) check_recurrent<tests::AnyLayers>(kind.name, kind);
  {
    const nn::AdditiveAttention attention({}, 5, 6, 7);
    const Tensor keys = variable({3, 4, 6}), q = variable({3, 5}), r = variable({3, 5});
    check_model("attention", attention, {keys, q, r}, [&] {
      const auto memory = attention.remember(keys);
      return attention(q, memory).context * 2.0 + attention(r, memory).context;
    });
  }
  for (int64_t children : {2, 0}) {
    check_tree(nn::TreeLSTMCell({}, 4, 5, {.children = children}),
               children ? "binary tree" : "child-sum tree");
    check_tree(nn::RecursiveCell({}, 4, 5, {.children = children, .project = true}),
               children ? "recursive" : "recursive, any number of children");
  }
  for (bool first : {false, true}) {
    const nn::TransformerEncoderLayer layer(
        {}, 8, {.heads = 2, .feed_forward = 12, .dropout = 0.1, .norm_first = first});
    const Tensor x = variable({2, 5, 8});
    check_model("Transformer", layer, {x}, [&] { return layer(x); });
  }
}

}  // namespace

TEST_CASE("planned: op samples, also without each pass, as eager") {
  for (const Op* op : registry()) {
    if (!op->samples || op->kind == Kind::source) continue;
    size_t k = 0;
    for (const Sample& sample : op->samples()) {
      for (const DType dtype : {DType::f64, DType::f32}) {
        check_passes(
            fmt::format("[{}] sample {}, {}", op->name, k, name_of(dtype)),
            [&] { return of_sample(sample, dtype); }, dtype == DType::f64 ? 1e-9 : 3e-4);
      }
      ++k;
    }
  }
}

TEST_CASE("planned: recurrent layers, attention, trees and Transformers, also without each pass, as eager") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const DefaultDType scope(dtype);
    check_models();
  }
}

TEST_CASE("planned: a result that takes the place of its input") {
  for (const Op* op : registry()) {
    if (!op->in_place) continue;
    set_plan_passes("-loss");  // which would compute a loss and its gradient another way
    int in_place = 0;
    for (const Sample& sample : op->samples()) {
      for (const DType dtype : {DType::f32, DType::f64}) {
        const auto run = [&](bool look) {
          Tensor z;
          {
            const NoGrad none;
            Tensors in = inputs_of(sample, dtype);
            for (Tensor& x : in) x = is_float(x.dtype()) ? x + 0.25 : x;
            z = sample.call(in) * 2.0;
          }
          if (look) in_place += overwrites(*plan::pending_plan(Tape::current()), op);
          return z.to_vector<double>();
        };
        const std::vector<double> want = [&] {
          const Eager eager;
          return run(false);
        }();
        CHECK_MESSAGE(run(true) == want, op->name << ", " << name_of(dtype));
      }
    }
    CHECK_MESSAGE(in_place > 0, op->name);
  }
  set_plan_passes("");
}
