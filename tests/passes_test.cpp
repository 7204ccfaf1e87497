// Each pass of the planner by itself: from graph to graph, nothing run.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include <fmt/ranges.h>

#include "core/plan/plan.h"
#include "core/structural.h"
#include "core/tape.h"
#include "reel.h"

using namespace reel;
using plan::Graph;
using plan::GraphNode;
using plan::Id;

namespace {

// What is pending now, as a graph.
Graph pending() {
  plan::Pending found;
  plan::read_structure(Tape::current().pending(), found);
  return plan::graph_of(found);
}

std::vector<size_t> all_of(const Graph& graph, std::string_view op) {
  std::vector<size_t> found;
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    if (graph.nodes[k].op->name == op) found.push_back(k);
  }
  return found;
}
size_t count(const Graph& graph, std::string_view op) { return all_of(graph, op).size(); }

// The only node of this op.
const GraphNode& only(const Graph& graph, std::string_view op) {
  const auto found = all_of(graph, op);
  REQUIRE(found.size() == 1);
  return graph.nodes[found[0]];
}

// Every input comes before its reader, every result exists and has the shape of the pending node it stands
// for.
void check_sound(const Graph& before, const Graph& after) {
  for (size_t k = 0; k < after.nodes.size(); ++k) {
    for (Id id : after.in(after.nodes[k])) CHECK((id >= 0 && id < after.id_of(k)));
  }
  REQUIRE(after.results.size() == before.results.size());
  for (size_t r = 0; r < after.results.size(); ++r) {
    CHECK(after.results[r].pending == before.results[r].pending);
    CHECK(after.shape(after.results[r].id) == before.shape(before.results[r].id));
    if (after.is_node(after.results[r].id)) CHECK(after.node(after.results[r].id).stays);
  }
}

Tensor variable(const Shape& shape) { return uniform(shape, -1, 1).requires_grad_(); }
// Computed, so that it is a leaf; what is made of it needs no history, and only what is held stays.
Tensor constant(const Shape& shape) {
  const Tensor x = uniform(shape, -1, 1);
  eval({x});
  return x;
}

struct Lstm {
  int64_t in = 24, hidden = 32, batch = 20;  // too large for pointwise calls to be joined
  Tensor w = variable({in, 4 * hidden}), u = variable({hidden, 4 * hidden}), b = variable({4 * hidden});
  Tensors x;

  explicit Lstm(int steps) {
    for (int t = 0; t < steps; ++t) x.push_back(uniform({batch, in}, -1, 1));
    eval(x);
    eval({w, u, b});
  }
  Tensor loss() const {
    Tensor h = zeros({batch, hidden}), c = zeros({batch, hidden});
    for (const Tensor& step : x) {
      const auto [i, f, g, o] = split<4>(matmul(step, w) + b + matmul(h, u));
      c = sigmoid(f) * c + sigmoid(i) * tanh(g);
      h = sigmoid(o) * tanh(c);
    }
    return sum(h);
  }
  Tensor value() const {
    const NoGrad none;
    return loss();
  }
  Tensors gradients() const {  // the loss itself is not held
    return grad({loss()}, {w, u, b}, {.cotangents = {}, .create_graph = false});
  }
};

}  // namespace

// ---- prune ----

TEST_CASE("prune: equal nodes become one, and what needs them follows") {
  const Tensor x = constant({3, 4}), w = constant({4, 4});
  const Tensor a = tanh(matmul(x, w)), b = tanh(matmul(x, w)), c = tanh(matmul(x, w) * 2.0);
  const Tensor y = a + b;
  const Graph before = pending(), after = plan::prune(before);
  check_sound(before, after);
  CHECK(count(before, "matmul") == 3);
  CHECK(count(after, "matmul") == 1);
  CHECK(count(after, "tanh") == 2);
  const GraphNode& add = only(after, "add");
  CHECK(after.in(add)[0] == after.in(add)[1]);
  // Both handles still get their value.
  CHECK(after.results[0].id == after.results[1].id);
}

TEST_CASE("prune: nodes that differ in an input, a constant, a shape or the order of inputs stay apart") {
  const Tensor x = variable({3, 4}), z = variable({3, 4});
  eval({x, z});
  const Tensors y = {x - z,
                     z - x,
                     x * 2.0,
                     x * 3.0,
                     slice(x, 1, 0, 2),
                     slice(x, 1, 1, 3),
                     slice(x, 0, 0, 2),
                     reshape(x, {4, 3}),
                     reshape(x, {12}),
                     x + z};
  const Graph before = pending(), after = plan::prune(before);
  check_sound(before, after);
  CHECK(after.nodes.size() == before.nodes.size());
}

TEST_CASE("prune: random sources are never equal, numbers are") {
  const Tensor x = uniform({3, 4}), y = uniform({3, 4});
  const Tensor a = full({3, 4}, 2), b = full({3, 4}, 2), c = full({3, 4}, 3), d = full({4, 3}, 2);
  const Graph before = pending(), after = plan::prune(before);
  check_sound(before, after);
  CHECK(count(after, "uniform") == 2);
  CHECK(count(after, "full") == 3);
}

TEST_CASE("prune: what nothing that stays depends on is dropped") {
  const Tensor x = constant({3, 4});
  const Tensor kept = tanh(x);
  const Tensor dead = exp(sqrt(x * x) + abs(x));
  Graph before = pending();
  std::erase_if(before.results, [&](const plan::Result& r) { return before.node(r.id).op->name == "exp"; });
  const Graph after = plan::prune(before);
  CHECK(after.nodes.size() == 1);
  CHECK(count(after, "tanh") == 1);
}

// ---- batch ----

TEST_CASE("batch: products of many values with one weight become one; with two weights, two") {
  const Tensor w = variable({4, 5}), v = variable({4, 5});
  Tensors x, y;
  for (int t = 0; t < 6; ++t) x.push_back(uniform({t + 1, 4}));
  eval(x);
  eval({w, v});
  for (const Tensor& t : x) y.push_back(matmul(t, w));
  for (const Tensor& t : x) y.push_back(matmul(t, v));
  const Graph before = pending(), after = plan::batch(before);
  check_sound(before, after);
  REQUIRE(count(after, "matmul") == 2);
  for (size_t k : all_of(after, "matmul")) CHECK(after.nodes[k].shape == Shape{21, 5});
  // Each result is its own stretch of rows.
  std::vector<int64_t> begins;
  for (const plan::Result& r : after.results) begins.push_back(after.node(r.id).i[1]);
  std::vector<int64_t> want{0, 1, 3, 6, 10, 15};
  want.insert(want.end(), {0, 1, 3, 6, 10, 15});
  CHECK(begins == want);
}

TEST_CASE("batch: ids that are selected one after another are looked up where they lie") {
  const Tensor table = variable({7, 3});
  const Tensor ids = Tensor::from(std::vector<int64_t>{6, 0, 3, 3, 5, 1}, {6, 1});
  Tensors rows;
  for (int t = 1; t < 6; ++t) rows.push_back(embedding(table, select(ids, 0, t)));
  const Graph before = pending(), after = plan::prune(plan::batch(before));
  CHECK(count(before, "reshape") == 0);
  check_sound(before, after);
  CHECK(only(after, "index_select").shape == Shape{5, 3});
  CHECK(count(after, "concat") == 0);
  CHECK(rows[4].to_vector<float>() == embedding(table, select(ids, 0, 5)).to_vector<float>());
  // Out of order they are joined.
  rows.clear();
  for (int t : {1, 0, 2}) rows.push_back(embedding(table, select(ids, 0, t)));
  CHECK(count(plan::prune(plan::batch(pending())), "concat") == 1);
}

TEST_CASE("batch: a template that selects from its rows is joined") {
  const Once cell = once([](const Tensors& in) -> Tensors {
    return {select(reshape(in[0], {in[0].size(0), 2, 3}), 1, 1) * 2.0};
  });
  Tensors x, y;
  for (int t = 0; t < 4; ++t) x.push_back(uniform({2, 6}));
  eval(x);
  for (const Tensor& t : x) y.push_back(cell({t})[0]);
  CHECK(only(plan::prune(plan::batch(pending())), "mul").shape == Shape{8, 3});
  for (size_t t = 0; t < 4; ++t)
    CHECK(y[t].to_vector<float>() == (slice(x[t], 1, 3, 6) * 2.0).to_vector<float>());
}

TEST_CASE("batch: what enters a recurrence is joined, the recurrence is not, what leaves it waits") {
  const Tensor w = variable({3, 4}), u = variable({4, 4}), out = variable({4, 5});
  Tensors x;
  for (int t = 0; t < 7; ++t) x.push_back(uniform({2, 3}));
  eval(x);
  eval({w, u, out});
  Tensor h = full({2, 4}, 0.5);
  Tensors logits;
  for (const Tensor& t : x) {
    h = tanh(matmul(t, w) + matmul(h, u));
    logits.push_back(matmul(h, out));
  }
  set_plan_passes("-roll");
  const Graph before = pending(), after = plan::batch(before);
  set_plan_passes("");
  check_sound(before, after);
  std::vector<int64_t> rows[3];  // of products with w, u, out
  for (size_t k : all_of(after, "matmul")) {
    const GraphNode& n = after.nodes[k];
    const int64_t inner = after.shape(after.in(n)[1])[0];
    rows[inner == 3 ? 0 : n.shape[1] == 4 ? 1 : 2].push_back(n.shape[0]);
  }
  CHECK(rows[0] == std::vector<int64_t>{14});
  CHECK(rows[1] == std::vector<int64_t>(7, 2));
  CHECK(rows[2] == std::vector<int64_t>{14});
}

TEST_CASE("batch: sequences of different lengths go step by step together") {
  const Tensor u = constant({4, 4}), starts[] = {constant({1, 4}), constant({1, 4}), constant({1, 4})};
  const int lengths[] = {3, 5, 2};
  Tensors ends;
  for (int k = 0; k < 3; ++k) {
    Tensor h = starts[k];
    const int length = lengths[k];
    for (int t = 0; t < length; ++t) h = tanh(matmul(h, u));
    ends.push_back(h);
  }
  set_plan_passes("-roll");
  const Graph before = pending(), after = plan::batch(before);
  set_plan_passes("");
  check_sound(before, after);
  std::vector<int64_t> rows;
  for (size_t k : all_of(after, "matmul")) rows.push_back(after.nodes[k].shape[0]);
  CAPTURE(doctest::String(fmt::format("{}", fmt::join(rows, " ")).c_str()));
  CHECK(rows == std::vector<int64_t>{3, 3, 2, 1, 1});
}

TEST_CASE("batch: a forest written node by node has as many products as heights") {
  const Tensor u = variable({8, 4}), words = variable({9, 4});
  eval({u, words});
  Tensors roots;
  std::mt19937 random(5);
  int highest = 0;
  for (int tree = 0; tree < 5; ++tree) {
    std::vector<std::pair<Tensor, int>> open;
    for (int leaf = 0; leaf < 6; ++leaf) {
      open.push_back({index_select(words, 0, Tensor::from(std::vector<int64_t>{(tree + leaf) % 9}, {1})), 0});
    }
    while (open.size() > 1) {
      const size_t at = random() % (open.size() - 1);
      open[at] = {tanh(matmul(concat({open[at].first, open[at + 1].first}, 1), u)),
                  1 + std::max(open[at].second, open[at + 1].second)};
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    roots.push_back(open[0].first);
    highest = std::max(highest, open[0].second);
  }
  const Graph before = pending(), after = plan::batch(before);
  check_sound(before, after);
  CHECK(count(before, "matmul") == 25);
  CHECK(count(after, "matmul") == static_cast<size_t>(highest));
  CHECK(count(after, "tanh") == static_cast<size_t>(highest));
  CHECK(count(after, "index_select") == 1);
}

TEST_CASE("batch: sources are not joined, nor products of different kinds") {
  const Tensor w = constant({4, 4}), s = constant({2, 3, 4}), v = constant({2, 4, 4}),
               z = constant({2, 4, 4});
  const Tensor a = matmul(uniform({2, 4}), w), b = matmul(uniform({2, 4}), w);
  const Tensor turned = matmul(a, transpose(w, 0, 1)), c = matmul(s, v), d = matmul(s, z);
  const Graph before = pending(), after = plan::batch(before);
  check_sound(before, after);
  CHECK(count(after, "uniform") == 2);
  CHECK(count(before, "matmul") == 5);
  CHECK(count(after, "matmul") == 4);
}

// ---- accumulate ----

TEST_CASE("sums: a weight's gradient over time is one product of joined rows") {
  const Tensor u = variable({4, 4});
  eval({u});
  Tensor h = full({2, 4}, 0.5);
  for (int t = 0; t < 6; ++t) h = tanh(matmul(h, u));
  const Tensor du = grad(sum(h), u, {.cotangents = {}, .create_graph = false});
  const Graph before = plan::prune(pending()), after = plan::prune(plan::join_sums(before));
  check_sound(before, after);
  const auto outer = [](const Graph& g) {
    std::vector<int64_t> rows;
    for (size_t k : all_of(g, "matmul")) {
      if (g.nodes[k].i[0] == 1) rows.push_back(g.shape(g.in(g.nodes[k])[0])[0]);
    }
    return rows;
  };
  CHECK(outer(before) == std::vector<int64_t>(6, 2));
  CHECK(outer(after) == std::vector<int64_t>{12});
  CHECK(count(after, "accumulate") == 0);
}

// Which leaf pairs a product of two joins multiplies.
std::vector<std::pair<Id, Id>> pairs_of(const Graph& graph, const GraphNode& product) {
  const auto parts = [&](Id id) {
    REQUIRE(graph.is_node(id));
    REQUIRE(graph.node(id).op->kind == Kind::concat);
    const auto in = graph.in(graph.node(id));
    return std::vector<Id>(in.begin(), in.end());
  };
  const auto a = parts(graph.in(product)[0]), b = parts(graph.in(product)[1]);
  REQUIRE(a.size() == b.size());
  std::vector<std::pair<Id, Id>> pairs;
  for (size_t k = 0; k < a.size(); ++k) pairs.emplace_back(a[k], b[k]);
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

Tensor sum_of_products(const Tensors& a, const Tensors& b) {
  std::vector<Contribution> parts;
  for (size_t k = 0; k < a.size(); ++k) parts.push_back({matmul(transpose(a[k], 0, 1), b[k]), {}, {}});
  return accumulate(parts, {a[0].size(1), b[0].size(1)}, DType::f32);
}

TEST_CASE("sums: pairs keep together when both sides were joined before, in different orders") {
  Tensors a, b, other;
  for (int k = 0; k < 4; ++k) {
    a.push_back(uniform({2, 3}));
    b.push_back(uniform({2, 3}));
    other.push_back(uniform({2, 3}));
  }
  eval(a), eval(b), eval(other);
  const auto reversed = [](Tensors t) {
    std::reverse(t.begin(), t.end());
    return t;
  };
  // a is joined in one order, b in the other; then both together.
  const Tensor first = sum_of_products(other, reversed(a)), second = sum_of_products(other, b);
  const Tensor both = sum_of_products(a, b);
  const Graph before = pending(), after = plan::prune(plan::join_sums(before));
  check_sound(before, after);
  CHECK(count(after, "accumulate") == 0);
  const auto products = all_of(after, "matmul");
  REQUIRE(products.size() == 3);
  // What the tape multiplied.
  const auto want = [&](Id sum) {
    std::vector<std::pair<Id, Id>> pairs;
    for (Id product : before.in(before.node(sum))) {
      const auto in = before.in(before.node(product));
      pairs.emplace_back(before.is_node(in[0]) ? before.in(before.node(in[0]))[0] : in[0], in[1]);
    }
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  };
  for (size_t r = 0; r < 3; ++r) {
    CHECK(pairs_of(after, after.node(after.results[r].id)) == want(before.results[r].id));
  }
}

// ---- sink ----

TEST_CASE("sink: gates that are sliced from one wide value become narrow values") {
  const Tensor z = constant({2, 8}), b = constant({8});
  Tensor y;
  {
    const auto [p, q] = split<2>(tanh(z + b));
    y = p * q;
  }
  const Graph before = pending(), after = plan::prune(plan::sink(before));
  check_sound(before, after);
  CHECK(count(after, "tanh") == 2);
  for (size_t k : all_of(after, "tanh")) CHECK(after.nodes[k].shape == Shape{2, 4});
  for (size_t k : all_of(after, "slice")) CHECK_FALSE(after.is_node(after.in(after.nodes[k])[0]));
}

TEST_CASE("sink: a value that is also read whole, or stays, or whose slices overlap, is made once") {
  const Tensor z = constant({2, 8});
  // The widths of what tanh makes, where `read` reads it and drops it.
  const auto widths = [&](const auto& read) {
    const Tensors kept = read();
    const Graph after = plan::prune(plan::sink(pending()));
    std::vector<int64_t> widths;
    for (size_t k : all_of(after, "tanh")) widths.push_back(after.nodes[k].shape[1]);
    return widths;
  };
  const auto pieces = [](const Tensor& t, int64_t a, int64_t b, int64_t c, int64_t d) {
    return Tensors{slice(t, 1, a, b) * 2.0, slice(t, 1, c, d) * 2.0};
  };
  const std::vector<int64_t> whole{8};
  CHECK(widths([&] { return pieces(tanh(z), 0, 3, 5, 8); }) == std::vector<int64_t>{3, 3});
  CHECK(widths([&] { return pieces(tanh(z), 0, 6, 2, 8); }) == whole);
  CHECK(widths([&] {
          const Tensor t = tanh(z);
          return Tensors{slice(t, 1, 0, 4) * 2.0, sum(t, 1)};
        }) == whole);
  const Tensor stays = tanh(z);
  CHECK(widths([&] { return pieces(stays, 0, 4, 4, 8); }) == whole);
}

// ---- fuse ----

Graph fused() {
  Graph graph = plan::prune(plan::batch(pending(), true));
  graph = plan::join_sums(graph);
  graph = plan::prune(plan::sink(graph));
  plan::fuse(graph);
  return graph;
}

// Backward the output gate's gradient is a kernel of its own: nothing pointwise leads from it to the other
// three.
TEST_CASE("fuse: an LSTM step is one kernel forward and at most two backward") {
  const auto kernels = [](int steps, bool backward) {
    const Lstm model(steps);
    const Tensors kept = backward ? model.gradients() : Tensors{model.value()};
    return static_cast<int>(fused().kernels.size());
  };
  CHECK(kernels(6, false) - kernels(5, false) == 1);
  CHECK(kernels(9, true) - kernels(5, true) <= 4 * (1 + 2));
}

TEST_CASE("fuse: pointwise work that mixes lanes is a kernel by itself, where it runs once") {
  const Tensor ids = Tensor::from(std::vector<int64_t>{3, 1, 3, 0}, {4});
  const Tensor counts = to(not_equal(ids, 3.0), DType::f32), x = counts * 0.5;
  Graph graph = pending();
  plan::fuse(graph);
  for (const GraphNode& n : graph.nodes) CHECK((n.kernel >= 0) == (n.op->kind == Kind::pointwise));
  CHECK(x.to_vector<float>() == std::vector<float>{0, 0.5f, 0, 0.5f});
}

TEST_CASE("fuse: a kernel holds nodes of one space, and writes what others read and nothing else") {
  const Tensor x = constant({3, 4});
  Tensor wide, small;
  {
    const Tensor a = tanh(x) * 2.0 + 1.0, rows = sum(a, 1, true);  // read by a kernel and by a sum
    wide = exp(a) * x;
    small = sqrt(rows * rows + 1.0);
  }
  const Graph graph = fused();
  REQUIRE(graph.kernels.size() >= 2);
  for (const plan::Fused& kernel : graph.kernels) {
    for (size_t k = 0; k < graph.nodes.size(); ++k) {
      const auto number = graph.nodes[k].kernel;
      if (number >= 0 && &graph.kernels[static_cast<size_t>(number)] == &kernel)
        CHECK(graph.nodes[k].shape == kernel.space);
    }
  }
  size_t written = 0;
  for (const plan::Fused& kernel : graph.kernels) written += kernel.out.size();
  CHECK(written == 3);  // a, wide, small
}

TEST_CASE("fuse: nodes run after what they read") {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const Tensor w = variable({4, 4});
    Tensors values{variable({3, 4}), variable({3, 4})};
    eval(values), eval({w});
    for (int k = 0; k < 25; ++k) {
      const Tensor a = values[random() % values.size()], b = values[random() % values.size()];
      values.push_back(random() % 4 ? tanh(a + b * 0.5) : random() % 2 ? matmul(a, w) : a * sum(b, 1, true));
    }
    values.erase(values.begin() + 2, values.end() - 2);
    const Graph graph = fused();
    REQUIRE(graph.order.size() == graph.nodes.size());
    bool sound = true;
    for (size_t k = 0; k < graph.nodes.size(); ++k) {
      for (Id id : graph.in(graph.nodes[k])) {
        if (!graph.is_node(id) || graph.node(id).op == &full_op) continue;
        const size_t from = graph.node_of(id);
        const bool together = graph.nodes[k].kernel >= 0 && graph.nodes[k].kernel == graph.nodes[from].kernel;
        sound = sound && (together || graph.order[from] < graph.order[k] || graph.nodes[from].op->view);
      }
    }
    CHECK(sound);
  }
}

// ---- place ----

// Steps that only move what another step has made.
size_t copies(const plan::Plan& plan) {
  return static_cast<size_t>(std::count_if(plan.steps.begin(), plan.steps.end(), [&](const plan::Step& s) {
    if (s.what == plan::Do::call) return plan.nodes[static_cast<size_t>(s.node)].op->kind == Kind::concat;
    return s.what == plan::Do::copy || s.what == plan::Do::put;
  }));
}

TEST_CASE("place: the plan of an LSTM, forward and backward, copies nothing over time") {
  const auto copied = [](int steps) {
    const Lstm model(steps);
    const Tensors g = model.gradients();
    return copies(*plan::make_plan(pending(), true));
  };
  CHECK(copied(5) <= 2);  // the inputs, which are leaves, into one matrix, in the order of either pass
  CHECK(copied(9) == copied(5));
}

TEST_CASE("place: parts lie where their join wants them; where two joins disagree, a part is copied once") {
  const Tensor w = constant({4, 4});
  Tensors x;
  for (int t = 0; t < 3; ++t) x.push_back(constant({2, 4}));
  const auto parts = [&] {
    Tensors parts;
    for (const Tensor& t : x) parts.push_back(softmax(t, 1));
    return parts;
  };
  const auto plan_of = [](const Tensors&) { return copies(*plan::make_plan(pending())); };
  const auto join = [&](const std::vector<std::vector<int>>& orders) {
    const Tensors p = parts();
    Tensors out;
    for (const auto& order : orders) {
      Tensors in;
      for (int k : order) in.push_back(p[static_cast<size_t>(k)]);
      out.push_back(matmul(concat(in, 0), w));
    }
    return out;
  };
  set_plan_passes("-batch");
  CHECK(plan_of(join({{0, 1, 2}})) == 0);
  CHECK(plan_of(join({{0, 1, 2}, {0, 1, 2}})) == 0);
  CHECK(plan_of(join({{0, 1}, {0, 1, 2}})) == 0);  // the longer goes on where the shorter ends
  CHECK(plan_of(join({{0, 1, 2}, {0, 2}})) == 1);  // 2 cannot follow 0 twice
  CHECK(plan_of(join({{0, 0}})) == 1);             // one value in two places
  set_plan_passes("-batch,-place");
  CHECK(plan_of(join({{0, 1, 2}})) == 1);
  set_plan_passes("");
}

TEST_CASE("place: what two sums want of one kernel's result, the kernel writes twice") {
  const auto leaf = [](double first) {
    std::vector<float> values(6 * 8);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(first + 0.01 * static_cast<double>(i));
    return Tensor::from(values, {6, 8}).requires_grad_();
  };
  Tensor u = leaf(-0.2), v = leaf(0.1);
  const auto gradients = [&] {  // both hold that of u1 + v1
    const auto [u1, u2] = split<2>(u);
    const auto [v1, v2] = split<2>(v);
    return grad({sum(tanh(u1 + v1) * sigmoid(u2 * v2))}, {u, v});
  };
  Tensors got = gradients();
  CHECK(copies(*plan::make_plan(pending())) == 0);
  const std::vector<float> du = got[0].to_vector<float>(), dv = got[1].to_vector<float>();
  set_plan_passes("-place");
  got = gradients();
  CHECK(copies(*plan::make_plan(pending())) > 0);
  CHECK(got[0].to_vector<float>() == du);
  CHECK(got[1].to_vector<float>() == dv);
  CHECK(du != dv);
  set_plan_passes("");
}

// ---- What was wrong once ----

TEST_CASE("passes: a view of a join that is a stretch of a leaf sees the leaf's values") {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  const auto joined = [&] { return concat({slice(x, 0, 1, 2), slice(x, 0, 2, 3)}, 0); };
  CHECK(transpose(joined(), 0, 1).to_vector<float>() == std::vector<float>{3, 5, 4, 6});
  CHECK((slice(joined(), 0, 1, 2) * 2.0).to_vector<float>() == std::vector<float>{10, 12});
}

TEST_CASE("passes: batched concatenations repeat the rows of a constant part") {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2}),
               c = Tensor::from(std::vector<float>{9}, {1, 1});
  const Tensor w = Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2});
  const Tensor v = Tensor::from(std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1}, {3, 3});
  Tensors y;
  for (int64_t k = 0; k < 2; ++k) y.push_back(matmul(concat({c, matmul(slice(x, 0, k, k + 1), w)}, 1), v));
  CHECK(y[0].to_vector<float>() == std::vector<float>{9, 1, 2});
  CHECK(y[1].to_vector<float>() == std::vector<float>{9, 3, 4});
}

TEST_CASE(
    "passes: a gradient that the graph reads, or that two variables share, is no other run's gradient") {
  const auto t = [](float a, float b) { return Tensor::from(std::vector<float>{a, b}, {2}); };
  for (const bool own : {true, false}) {
    Tensor w = t(1, 2).requires_grad_();
    const Tensor before = t(10, 20), other = t(3, 5);
    w.set_grad(before);
    sum(w * w * (own ? before : other)).backward();
    CHECK(w.grad().to_vector<float>() == (own ? std::vector<float>{30, 100} : std::vector<float>{16, 40}));
  }
  for (const bool shared : {true, false}) {
    Tensor a = t(1, 2).requires_grad_(), b = t(4, 5).requires_grad_();
    const Tensor before = t(10, 20);
    a.set_grad(before);
    b.set_grad(shared ? before : t(1, 1));
    sum(a * a * b).backward();
    CHECK(a.grad().to_vector<float>() == std::vector<float>{18, 40});
    CHECK(b.grad().to_vector<float>() == (shared ? std::vector<float>{11, 24} : std::vector<float>{2, 5}));
  }
}

TEST_CASE("passes: a call under NoGrad is not the one that a gradient passes through") {
  Tensor w = Tensor::from(std::vector<float>{0.5f}, {1}).requires_grad_();
  Tensor fixed;
  {
    const NoGrad none;
    fixed = w * w;
  }
  sum(fixed * (w * w)).backward();
  CHECK(w.grad().to_vector<float>() == std::vector<float>{0.25f});  // w^2 2 w
}
