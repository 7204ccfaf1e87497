// loss: cross-entropy and its gradient become one pass over the logits, where the rows' cotangents do not
// wait for the loss. A bias that only they read is added, and the column sums of the gradient, which are the
// bias's, are made, while a row is in the cache. The parts of the result are views; the gradient may lie over
// the logits.
#include <algorithm>
#include <optional>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr size_t kMostMoved = 16;

struct Joined {
  size_t loss, grad;
  std::vector<size_t> before = {};  // nodes that make the cotangents, in order, and come later in the graph
  std::optional<size_t> bias = {}, sums = {};  // where a bias is added; column sums of the gradient
  Id logits = -1, bias_from = -1;
};

class Joining {
 public:
  explicit Joining(const Graph& graph) : graph_(graph), readers_(graph.readers()) {}

  std::vector<Joined> find() const {
    std::vector<Joined> all;
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (n.op != &cross_entropy_grad_op || n.inputs != 4 || n.dtype != DType::f32 || n.shape.numel() == 0)
        continue;
      const Id y = graph_.in(n)[3];
      if (!graph_.is_node(y) || !is_loss_of(graph_.node(y), n)) continue;
      Joined joined{.loss = graph_.node_of(y), .grad = k};
      const auto again = [&](const Joined& other) { return other.loss == joined.loss; };
      if (std::any_of(all.begin(), all.end(), again) || !find_before(joined)) continue;
      find_bias(joined);
      find_sums(joined);
      all.push_back(std::move(joined));
    }
    return all;
  }

 private:
  bool is_loss_of(const GraphNode& y, const GraphNode& grad) const {
    const auto a = graph_.in(y), b = graph_.in(grad);
    return y.op == &cross_entropy_op && a[0] == b[0] && a[1] == b[1] && y.i == grad.i;
  }

  // What the cotangents need and the loss's place does not have yet; false if that is the loss, or work.
  bool find_before(Joined& joined) const {
    std::vector<Id> open{graph_.in(graph_.nodes[joined.grad])[2]};
    while (!open.empty()) {
      const Id id = open.back();
      open.pop_back();
      if (!graph_.is_node(id) || graph_.node_of(id) < joined.loss) continue;
      const size_t k = graph_.node_of(id);
      const GraphNode& n = graph_.nodes[k];
      const bool light = n.op->kind == Kind::pointwise || n.op->kind == Kind::view ||
                         n.op->kind == Kind::reduction || n.op == &full_op;
      if (k == joined.loss || !light || joined.before.size() == kMostMoved) return false;
      if (std::find(joined.before.begin(), joined.before.end(), k) != joined.before.end()) continue;
      joined.before.push_back(k);
      open.insert(open.end(), graph_.in(n).begin(), graph_.in(n).end());
    }
    std::sort(joined.before.begin(), joined.before.end());
    return true;
  }

  // logits + bias, read by the loss and the gradient alone.
  void find_bias(Joined& joined) const {
    joined.logits = graph_.in(graph_.nodes[joined.loss])[0];
    if (!graph_.is_node(joined.logits)) return;
    const size_t k = graph_.node_of(joined.logits);
    const GraphNode& n = graph_.nodes[k];
    const bool adds = n.op->kind == Kind::pointwise && n.inputs == 2 && n.op->program.code.size() == 1 &&
                      n.op->program.code[0].code == lanes::Code::add;
    if (!adds || n.stays || readers_[k] != 2) return;
    for (size_t j = 0; j < 2; ++j) {
      const Id full = graph_.in(n)[1 - j], bias = graph_.in(n)[j];
      const Shape& shape = graph_.shape(bias);
      if (!(graph_.shape(full) == n.shape) || shape.rank() != 1 || shape[0] != n.shape[n.shape.rank() - 1])
        continue;
      if (graph_.dtype(full) != DType::f32 || graph_.dtype(bias) != DType::f32) continue;
      joined.bias = k;
      joined.logits = full;
      joined.bias_from = bias;
      return;
    }
  }

  void find_sums(Joined& joined) const {
    const Id grad = graph_.id_of(joined.grad);
    const Shape& dx = graph_.nodes[joined.grad].shape;
    for (size_t k = joined.grad; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (n.op == &sum_to_op && graph_.in(n)[0] == grad && n.shape.rank() == 1 &&
          n.shape[0] == dx[dx.rank() - 1])
        joined.sums = k;
    }
  }

  const Graph& graph_;
  std::vector<uint32_t> readers_;
};

// The pass over the logits, and its parts in the place of what they are.
void write(const Graph& graph, const Joined& joined, Rewrite& rewrite) {
  const GraphNode &loss = graph.nodes[joined.loss], &grad = graph.nodes[joined.grad];
  const int64_t classes = grad.shape[grad.shape.rank() - 1];
  std::vector<Id> in{rewrite.now(joined.logits), rewrite.now(graph.in(loss)[1]),
                     rewrite.now(graph.in(grad)[2])};
  if (joined.bias) in.push_back(rewrite.now(joined.bias_from));
  const int64_t numbers = grad.shape.numel() + loss.shape.numel() + (joined.sums ? classes : 0);
  const Id all = rewrite.to.add({.op = &cross_entropy_and_grad_op,
                                 .i = {loss.i[0], joined.bias.has_value(), joined.sums.has_value()},
                                 .origin = loss.origin,
                                 .shape = {numbers}},
                                in);
  int64_t begin = 0;
  for (const size_t k : {joined.grad, joined.loss, joined.sums.value_or(joined.loss)}) {
    const GraphNode& part = graph.nodes[k];
    const int64_t end = begin + part.shape.numel();
    if (end > numbers) break;
    rewrite.set(graph.id_of(k),
                rewrite.to.add({.op = &stretch_op, .i = {begin}, .origin = part.origin, .shape = part.shape},
                               {&all, 1}));
    begin = end;
  }
}

}  // namespace

Graph loss(Graph graph) {
  const std::vector<Joined> all = Joining(graph).find();
  if (all.empty()) return graph;
  Rewrite rewrite(graph);
  const auto adds_bias = [&](size_t k) {
    return std::any_of(all.begin(), all.end(), [&](const Joined& joined) { return joined.bias == k; });
  };
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    if (rewrite.now(graph.id_of(k)) >= 0 || adds_bias(k)) continue;
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const Joined& joined) { return joined.loss == k; });
    if (at == all.end()) {
      rewrite.keep(k);
      continue;
    }
    for (const size_t earlier : at->before) {
      if (rewrite.now(graph.id_of(earlier)) < 0) rewrite.keep(earlier);
    }
    write(graph, *at, rewrite);
  }
  return rewrite.done();
}

}  // namespace reel::plan
