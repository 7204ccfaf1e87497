// lookup: rows of a small table that nobody but a recurrence reads are looked up by its levels, so that no
// thread waits for rows that another one's cache holds. One thread alone gains nothing, and pays for the
// calls.
#include <algorithm>

#include "core/plan/recurrence/recurrence.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class LookingUp {
 public:
  explicit LookingUp(const Graph& graph) : graph_(graph), rewrite_(graph), readers_(graph.readers()) {}

  Graph run() {
    std::vector<bool> inside(graph_.nodes.size(), false);
    for (const GraphNode& n : graph_.nodes) {
      if (!n.op->recurrence || n.cut) continue;
      for (size_t p : look_ups(n)) inside[graph_.node_of(graph_.in(n)[p])] = true;
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (!inside[k] && !absorb(k)) rewrite_.keep(k);
    }
    return rewrite_.done();
  }

 private:
  // Of a recurrence: the inputs, rows by rows, that it can look up.
  std::vector<size_t> look_ups(const GraphNode& n) const {
    std::vector<size_t> found;
    for (size_t p = 0; p < n.op->recurrence->rows; ++p) {
      const Id id = graph_.in(n)[p];
      if (!graph_.is_node(id)) continue;
      const GraphNode& rows = graph_.node(id);
      const bool alone = !rows.stays && readers_[graph_.node_of(id)] == 1;
      const bool large =
          rows.shape.numel() * static_cast<int64_t>(size_of(rows.dtype)) >= least_bytes_looked_up();
      if (alone && large && is_look_up(graph_, rows) && graph_.shape(graph_.in(rows)[0])[0] != kTracedRows)
        found.push_back(p);
    }
    return found;
  }

  // Where a recurrence can look up rows, makes it over again with their tables and ids as inputs.
  bool absorb(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    if (!n.op->recurrence || n.cut) return false;
    const std::vector<size_t> from = look_ups(n);
    if (from.empty()) return false;
    const Recurrence& plain = *n.op->recurrence;
    std::vector<Id> in;
    for (Id id : graph_.in(n)) in.push_back(rewrite_.now(id));
    std::vector<Id> tables;
    for (size_t p : from) tables.push_back(rewrite_.now(graph_.in(graph_.node(graph_.in(n)[p]))[0]));
    GraphNode now = n;
    if (const Recurrence* r =
            intern(with_look_ups(plain.body, from, tables), plain.rows, plain.reads, plain.own)) {
      now.op = &r->op;
      for (size_t p : from) in[p] = rewrite_.now(graph_.in(graph_.node(graph_.in(n)[p]))[1]);
      // What is shared comes before the sources of rows.
      const auto sources = in.begin() + static_cast<std::ptrdiff_t>(plain.rows + plain.shared());
      in.insert(sources, tables.begin(), tables.end());
    } else {
      for (size_t p : from) in[p] = rewrite_.keep(graph_.node_of(graph_.in(n)[p]));
    }
    rewrite_.set(graph_.id_of(k), rewrite_.to.add(now, in, graph_.list_of(n)));
    return true;
  }

  Body with_look_ups(const Body& plain, const std::vector<size_t>& from, const std::vector<Id>& tables) {
    Body body = plain;
    rewrite(body, [&](const Body& old) {
      Rewrite looked_up(old.graph);
      Graph& to = looked_up.to;
      for (size_t j = 0; j < from.size(); ++j) {
        const Shape& shape = rewrite_.to.shape(tables[j]);
        to.leaves.push_back({rewrite_.to.dtype(tables[j]), shape, row_major(shape)});
        to.leaves[from[j]] = {DType::i64, {kTracedRows}, row_major({kTracedRows})};
      }
      for (size_t j = 0; j < from.size(); ++j) {
        const Leaf& rows = old.graph.leaves[from[j]];
        const Id in[] = {static_cast<Id>(old.graph.leaves.size() + j), static_cast<Id>(from[j])};
        const GraphNode look_up{.op = &index_select_op,
                                .dtype = rows.dtype,
                                .cut = !old.leaf_grads[from[j]],
                                .shape = rows.shape};
        looked_up.set(static_cast<Id>(from[j]), to.add(look_up, in));
      }
      for (size_t k = 0; k < old.graph.nodes.size(); ++k) looked_up.keep(k);
      return looked_up.done();
    });
    for (size_t p : from) {
      body.leaf_grads.push_back(body.leaf_grads[p]);
      body.leaf_grads[p] = false;
    }
    identify(body);
    return body;
  }

  const Graph& graph_;
  Rewrite rewrite_;
  std::vector<uint32_t> readers_;
};

}  // namespace

int64_t& least_bytes_looked_up() {
  static int64_t bytes = 1 << 20;
  return bytes;
}

Graph look_up_inside(Graph graph) {
  const auto recurrence = [](const GraphNode& n) { return n.op->recurrence != nullptr; };
  if (num_threads() == 1 || std::none_of(graph.nodes.begin(), graph.nodes.end(), recurrence)) return graph;
  return LookingUp(graph).run();
}

}  // namespace reel::plan
