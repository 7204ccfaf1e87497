// Cross-entropy and its gradient in one pass over the logits: where the planner does it, and that nothing but
// the time changes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/plan/plan.h"
#include "core/tape.h"
#include "reel.h"

namespace reel {
namespace {

bool has(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }
constexpr const char* kJoined = "cross_entropy_and_grad";

using Numbers = std::vector<std::vector<float>>;

Numbers numbers(const Tensors& values) {
  Numbers all;
  for (const Tensor& x : values) all.push_back(x.to_vector<float>());
  return all;
}

double distance(const Numbers& a, const Numbers& b) {
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    REQUIRE(a[k].size() == b[k].size());
    for (size_t i = 0; i < a[k].size(); ++i) {
      if (std::isnan(a[k][i]) && std::isnan(b[k][i])) continue;
      const double want = b[k][i], off = std::fabs(a[k][i] - want) / (1 + std::fabs(want));
      if (!(off <= worst)) worst = std::isnan(off) ? INFINITY : off;
    }
  }
  return worst;
}

// An output layer: rows times weight, plus a bias.
struct Layer {
  int64_t rows, classes;
  Tensor x, weight, bias, targets;

  Layer(int64_t rows, int64_t classes, int64_t ignored = -100) : rows(rows), classes(classes) {
    manual_seed(5);
    x = uniform({rows, 6}, -1, 1).requires_grad_();
    weight = uniform({classes, 6}, -1, 1).requires_grad_();
    bias = uniform({classes}, -1, 1).requires_grad_();
    std::vector<int64_t> ids;
    for (int64_t r = 0; r < rows; ++r) ids.push_back(r % 5 == 3 ? ignored : (r * 7) % classes);
    targets = Tensor::from(ids, {rows});
    eval({x, weight, bias, targets});
  }
  Tensor logits() const { return matmul(x, transpose(weight, 0, 1)) + bias; }
  Tensors gradients(const Tensor& loss) const { return grad({loss}, {x, weight, bias}); }
};

// What `program` computes eagerly, and planned by one thread and two; `plan` receives the plan's text.
template <class Program>
void check_planned(const Program& program, std::string* plan = nullptr) {
  const Numbers want = [&] {
    const Eager eager;
    return numbers(program());
  }();
  Numbers one;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Tensors values = program();
    if (plan) *plan = plan_text();
    const Numbers got = numbers(values);
    CHECK(distance(got, want) < 3e-6);
    if (threads == 1) one = got;
    CHECK(distance(got, one) < 1e-6);
  }
  set_num_threads(0);
}

TEST_CASE("cross-entropy, its gradient, the bias and its gradient are one pass over the logits") {
  for (const auto& [rows, classes] : {std::pair{5, 7}, {1, 1}, {2, 16}, {37, 65}, {130, 200}, {900, 33}}) {
    const Layer layer(rows, classes);
    for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
      std::string plan;
      check_planned(
          [&] {
            const Tensor loss = cross_entropy(layer.logits(), layer.targets, {.reduction = reduction});
            Tensors all = layer.gradients(loss);
            all.push_back(loss);
            return all;
          },
          &plan);
      CHECK_MESSAGE(has(plan, kJoined), plan);
      CHECK_MESSAGE(!has(plan, "cross_entropy_grad"), plan);
      CHECK_MESSAGE(!has(plan, "sum_to"), plan);
    }
  }
}

// What is pending, as if nobody held any of it; but for the sum of logits and bias, if that `stays`.
plan::Graph pending(bool stays) {
  plan::Pending found;
  plan::read_structure(Tape::current().pending(), found);
  plan::Graph graph = plan::graph_of(found);
  const auto held = [&](const plan::GraphNode& n) { return stays && n.op->name == "add"; };
  std::erase_if(graph.results, [&](const plan::Result& r) { return !held(graph.node(r.id)); });
  for (plan::GraphNode& n : graph.nodes) n.stays = held(n);
  return graph;
}

TEST_CASE("a bias is added by the pass where nobody else reads the sum") {
  const Layer layer(6, 9);
  for (const std::string_view reader : {"", "a handle", "softmax"}) {
    const Tensor z = layer.logits();
    const Tensors gradients = layer.gradients(cross_entropy(z, layer.targets));
    const Tensor other = reader == "softmax" ? softmax(z, -1) : Tensor();
    const plan::Graph after = plan::loss(pending(reader == "a handle"));
    const auto count = [&](std::string_view name) {
      return std::count_if(after.nodes.begin(), after.nodes.end(),
                           [&](const auto& n) { return n.op->name == name; });
    };
    CHECK(count("add") == (reader.empty() ? 0 : 1));
    CHECK(count(kJoined) == 1);
    CHECK(count("cross_entropy") + count("cross_entropy_grad") + count("sum_to") == 0);
    for (size_t k = 0; k < after.nodes.size(); ++k) {
      for (const plan::Id id : after.in(after.nodes[k])) CHECK((id >= 0 && id < after.id_of(k)));
    }
  }
}

TEST_CASE("an ignored row has no loss and no gradient, and rows may have cotangents of their own") {
  const Layer layer(41, 9, 4);  // the class that is ignored is also a target
  const Tensor weights = Tensor::from(
      [] {
        std::vector<float> w;
        for (int k = 0; k < 41; ++k) w.push_back(static_cast<float>(k) / 8 - 2);
        return w;
      }(),
      {41});
  std::string plan;
  check_planned(
      [&] {
        const Tensor rows =
            cross_entropy(layer.logits(), layer.targets, {.ignore_index = 4, .reduction = Reduction::none});
        Tensors all = layer.gradients(sum(rows * weights));
        all.push_back(rows);
        return all;
      },
      &plan);
  CHECK_MESSAGE(has(plan, kJoined), plan);
}

TEST_CASE("logits that others read stay what they are") {
  const Layer layer(23, 19);
  for (const bool with_bias : {false, true}) {
    std::string plan;
    check_planned(
        [&] {
          const Tensor z = with_bias ? layer.logits() : matmul(layer.x, transpose(layer.weight, 0, 1));
          const Tensor loss = cross_entropy(z, layer.targets);
          Tensors all = grad({loss}, {layer.x, layer.weight});
          all.push_back(loss);
          all.push_back(z);
          all.push_back(softmax(z, -1));
          return all;
        },
        &plan);
    CHECK_MESSAGE(has(plan, kJoined), plan);
  }
}

TEST_CASE("a cotangent that waits for the loss leaves the two apart") {
  const Layer layer(12, 8);
  std::string plan;
  check_planned(
      [&] {
        const Tensor rows = cross_entropy(layer.logits(), layer.targets, {.reduction = Reduction::none});
        return layer.gradients(sum(rows * rows));
      },
      &plan);
  CHECK_MESSAGE(!has(plan, kJoined), plan);
  CHECK_MESSAGE(has(plan, "cross_entropy_grad"), plan);
}

TEST_CASE("two losses of the same logits, and none where the pass is off") {
  const Layer layer(12, 8), other(12, 8, 2);
  std::string plan;
  const auto program = [&] {
    const Tensor z = layer.logits();
    return layer.gradients(cross_entropy(z, layer.targets) +
                           2.0 * cross_entropy(z, other.targets, {.ignore_index = 2}));
  };
  check_planned(program, &plan);
  CHECK_MESSAGE(has(plan, kJoined), plan);
  set_plan_passes("-loss");
  check_planned(program, &plan);
  CHECK_MESSAGE(!has(plan, kJoined), plan);
  set_plan_passes("");
}

TEST_CASE("logits that are no numbers spoil their row alone") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t classes : {3, 17, 40}) {
    std::vector<float> z(static_cast<size_t>(5 * classes), 0.5f);
    z[1] = nan;
    z[static_cast<size_t>(classes) + 2] = inf;
    z[static_cast<size_t>(2 * classes) + 1] = -inf;
    for (int64_t c = 0; c < classes; ++c) z[static_cast<size_t>(3 * classes + c)] = -inf;
    z[static_cast<size_t>(4 * classes) + 2] = 3e38f;
    const Tensor logits = Tensor::from(z, {5, classes}).requires_grad_();
    const Tensor targets = Tensor::from(std::vector<int64_t>{0, 0, 0, 0, 2}, {5});
    std::string plan;
    check_planned(
        [&] {
          const Tensor rows = cross_entropy(logits, targets, {.reduction = Reduction::none});
          return Tensors{rows, grad(sum(rows), logits)};
        },
        &plan);
    CHECK_MESSAGE(has(plan, kJoined), plan);
  }
}

TEST_CASE("a target out of range is refused by the loss's name and position") {
  const Layer layer(3, 4);
  const Tensor targets = Tensor::from(std::vector<int64_t>{0, 9, 1}, {3});
  const Tensor loss = cross_entropy(layer.logits(), targets);
  const Tensors gradients = layer.gradients(loss);
  CHECK_THROWS_WITH_AS(eval(gradients), doctest::Contains("[cross_entropy] target 9 at position [1]"), Error);
}

}  // namespace
}  // namespace reel
