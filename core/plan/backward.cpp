// backward() on a graph of which nothing is computed yet: the forward pass is planned and differentiated as
// one, and found as one when its structure comes again, so that no gradient rule is asked twice.
//
// On first sight the graph is rewritten (batch, commute), recorded anew, differentiated, and planned together
// with its gradient. What is kept is the plan and a recipe: which of its leaves are which of the caller's,
// and where its results go.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "core/grad.h"
#include "core/hash.h"
#include "core/kernels/parallel.h"
#include "core/plan/cache.h"
#include "core/plan/explain.h"
#include "core/plan/pack_ahead.h"
#include "core/plan/recent.h"
#include "core/plan/verify.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr size_t kMostRecipes = 256;

// A leaf of the caller's graph, the gradient that its variable has so far, or several small leaves as one:
// words that are looked up one by one.
struct Source {
  int32_t leaf = -1;
  bool grad = false;
  int32_t joined = -1;
};

// Where a result goes: to a pending node, or to the gradient of a leaf's variable.
struct Target {
  int32_t result;
  int32_t node;
  int32_t leaf;
};

struct Recipe {
  std::vector<uint64_t> words;
  std::shared_ptr<const std::vector<int64_t>> lists;
  uint64_t hash = 0;
  std::weak_ptr<const Plan> plan;  // the cache's, which may have let go of it
  bool possible = true;            // false: the recorded way it is, every time
  std::vector<Floats> floats;
  std::vector<int32_t> origins;  // of the plan's pending nodes among the caller's
  std::vector<Source> leaves;
  std::vector<std::vector<Id>> joined;  // of the caller's leaves: those that lie one behind another
  std::vector<Target> targets;
};

Node* variable_of(const Node* leaf) { return leaf->requires_grad ? leaf->owner : nullptr; }

// Adds to the key all that the gradient depends on beyond the structure. False where the fast way is closed.
bool complete_key(Pending& now, const Node* loss) {
  if (now.open) return false;
  const size_t before = now.words.size();
  now.words.push_back(static_cast<uint64_t>(loss->index));
  for (const Floats& f : now.floats) {
    for (double x : f) now.words.push_back(std::bit_cast<uint64_t>(x));
  }
  std::vector<const Node*> sources(now.leaves.begin(), now.leaves.end());
  for (const Node* leaf : now.leaves) {
    const Node* variable = variable_of(leaf);
    if (!variable) continue;
    const Tensor& grad = variable->variable->grad;
    now.words.push_back(grad.defined());
    if (!grad.defined()) continue;
    Node* node = grad.node();
    if (node->state != State::ready || node->variable || node->requires_grad) return false;
    // One that the graph reads, or that two variables share, would be taken for both wherever this comes
    // again.
    const auto known = static_cast<size_t>(node->index);
    if (node->index >= 0 && known < sources.size() && sources[known] == node) return false;
    node->index = static_cast<int32_t>(sources.size());
    sources.push_back(node);
  }
  now.hash = mix(now.hash, reel::hash_of(std::span<const uint64_t>(now.words).subspan(before)));
  return true;
}

// Whether a node joins the rows of many small constants: better one leaf for the plan than hundreds.
bool joins_constants(const Pending& now, const Graph& graph, const GraphNode& n) {
  constexpr uint32_t kMany = 8;
  constexpr int64_t kSmall = 1 << 16;
  return n.op == &concat_op && n.i[0] == 0 && !n.stays && n.inputs >= kMany && n.shape.numel() <= kSmall &&
         std::ranges::all_of(graph.in(n), [&](Id id) {
           if (graph.is_node(id)) return false;
           const Node* leaf = now.leaves[static_cast<size_t>(id)];
           return !leaf->requires_grad && leaf->array().contiguous();
         });
}

// These leaves' values, one behind another.
Tensor joined(Tape& tape, const Pending& now, std::span<const Id> leaves) {
  Shape shape = now.leaves[static_cast<size_t>(leaves[0])]->shape;
  shape[0] = 0;
  for (Id id : leaves) shape[0] += now.leaves[static_cast<size_t>(id)]->shape[0];
  Tensor all(tape.leaf(now.leaves[static_cast<size_t>(leaves[0])]->dtype, shape));
  std::byte* at = all.node()->array().data;
  for (Id id : leaves) {
    const Array part = now.leaves[static_cast<size_t>(id)]->array();
    const size_t bytes = static_cast<size_t>(part.shape.numel()) * size_of(part.dtype);
    if (bytes > 0) std::memcpy(at, part.data, bytes);
    at += bytes;
  }
  return all;
}

// The caller's graph on the tape once more, as the passes rewrote it.
class Shadow {
 public:
  Shadow(Tape& tape, const Pending& now, const Graph& graph) : now_(now), graph_(graph) {
    const KeepGradMode mode(tape);
    std::vector<Node*> in;
    for (const GraphNode& n : graph.nodes) {
      if (joins_constants(now, graph, n)) {
        joined_.push_back({graph.in(n).begin(), graph.in(n).end()});
        of_joined_.push_back(made_.emplace_back(joined(tape, now, joined_.back())));
        continue;
      }
      in.clear();
      for (Id id : graph.in(n)) in.push_back(node(id));
      const Node* origin = n.origin < 0 ? nullptr : now.nodes[static_cast<size_t>(n.origin)];
      tape.grad_enabled = !n.cut;
      const auto list = graph.list_of(n);
      Call call{.attrs = {n.i, n.floats < 0 ? Floats{} : graph.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {list.begin(), list.end()}};
      made_.emplace_back(tape.call(*n.op, in, std::move(call), origin ? origin->where : Where()));
    }
  }

  Node* node(Id id) const {
    return graph_.is_node(id) ? made_[graph_.node_of(id)].node() : now_.leaves[static_cast<size_t>(id)];
  }
  Tensor tensor(Id id) const { return Tensor(node(id)); }
  void forget() { made_.clear(); }
  const std::vector<std::vector<Id>>& joined_leaves() const { return joined_; }
  const Tensors& joined_values() const { return of_joined_; }

 private:
  const Pending& now_;
  const Graph& graph_;
  Tensors made_, of_joined_;
  std::vector<std::vector<Id>> joined_;
};

// Whether a call stands under NoGrad: an input would take a gradient, and none passes.
bool cut(const Node& node) {
  return !node.requires_grad && node.op->vjp &&
         std::any_of(node.in, node.in + node.inputs, [](const Node* in) { return in->requires_grad; });
}

Graph rewritten(const Pending& now, const Node* loss) {
  const explain::Scope scope(explain::Phase::rewrite);
  static thread_local Graph read;
  read_graph(now, read);
  for (size_t k = 0; k < read.nodes.size(); ++k) read.nodes[k].cut = cut(*now.nodes[k]);
  read.results.push_back({-1, read.id_of(static_cast<size_t>(loss->index))});
  Graph graph = batch(read, false, true);
  if (passes().prune) graph = prune(graph);
  if (passes().commute) graph = commute(std::move(graph));
  if (passes().lookup) graph = look_up_inside(std::move(graph));
  return graph;
}

// Where the leaves of `both` come from, which has just been read.
std::vector<Source> sources_of(const Pending& now, const Pending& both, const Tensors& joined) {
  std::vector<Source> sources(both.leaves.size());
  const auto found = [&](const Node* node, Source source) {
    const auto k = static_cast<size_t>(node->index);
    if (node->index >= 0 && k < sources.size() && both.leaves[k] == node) sources[k] = source;
  };
  for (size_t k = 0; k < now.leaves.size(); ++k) {
    found(now.leaves[k], {static_cast<int32_t>(k), false});
    const Node* variable = variable_of(now.leaves[k]);
    if (variable && variable->variable->grad.defined())
      found(variable->variable->grad.node(), {static_cast<int32_t>(k), true});
  }
  for (size_t k = 0; k < joined.size(); ++k) found(joined[k].node(), {-1, false, static_cast<int32_t>(k)});
  if (std::any_of(sources.begin(), sources.end(), [](const Source& s) { return s.leaf < 0 && s.joined < 0; }))
    fail("[backward] a gradient rule reads a value of its own: want only what the call reads");
  return sources;
}

// Differentiates and plans what was never seen before. The values of the joined leaves are at hand then.
Recipe make_recipe(Tape& tape, Pending& now, const Node* loss, Where where, Tensors& joined_now) {
  const Tape::AsRecorded as_recorded(tape);
  const Graph graph = rewritten(now, loss);
  std::optional<explain::Scope> scope(explain::Phase::differentiate);
  Shadow shadow(tape, now, graph);
  std::vector<std::pair<Tensor, Target>> wanted;
  Tensor start;
  for (const Result& r : graph.results) {
    if (r.pending < 0) {
      start = shadow.tensor(r.id);
    } else {
      wanted.push_back({shadow.tensor(r.id), {-1, r.pending, -1}});
    }
  }
  Recipe recipe;
  recipe.words = std::move(now.words);
  recipe.lists = now.lists;
  recipe.hash = now.hash;
  std::unordered_map<const Node*, int32_t> leaf_of;  // variable to leaf
  for (size_t k = 0; k < now.leaves.size(); ++k) {
    if (const Node* variable = variable_of(now.leaves[k])) leaf_of[variable] = static_cast<int32_t>(k);
  }
  {
    Gradients gradients = differentiate(start, where);
    for (Node* node : gradients.visited) node->released = true;
    for (auto& [variable, sum] : gradients.of) {
      const Tensor& before = variable->variable->grad;
      if (before.defined())
        sum = accumulate({{before, {}, {}}, {sum, {}, {}}}, variable->shape, variable->dtype);
      wanted.push_back({std::move(sum), {-1, -1, leaf_of.at(variable)}});
    }
  }
  std::unordered_map<const Node*, int32_t> origin_of;
  for (size_t k = 0; k < graph.nodes.size(); ++k)
    origin_of[shadow.node(graph.id_of(k))] = graph.nodes[k].origin;
  start = {};
  shadow.forget();

  scope.reset();
  Pending both;
  read_structure(tape.pending(), both);
  const std::shared_ptr<const Plan> plan = find_plan(both, true);
  recipe.plan = plan;
  recipe.floats = both.floats;
  for (const Node* node : both.nodes) {
    const auto origin = origin_of.find(node);
    recipe.origins.push_back(origin == origin_of.end() ? -1 : origin->second);
  }
  recipe.leaves = sources_of(now, both, shadow.joined_values());
  recipe.joined = shadow.joined_leaves();
  joined_now = shadow.joined_values();
  std::unordered_map<int32_t, int32_t> result_of;  // pending node to result
  for (size_t r = 0; r < plan->results.size(); ++r)
    result_of[plan->results[r].pending] = static_cast<int32_t>(r);
  for (auto& [tensor, target] : wanted) {
    if (tensor.node()->state != State::pending) {  // a leaf passed through
      recipe.possible = false;
      return recipe;
    }
    target.result = result_of.at(static_cast<int32_t>(tensor.node()->index));
    recipe.targets.push_back(target);
  }
  return recipe;
}

Recent<Recipe>& recipes() {
  static thread_local Recent<Recipe> recipes(kMostRecipes);
  return recipes;
}

Recipe* find_recipe(const Pending& now) {
  return recipes().find(now.hash,
                        [&](const Recipe& r) { return r.words == now.words && *r.lists == *now.lists; });
}

// The oldest go for it, and with them those whose plans are gone.
Recipe* keep(Recipe recipe) {
  const uint64_t hash = recipe.hash;
  Recipe* kept = &recipes().keep(hash, std::move(recipe));
  const auto useless = [](const Recipe& r) { return r.possible && r.plan.expired(); };
  while (recipes().size() > 1 && (recipes().crowded() || useless(recipes().oldest())))
    recipes().drop_oldest();
  return kept;
}

// Gives the results to those whose they are, and lets go of the graph.
void deliver(Tape& tape, const Recipe& recipe, const Pending& now, std::vector<Value>& values) {
  for (const Target& target : recipe.targets) {
    Value& value = values[static_cast<size_t>(target.result)];
    if (target.node >= 0) {
      Node* node = now.nodes[static_cast<size_t>(target.node)];
      node->value = std::make_unique<Value>(value);
      node->state = State::ready;
      continue;
    }
    Node* variable = variable_of(now.leaves[static_cast<size_t>(target.leaf)]);
    variable->variable->grad = Tensor(tape.constant(variable->dtype, variable->shape, value));
  }
}

// REEL_VERIFY: the same by the recorded way, one node at a time.
void check_recipe(Tape& tape, const Recipe& recipe, const Pending& now, const Tensor& loss,
                  const std::vector<Value>& values) {
  verify::OneByOne expected;
  expected.compute(now.nodes);
  for (const Target& t : recipe.targets) {
    if (t.node < 0) continue;
    const Node* node = now.nodes[static_cast<size_t>(t.node)];
    expected.check(node, values[static_cast<size_t>(t.result)], verify::name_of(node));
  }
  Gradients gradients = differentiate(loss, {});
  for (auto& [variable, sum] : gradients.of) {
    const Tensor& before = variable->variable->grad;
    if (before.defined())
      sum = accumulate({{before, {}, {}}, {sum, {}, {}}}, variable->shape, variable->dtype);
  }
  const auto gradient_of = [&](Node* variable) {
    return std::ranges::find(gradients.of, variable, [](const auto& g) { return g.first; });
  };
  for (const Target& t : recipe.targets) {  // rows that went through a join have a gradient, of zeros
    Node* variable = t.leaf < 0 ? nullptr : variable_of(now.leaves[static_cast<size_t>(t.leaf)]);
    if (variable && gradient_of(variable) == gradients.of.end())
      gradients.of.emplace_back(variable, full(variable->shape, 0, variable->dtype));
  }
  expected.compute(tape.take_pending());
  for (const Target& t : recipe.targets) {
    if (t.leaf < 0) continue;
    const Node* leaf = now.leaves[static_cast<size_t>(t.leaf)];
    const auto right = gradient_of(variable_of(leaf));
    const auto reader = std::find_if(now.nodes.begin(), now.nodes.end(), [&](const Node* n) {
      return std::find(n->in, n->in + n->inputs, leaf) != n->in + n->inputs;
    });
    expected.check(right->second.node(), values[static_cast<size_t>(t.result)],
                   fmt::format("the gradient of the variable of shape {} that {} reads first", leaf->shape,
                               verify::name_of(*reader)));
  }
}

}  // namespace

bool run_backward(Tape& tape, const Tensor& loss, Where where) {
  static thread_local Pending now;
  rouse_threads();
  std::vector<Node*> pending = tape.take_pending();
  Recipe* recipe = nullptr;
  std::vector<Value> values;
  Tensors held;  // leaves that lie one behind another
  bool done = false;
  try {
    bool fast;
    do {
      now.hash = 0;
      read_structure(pending, now, loss.node());
      fast = complete_key(now, loss.node());
      recipe = fast ? find_recipe(now) : nullptr;
    } while (fast && !recipe && fold_motifs(tape, now, pending, true));
    if (fast) {
      std::shared_ptr<const Plan> plan = recipe ? recipe->plan.lock() : nullptr;
      std::optional<PackingAhead> packing;
      if (!plan) packing.emplace(now.leaves);
      if (plan) {
        plan_found(*plan);
      } else if (recipe && recipe->possible) {
        *recipe = make_recipe(tape, now, loss.node(), where, held);
      } else if (!recipe) {
        recipe = keep(make_recipe(tape, now, loss.node(), where, held));
      }
      if (!plan) plan = recipe->plan.lock();
      if (plan && recipe->possible) {
        std::vector<Node*> leaves;
        if (held.empty()) {
          for (const auto& parts : recipe->joined) held.push_back(joined(tape, now, parts));
        }
        for (const Source& s : recipe->leaves) {
          if (s.joined >= 0) {
            leaves.push_back(held[static_cast<size_t>(s.joined)].node());
            continue;
          }
          Node* leaf = now.leaves[static_cast<size_t>(s.leaf)];
          leaves.push_back(s.grad ? leaf->owner->variable->grad.node() : leaf);
        }
        values = run(*plan, {leaves, now.nodes, recipe->floats, recipe->origins});
        done = true;
      }
    }
  } catch (const Error&) {
    // The recorded way will meet the same error, and knows what to do about it.
  } catch (...) {
    tape.restore_pending(pending);
    throw;
  }
  if (!done) {
    tape.restore_pending(pending);
    return false;
  }
  try {
    if (verify::on()) check_recipe(tape, *recipe, now, loss, values);
  } catch (...) {
    tape.restore_pending(pending);
    throw;
  }
  deliver(tape, *recipe, now, values);
  release_history(tape, now);
  return true;
}

}  // namespace reel::plan
