// stack, the half of batch that joins columns: products of one value with several weights, as the gates of a
// cell with a matrix each, are one product with the weights side by side; and so are the rows that several
// tables have at the same ids.
#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "core/hash.h"
#include "core/plan/batching.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

// Weights are copied once a step. That is worth it where a product is narrow for want of rows, and repeated.
constexpr int64_t kMostRows = 64;
constexpr size_t kLeastUses = 8;

class Stacking {
 public:
  // Of the leaves, weights are those from `first_weight` on.
  Stacking(const Graph& graph, size_t first_weight, size_t least_uses)
      : graph_(graph),
        first_weight_(static_cast<Id>(first_weight)),
        least_uses_(least_uses),
        canon_(graph.leaves.size() + graph.nodes.size(), -1) {}

  std::optional<Graph> run() {
    find_stacks();
    if (stacks_.empty()) return {};
    Rewrite rewrite(graph_);
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (is_weight(graph_.id_of(k))) keep_weight(rewrite, k);
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (is_weight(graph_.id_of(k))) continue;
      const Stack* stack = stack_of(k);
      if (!stack) {
        rewrite.keep(k);
      } else if (stack->members[0] == k) {
        make(rewrite, *stack);
      }
    }
    return rewrite.done();
  }

 private:
  struct Stack {
    std::vector<size_t> members;
  };

  static size_t weight_at(const GraphNode& n) { return n.op->kind == Kind::matmul ? 1 : 0; }
  Id weight_of(const GraphNode& n) const { return canon(graph_.in(n)[weight_at(n)]); }
  Id value_of(const GraphNode& n) const { return graph_.in(n)[1 - weight_at(n)]; }

  // A leaf, or a view of one: those that look the same way at the same are one.
  bool is_weight(Id id) const { return canon(id) >= 0; }
  Id canon(Id id) const {
    if (graph_.is_node(id)) return canon_[static_cast<size_t>(id)];
    return id >= first_weight_ ? id : -1;
  }
  void find_weights() {
    Table known;
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (!n.op->view || n.inputs != 1 || !is_weight(graph_.in(n)[0])) continue;
      const Id of = canon(graph_.in(n)[0]);
      uint64_t h = mix(reinterpret_cast<uintptr_t>(n.op), static_cast<uint64_t>(of));
      for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
      for (int64_t d : n.shape) h = mix(h, static_cast<uint64_t>(d));
      canon_[static_cast<size_t>(graph_.id_of(k))] = known.find(h, graph_.id_of(k), [&](Id other) {
        const GraphNode& o = graph_.node(other);
        return o.op == n.op && o.i == n.i && o.shape == n.shape && o.cut == n.cut &&
               canon(graph_.in(o)[0]) == of && std::ranges::equal(graph_.list_of(o), graph_.list_of(n));
      });
    }
  }

  bool can_be_stacked(const GraphNode& n) const {
    if (n.shape.rank() != 2 || n.shape[0] > kMostRows || n.inputs != 2 ||
        !is_weight(graph_.in(n)[weight_at(n)]))
      return false;
    if (graph_.shape(weight_of(n)).rank() != 2) return false;
    return n.op->kind == Kind::matmul ? n.i[0] == 0 : n.op == &index_select_op && n.i[0] == 0;
  }
  bool go_together(const GraphNode& a, const GraphNode& b) const {
    return a.op == b.op && a.i == b.i && a.dtype == b.dtype && a.cut == b.cut && a.shape[0] == b.shape[0] &&
           graph_.dtype(weight_of(a)) == graph_.dtype(weight_of(b)) &&
           (a.op->kind == Kind::matmul || graph_.shape(weight_of(a))[0] == graph_.shape(weight_of(b))[0]);
  }

  void find_stacks() {
    // Calls that read one value, before anything else is looked at: most graphs have none.
    std::vector<int32_t> first(canon_.size(), -1);
    std::map<Id, std::vector<size_t>> readers;  // of values that several calls read
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (n.op->kind != Kind::matmul && n.op != &index_select_op) continue;
      int32_t& known = first[static_cast<size_t>(value_of(n))];
      if (known < 0) {
        known = static_cast<int32_t>(k);
        continue;
      }
      std::vector<size_t>& all = readers[value_of(n)];
      if (all.empty()) all = {static_cast<size_t>(known)};
      all.push_back(k);
    }
    if (readers.empty()) return;
    find_weights();
    std::vector<Stack> found;
    for (const auto& [value, all] : readers) {
      const size_t before = found.size();
      for (size_t k : all) {
        if (can_be_stacked(graph_.nodes[k])) add(k, found, before);
      }
    }
    std::map<std::vector<Id>, size_t> uses;
    for (const Stack& stack : found) ++uses[weights_of(stack)];
    for (Stack& stack : found) {
      if (uses[weights_of(stack)] < least_uses_ || stack.members.size() < 2) continue;
      for (size_t k : stack.members) stack_of_[k] = stacks_.size();
      stacks_.push_back(std::move(stack));
    }
  }
  // To the first of these stacks that it fits, or to one of its own.
  void add(size_t k, std::vector<Stack>& stacks, size_t first) const {
    const GraphNode& n = graph_.nodes[k];
    for (size_t s = first; s < stacks.size(); ++s) {
      if (!go_together(graph_.nodes[stacks[s].members[0]], n)) continue;
      const std::vector<Id> weights = weights_of(stacks[s]);
      if (std::find(weights.begin(), weights.end(), weight_of(n)) == weights.end())
        stacks[s].members.push_back(k);
      return;
    }
    stacks.push_back({{k}});
  }
  std::vector<Id> weights_of(const Stack& stack) const {
    std::vector<Id> weights;
    for (size_t k : stack.members) weights.push_back(weight_of(graph_.nodes[k]));
    return weights;
  }
  const Stack* stack_of(size_t k) const {
    const auto at = stack_of_.find(k);
    return at == stack_of_.end() ? nullptr : &stacks_[at->second];
  }

  void keep_weight(Rewrite& rewrite, size_t k) const {
    const Id id = graph_.id_of(k);
    if (canon(id) == id) {
      rewrite.keep(k);
    } else {
      rewrite.set(id, rewrite.now(canon(id)));
    }
  }

  // The weights side by side, as the product reads them.
  Id side_by_side(Rewrite& rewrite, const Stack& stack) {
    const std::vector<Id> weights = weights_of(stack);
    const GraphNode& n = graph_.nodes[stack.members[0]];
    const int axis = n.op->kind == Kind::matmul && n.i[1] != 0 ? 0 : 1;
    const auto [at, fresh] = made_.try_emplace({axis, n.cut, weights}, -1);
    if (!fresh) return at->second;
    GraphNode all{.op = &concat_op,
                  .i = {axis},
                  .origin = n.origin,
                  .dtype = graph_.dtype(weights[0]),
                  .cut = n.cut,
                  .shape = graph_.shape(weights[0])};
    all.shape[axis] = 0;
    std::vector<Id> in;
    for (Id id : weights) {
      all.shape[axis] += graph_.shape(id)[axis];
      in.push_back(rewrite.now(id));
    }
    return at->second = rewrite.to.add(all, in);
  }

  void make(Rewrite& rewrite, const Stack& stack) {
    const GraphNode& first = graph_.nodes[stack.members[0]];
    GraphNode all = first;
    all.shape[1] = 0;
    for (size_t k : stack.members) all.shape[1] += graph_.nodes[k].shape[1];
    Id in[2];
    in[weight_at(first)] = side_by_side(rewrite, stack);
    in[1 - weight_at(first)] = rewrite.now(value_of(first));
    const Id product = rewrite.to.add(all, in);
    int64_t column = 0;
    for (size_t k : stack.members) {
      const GraphNode& n = graph_.nodes[k];
      const GraphNode part{.op = &slice_op,
                           .i = {1, column, column + n.shape[1]},
                           .origin = n.origin,
                           .dtype = n.dtype,
                           .cut = n.cut,
                           .shape = n.shape};
      rewrite.set(graph_.id_of(k), rewrite.to.add(part, {&product, 1}));
      column += n.shape[1];
    }
  }

  const Graph& graph_;
  const Id first_weight_;
  const size_t least_uses_;
  std::vector<Id> canon_;  // of nodes: the first weight that is the same; -1 where it is none
  std::vector<Stack> stacks_;
  std::unordered_map<size_t, size_t> stack_of_;
  std::map<std::tuple<int, bool, std::vector<Id>>, Id> made_;  // by axis, cut, weights
};

}  // namespace

std::optional<Graph> stack(const Graph& graph) { return Stacking(graph, 0, kLeastUses).run(); }

void stack(Body& body) {
  rewrite(body, [](const Body& b) { return Stacking(b.graph, b.arguments, 1).run(); });
}

}  // namespace reel::plan
