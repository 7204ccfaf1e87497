// prune: equal nodes become one, and nodes whose value nobody needs none.
#include <algorithm>

#include "core/hash.h"
#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

// Sources are equal only where they draw nothing: full() is, random numbers are not.
bool comparable(const GraphNode& n) { return n.op->kind != Kind::source || n.op == &full_op; }

uint64_t hash_of(const GraphNode& n, std::span<const Id> in, std::span<const int64_t> list) {
  uint64_t h = reinterpret_cast<uintptr_t>(n.op);
  h = mix(h, static_cast<uint64_t>(n.floats) << 8 | static_cast<uint64_t>(n.dtype));
  for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
  for (int64_t d : n.shape) h = mix(h, static_cast<uint64_t>(d));
  for (Id id : in) h = mix(h, static_cast<uint64_t>(id));
  // A schedule's thousands of words need not all be read to tell it from others.
  constexpr size_t kEnough = 32;
  h = mix(h, list.size());
  for (int64_t i : list.first(std::min(list.size(), kEnough))) h = mix(h, static_cast<uint64_t>(i));
  return h;
}

bool equal(const Graph& graph, const GraphNode& a, const GraphNode& b) {
  return a.op == b.op && a.i == b.i && a.floats == b.floats && a.dtype == b.dtype && a.cut == b.cut &&
         a.shape == b.shape && std::ranges::equal(graph.in(a), graph.in(b)) &&
         std::ranges::equal(graph.list_of(a), graph.list_of(b));
}

// Whether a node's value is needed, by what stays or by a needed node.
std::vector<bool> needed(const Graph& graph) {
  std::vector<bool> needed(graph.nodes.size(), false);
  for (const Result& r : graph.results) {
    if (graph.is_node(r.id)) needed[graph.node_of(r.id)] = true;
  }
  for (size_t k = graph.nodes.size(); k-- > 0;) {
    if (!needed[k]) continue;
    for (Id id : graph.in(graph.nodes[k])) {
      if (graph.is_node(id)) needed[graph.node_of(id)] = true;
    }
  }
  return needed;
}

}  // namespace

Graph prune(const Graph& graph) {
  const std::vector<bool> alive = needed(graph);
  Rewrite rewrite(graph);
  Table known;
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!alive[k]) continue;
    const Id id = rewrite.keep(k);
    const GraphNode& n = rewrite.to.node(id);
    if (!comparable(n)) continue;
    const uint64_t hash = hash_of(n, rewrite.to.in(n), rewrite.to.list_of(n));
    const Id twin =
        known.find(hash, id, [&](Id other) { return equal(rewrite.to, rewrite.to.node(other), n); });
    if (twin == id) continue;
    rewrite.to.inputs.resize(n.first_in);
    rewrite.to.nodes.pop_back();
    rewrite.set(graph.id_of(k), twin);
  }
  return rewrite.done();
}

}  // namespace reel::plan
