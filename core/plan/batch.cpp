// batch: calls that do the same to different rows become one call on all their rows. The input projections of
// all steps become one product, and so do all nodes of one height of a forest. Which go together: grouping.h.
//
// Calls of a template (core/once.h) are replaced by its body, over all rows of the calls that go together.
#include <algorithm>

#include "core/plan/batching.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr int64_t kSmall =
    512;  // elements: larger pointwise calls gain less from being joined than from being fused

}  // namespace

std::optional<Graph> Batching::run() {
  if (!grouping_.find(joining_)) return {};
  const auto& groups = grouping_.groups();
  const auto changes = [&](const Group& g) { return graph_.nodes[g.first].op->body || joins(g); };
  if (std::none_of(groups.begin(), groups.end(), changes)) return {};
  const size_t count = graph_.nodes.size();
  std::vector<uint32_t> order(groups.size());
  for (size_t g = 0; g < groups.size(); ++g) order[g] = static_cast<uint32_t>(g);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return groups[a].time < groups[b].time; });
  to_.leaves = graph_.leaves;
  to_.floats = graph_.floats;
  to_.list = graph_.list;
  to_.nodes.reserve(count / 2);
  spot_.assign(graph_.leaves.size() + count, {});
  for (size_t k = 0; k < graph_.leaves.size(); ++k) spot_[k].id = static_cast<Id>(k);
  for (size_t k = 0; k < count; ++k) {
    if (way(k) == Way::constant) keep(k);
  }
  for (uint32_t g : order) {
    const Group& group = groups[g];
    const std::span<uint32_t> members = grouping_.members(group);
    const bool joined = joins(group);
    if (way(group.first) == Way::column) {
      for (uint32_t k : members) spot_[static_cast<size_t>(graph_.id_of(k))] = column_of(graph_.nodes[k]);
    } else if (group.recurrent) {
      recur(members);
    } else if (graph_.nodes[group.first].op->body) {
      for (size_t k = 0; k < members.size(); k += joined ? members.size() : 1) {
        expand(joined ? members : members.subspan(k, 1));
      }
    } else if (joined) {
      join(members);
    } else {
      for (uint32_t k : members) keep(k);
    }
  }
  for (const Result& r : graph_.results) {
    const Id id = whole(r.id);
    to_.results.push_back({r.pending, id});
    if (to_.is_node(id)) to_.nodes[to_.node_of(id)].stays = true;
  }
  return std::move(to_);
}

bool Batching::shared(const GraphNode& n, std::span<const Id> in, size_t p) const {
  return grouping_.shared(n, in, p);
}

bool Batching::joins(const Group& group) const {
  if (group.size < 2 || !joining_ || way(group.first) == Way::alone) return false;
  return way(group.first) == Way::heavy ||
         (!products_only_ && graph_.nodes[group.first].shape.numel() <= kSmall);
}

Id Batching::whole(Id id) {
  Spot& s = spot_[static_cast<size_t>(id)];
  if (s.id < 0) return packed(id, s);
  if (s.whole) return s.id;
  s = {rows_at(s, graph_.shape(id)[0]), 0, true};
  return s.id;
}

Id Batching::whole(const GraphNode& n, size_t p) {
  const Id id = graph_.in(n)[p];
  if (output_read(n, p) == 0) return whole(id);
  const Spot s = rows_read(n, p);
  return s.whole ? s.id : rows_at(s, graph_.shape(id)[0]);
}

Id Batching::rows_at(const Spot& s, int64_t rows) {
  GraphNode slice{
      .op = &slice_op, .i = {0, s.row, s.row + rows}, .dtype = to_.dtype(s.id), .shape = to_.shape(s.id)};
  slice.shape[0] = rows;
  return to_.add(slice, {&s.id, 1});
}

Id Batching::packed(Id call, const Spot& s) {
  std::vector<Id> columns;
  for (Id output : expanded_[static_cast<size_t>(-1 - s.id)]) {
    GraphNode rows{.op = &slice_op,
                   .i = {0, s.row, s.row + graph_.shape(call)[0]},
                   .dtype = graph_.dtype(call),
                   .shape = to_.shape(output)};
    rows.shape[0] = graph_.shape(call)[0];
    columns.push_back(s.whole ? output : to_.add(rows, {&output, 1}));
  }
  return to_.add({.op = &concat_op, .i = {1}, .dtype = graph_.dtype(call), .shape = graph_.shape(call)},
                 columns);
}

void Batching::keep(size_t k) {
  const GraphNode& n = graph_.nodes[k];
  const Id id = graph_.id_of(k);
  if (canon(id) != id) {
    spot_[static_cast<size_t>(id)] = spot_[static_cast<size_t>(canon(id))];
    return;
  }
  Id rows = rejoined(n, graph_.in(n));
  if (rows < 0) rows = picked(n);
  if (rows >= 0) {
    spot_[static_cast<size_t>(id)].id = rows;
    return;
  }
  room_.clear();
  for (Id in : graph_.in(n)) room_.push_back(whole(in));
  GraphNode same = n;
  same.stays = false;
  spot_[static_cast<size_t>(id)].id = to_.add(same, room_, graph_.list_of(n));
}

void Batching::join(std::span<uint32_t> members) {
  const GraphNode& first = graph_.nodes[members[0]];
  sort_by_rows(members, first);
  const auto operands = first.inputs;
  std::vector<Id> in(operands);
  for (uint32_t p = 0; p < operands; ++p) {
    in[p] = shared(first, graph_.in(first), p) ? whole(canon(graph_.in(first)[p])) : rows_of(members, p);
  }
  GraphNode all = first;
  all.stays = false;
  all.shape[0] = 0;
  for (uint32_t k : members) all.shape[0] += graph_.nodes[k].shape[0];
  const Id id = to_.add(all, in);
  int64_t row = 0;
  for (uint32_t k : members) {
    spot_[static_cast<size_t>(graph_.id_of(k))] = {id, row, false};
    row += graph_.nodes[k].shape[0];
  }
}

GraphNode Batching::written(const Body& body, size_t k, const GraphNode& call) {
  GraphNode n = body.graph.nodes[k];
  n.origin = call.origin;
  n.cut = !body.requires_grad[k];
  if (n.floats >= 0) n.floats = floats_for(body.floats[static_cast<size_t>(n.floats)]);
  return n;
}

void Batching::expand(std::span<uint32_t> members) {
  const GraphNode& call = graph_.nodes[members[0]];
  const Body& body = *call.op->body;
  if (members.size() > 1) sort_by_rows(members, call);
  std::vector<Id> now;
  for (uint32_t p = 0; p < call.inputs; ++p) {
    const Id in = graph_.in(call)[p];
    now.push_back(p >= body.arguments  ? whole(canon(in))
                  : members.size() > 1 ? rows_of(members, p)
                                       : whole(call, p));
  }
  int64_t rows = 0;
  for (uint32_t k : members) rows += graph_.nodes[k].shape[0];
  std::optional<Grouping> inside;
  if (members.size() > 1) inside.emplace(body).find_ways();
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
    GraphNode n = written(body, k, call);
    if (inside && inside->way(k) != Way::constant) n.shape[0] = rows;
    room_.clear();
    for (Id id : body.graph.in(body.graph.nodes[k])) room_.push_back(now[static_cast<size_t>(id)]);
    now.push_back(to_.add(n, room_, body.graph.list_of(body.graph.nodes[k])));
  }
  const auto number = static_cast<int32_t>(expanded_.size());
  expanded_.emplace_back();
  for (Id id : body.outputs) expanded_.back().push_back(now[static_cast<size_t>(id)]);
  int64_t row = 0;
  for (uint32_t k : members) {
    spot_[static_cast<size_t>(graph_.id_of(k))] = spot_in(number, row, members.size() == 1);
    row += graph_.nodes[k].shape[0];
  }
}

Batching::Spot Batching::spot_in(int32_t expansion, int64_t row, bool whole) const {
  const std::vector<Id>& outputs = expanded_[static_cast<size_t>(expansion)];
  return {outputs.size() == 1 ? outputs[0] : -1 - expansion, row, whole};
}

Batching::Spot Batching::output_spot(Id call, size_t output) const {
  const Spot& s = spot_[static_cast<size_t>(call)];
  return {expanded_[static_cast<size_t>(-1 - s.id)][output], s.row, s.whole};
}

Batching::Spot Batching::column_of(const GraphNode& slice) const {
  const Id call = graph_.in(slice)[0];
  return output_spot(call, output_of(*graph_.node(call).op->body, slice));
}

int32_t Batching::floats_for(const Floats& f) {
  for (size_t k = graph_.floats.size(); k < to_.floats.size(); ++k) {  // those before change from run to run
    if (to_.floats[k] == f) return static_cast<int32_t>(k);
  }
  to_.floats.push_back(f);
  return static_cast<int32_t>(to_.floats.size() - 1);
}

Graph batch(const Graph& graph, bool products_only, bool differentiated) {
  const std::optional<Graph> stacked =
      passes().batch && !products_only ? stack(graph) : std::optional<Graph>();
  const Graph& flat = stacked ? *stacked : graph;
  const std::optional<Graph> rolled =
      passes().find_cells() && !products_only ? roll(flat, differentiated) : std::optional<Graph>();
  const Graph& from = rolled ? *rolled : flat;
  std::optional<Graph> joined = Batching(from, products_only, passes().batch, differentiated).run();
  return joined ? std::move(*joined) : from;
}

}  // namespace reel::plan
