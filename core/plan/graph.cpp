#include "core/plan/graph.h"

#include <cstdlib>
#include <functional>
#include <string>

#include "core/plan/plan.h"

namespace reel::plan {

Id Graph::add(const GraphNode& like, std::span<const Id> in, std::span<const int64_t> constants) {
  GraphNode& node = nodes.emplace_back(like);
  node.first_in = static_cast<uint32_t>(inputs.size());
  node.inputs = static_cast<uint32_t>(in.size());
  node.list_size = static_cast<uint32_t>(constants.size());
  const std::less<const int64_t*> before;
  if (!before(constants.data(), list->data()) && before(constants.data(), list->data() + list->size())) {
    node.first_list = static_cast<uint32_t>(constants.data() - list->data());  // another node's
  } else {
    node.first_list = static_cast<uint32_t>(list->size());
    list->insert(list->end(), constants.begin(), constants.end());
  }
  inputs.insert(inputs.end(), in.begin(), in.end());
  return id_of(nodes.size() - 1);
}

const Shape& shape_read(const Graph& graph, const GraphNode& call, size_t p) {
  const Id id = graph.in(call)[p];
  const size_t output = output_read(call, p);
  if (output == 0) return graph.shape(id);
  const Body& made_by = *graph.node(id).op->body;
  return made_by.graph.shape(made_by.outputs[output - 1]);
}

std::vector<uint32_t> Graph::readers() const {
  std::vector<uint32_t> count(nodes.size(), 0);
  for (const GraphNode& n : nodes) {
    for (Id id : in(n)) {
      if (is_node(id)) ++count[node_of(id)];
    }
  }
  return count;
}

namespace {
void read_over(const Pending& pending, Graph& graph) {
  graph.leaves.clear();
  graph.nodes.clear();
  graph.results.clear();
  graph.inputs.clear();
  for (const Node* n : pending.leaves) graph.leaves.push_back({n->dtype, n->shape, n->value->strides});
  graph.floats = pending.floats;
  graph.nodes.reserve(pending.nodes.size());
  const auto leaves = static_cast<Id>(graph.leaves.size());
  uint32_t next_list = 0;
  for (size_t k = 0; k < pending.nodes.size(); ++k) {
    const Node* n = pending.nodes[k];
    const auto list = static_cast<uint32_t>(n->list ? n->list->size() : 0);
    graph.nodes.push_back({.op = n->op,
                           .i = n->attrs.i,
                           .floats = pending.floats_of[k],
                           .origin = static_cast<int32_t>(k),
                           .dtype = n->dtype,
                           .stays = pending.stays[k],
                           .shape = n->shape,
                           .first_in = static_cast<uint32_t>(graph.inputs.size()),
                           .inputs = n->inputs,
                           .first_list = next_list,
                           .list_size = list});
    next_list += list;
    for (uint32_t j = 0; j < n->inputs; ++j) {
      const Node* input = n->in[j];
      graph.inputs.push_back(input->index + (input->state == State::pending ? leaves : 0));
    }
    if (pending.stays[k]) graph.results.push_back({static_cast<int32_t>(k), graph.id_of(k)});
  }
}

}  // namespace

Graph graph_of(const Pending& pending) {
  Graph graph;
  graph.list = pending.lists;
  read_over(pending, graph);
  return graph;
}

void read_graph(const Pending& pending, Graph& graph) {
  graph.list = std::make_shared<std::vector<int64_t>>(*pending.lists);
  read_over(pending, graph);
}

Rewrite::Rewrite(const Graph& from) : from_(from) {
  to.leaves = from.leaves;
  to.floats = from.floats;
  to.repeats = from.repeats;
  to.nodes.reserve(from.nodes.size());
  to.inputs.reserve(from.inputs.size());
  to.list = from.list;
  now_.resize(from.leaves.size() + from.nodes.size(), -1);
  for (size_t k = 0; k < from.leaves.size(); ++k) now_[k] = static_cast<Id>(k);
}

Id Rewrite::keep(size_t k) {
  const GraphNode& n = from_.nodes[k];
  room_.clear();
  for (Id id : from_.in(n)) room_.push_back(now(id));
  const Id id = to.add(n, room_, from_.list_of(n));
  set(from_.id_of(k), id);
  return id;
}

Graph Rewrite::done() {
  for (GraphNode& n : to.nodes) n.stays = false;
  for (const Result& r : from_.results) {
    const Id id = now(r.id);
    to.results.push_back({r.pending, id});
    if (to.is_node(id)) to.nodes[to.node_of(id)].stays = true;
  }
  return std::move(to);
}

// ---- Which passes are on ----

namespace {

struct Name {
  std::string_view name;
  bool Passes::*on;
};
constexpr Name kNames[] = {
    {"prune", &Passes::prune},  {"commute", &Passes::commute},     {"batch", &Passes::batch},
    {"roll", &Passes::roll},    {"recur", &Passes::recur},         {"accumulate", &Passes::accumulate},
    {"fuse", &Passes::fuse},    {"pack", &Passes::pack},           {"place", &Passes::place},
    {"split", &Passes::split},  {"recompute", &Passes::recompute}, {"loss", &Passes::loss},
    {"lookup", &Passes::lookup}};

// "-fuse,-batch", or "" for all, or "none".
Passes parse(std::string_view text) {
  Passes passes;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (word == "none") {
      for (const Name& n : kNames) passes.*n.on = false;
      continue;
    }
    const bool off = word.starts_with('-');
    if (off || word.starts_with('+')) word.remove_prefix(1);
    bool known = false;
    for (const Name& n : kNames) {
      if (n.name != word) continue;
      passes.*n.on = !off;
      known = true;
    }
    if (!known) {
      fail(
          "REEL_PLAN: '{}' is no pass: want none, or names with + or - before them, of prune, commute, "
          "batch, roll, recur, accumulate, fuse, pack, place, split, recompute, loss, lookup",
          word);
    }
  }
  return passes;
}

Passes& present() {
  static thread_local Passes passes = [] {
    const char* text = std::getenv("REEL_PLAN");
    return parse(text ? text : "");
  }();
  return passes;
}

}  // namespace

const Passes& passes() { return present(); }

uint64_t Passes::bits() const {
  uint64_t bits = 0;
  for (const Name& n : kNames) bits = bits << 1 | static_cast<uint64_t>(this->*n.on);
  return bits;
}

}  // namespace reel::plan

namespace reel {
void set_plan_passes(std::string_view text) { plan::present() = plan::parse(text); }
}  // namespace reel
