// batch: calls that do the same to different rows become one call on all their rows. The input projections of
// all steps become one product, and so do all nodes of one height of a forest. Which go together: grouping.h.
//
// Calls of a template (core/once.h) are replaced by its body, over all rows of the calls that go together.
#include <algorithm>
#include <optional>

#include "core/plan/grouping.h"
#include "core/plan/recurrence/calls.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr int64_t kSmall =
    512;  // elements: larger pointwise calls gain less from being joined than from being fused

class Batching {
  using Group = Grouping::Group;

 public:
  Batching(const Graph& graph, bool products_only, bool joining, bool differentiated)
      : graph_(graph),
        products_only_(products_only),
        joining_(joining),
        differentiated_(differentiated),
        grouping_(graph) {}

  // Nothing where there is nothing to join.
  std::optional<Graph> run() {
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

 private:
  struct Spot {  // where a node's rows are in the new graph
    Id id = -1;
    int64_t row = 0;
    bool whole = true;
  };

  Way way(size_t k) const { return grouping_.way(k); }
  Id canon(Id id) const { return grouping_.canon(id); }
  bool shared(const GraphNode& n, std::span<const Id> in, size_t p) const {
    return grouping_.shared(n, in, p);
  }

  bool joins(const Group& group) const {
    if (group.size < 2 || !joining_ || way(group.first) == Way::alone) return false;
    return way(group.first) == Way::heavy ||
           (!products_only_ && graph_.nodes[group.first].shape.numel() <= kSmall);
  }

  // The value as a value of the new graph.
  Id whole(Id id) {
    Spot& s = spot_[static_cast<size_t>(id)];
    if (s.id < 0) return packed(id, s);
    if (s.whole) return s.id;
    const Shape& shape = graph_.shape(id);
    GraphNode slice{
        .op = &slice_op, .i = {0, s.row, s.row + shape[0]}, .dtype = graph_.dtype(id), .shape = shape};
    s = {to_.add(slice, {&s.id, 1}), 0, true};
    return s.id;
  }

  // All outputs of a template's call side by side, for a gradient that may be asked for later.
  Id packed(Id call, const Spot& s) {
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

  void keep(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const Id id = graph_.id_of(k);
    if (canon(id) != id) {
      spot_[static_cast<size_t>(id)] = spot_[static_cast<size_t>(canon(id))];
      return;
    }
    room_.clear();
    for (Id in : graph_.in(n)) room_.push_back(whole(in));
    GraphNode same = n;
    same.stays = false;
    spot_[static_cast<size_t>(id)].id = to_.add(same, room_, graph_.list_of(n));
  }

  void join(std::span<uint32_t> members) {
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

  // The body over the rows of these calls.
  void expand(std::span<uint32_t> members) {
    const GraphNode& call = graph_.nodes[members[0]];
    const Body& body = *call.op->body;
    if (members.size() > 1) sort_by_rows(members, call);
    std::vector<Id> now;
    for (uint32_t p = 0; p < call.inputs; ++p) {
      const Id in = graph_.in(call)[p];
      now.push_back(p >= body.arguments  ? whole(canon(in))
                    : members.size() > 1 ? rows_of(members, p)
                                         : whole(in));
    }
    int64_t rows = 0;
    for (uint32_t k : members) rows += graph_.nodes[k].shape[0];
    std::optional<Grouping> inside;
    if (members.size() > 1) inside.emplace(body).find_ways();
    for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
      GraphNode n = body.graph.nodes[k];
      n.origin = call.origin;
      n.cut = !body.requires_grad[k];
      if (n.floats >= 0) n.floats = floats_for(body.floats[static_cast<size_t>(n.floats)]);
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
      spot_[static_cast<size_t>(graph_.id_of(k))] = {-1 - number, row, members.size() == 1};
      row += graph_.nodes[k].shape[0];
    }
  }

  // Calls that read each other's results: a recurrence, or level by level where it cannot be one.
  void recur(std::span<const uint32_t> members) {
    const GraphNode& call = graph_.nodes[members[0]];
    const Body& body = *call.op->body;
    Calls calls(graph_, members);
    const bool gradient =
        differentiated_ && !call.cut &&
        std::find(body.requires_grad.begin(), body.requires_grad.end(), true) != body.requires_grad.end();
    const Cut& cut = cut_template(body, calls, gradient);
    if (!cut.recurrence || calls.most_readers > kMostReaders) return in_levels(calls);
    calls.arrange(as_rows_lie(calls));
    std::vector<uint32_t> ordered;
    for (uint32_t k : calls.order) ordered.push_back(calls.members[k]);

    std::vector<Id> values(body.graph.leaves.size() + body.graph.nodes.size(), -1);
    for (uint32_t p = 0; p < call.inputs; ++p) {
      if (p >= body.arguments) {
        values[p] = whole(canon(graph_.in(call)[p]));
      } else if (!calls.reads[p]) {
        values[p] = rows_of(ordered, p);
      }
    }
    Grouping inside(body);
    inside.find_ways();
    const auto make = [&](size_t k, const std::vector<Id>& in) {
      GraphNode n = body.graph.nodes[k];
      n.origin = call.origin;
      n.cut = !body.requires_grad[k];
      if (n.floats >= 0) n.floats = floats_for(body.floats[static_cast<size_t>(n.floats)]);
      if (inside.way(k) != Way::constant) n.shape[0] = calls.all_rows;
      return to_.add(n, in, body.graph.list_of(body.graph.nodes[k]));
    };
    write(body, cut.split, Split::Outside::before, values, make);
    levels_of(calls, cut, call, values);
    write(body, cut.split, Split::Outside::after, values, make);

    const auto number = static_cast<int32_t>(expanded_.size());
    expanded_.emplace_back();
    for (Id id : body.outputs) expanded_.back().push_back(values[static_cast<size_t>(id)]);
    for (size_t k = 0; k < calls.members.size(); ++k)
      spot_[static_cast<size_t>(graph_.id_of(calls.members[k]))] = {-1 - number, calls.row[k], false};
  }

  // The call of the recurrence itself, and its outputs.
  void levels_of(const Calls& calls, const Cut& cut, const GraphNode& call, std::vector<Id>& values) {
    const Recurrence& r = *cut.recurrence;
    Schedule schedule = calls.schedule();
    std::vector<Id> in;
    for (const auto* ids : {&cut.split.rows, &cut.split.shared}) {
      for (Id id : *ids) in.push_back(values[static_cast<size_t>(id)]);
    }
    const auto outputs = static_cast<int64_t>(r.body.outputs.size());
    const size_t first_source = in.size();
    for (Id p : cut.split.reads) {
      const auto& body_outputs = call.op->body->outputs;
      const Given given = given_rows(calls, static_cast<uint32_t>(p));
      int64_t source = -1, at = 0;
      if (given.id >= 0) {
        source = outputs + static_cast<int64_t>(in.size() - first_source);
        in.push_back(given.id);
      }
      auto& runs = schedule.reads.emplace_back();
      for (uint32_t k : calls.order) {
        const Calls::From& from = calls.from(k)[static_cast<size_t>(p)];
        if (from.call < 0) {
          append(runs, {calls.row[k], source, given.rows[static_cast<size_t>(at++)], calls.rows[k]});
          continue;
        }
        const auto output = std::find(cut.split.outputs.begin(), cut.split.outputs.end(), body_outputs[from.output]);
        append(runs, {calls.row[k], output - cut.split.outputs.begin(),
                      calls.row[static_cast<size_t>(from.call)], calls.rows[k]});
      }
    }
    int64_t columns = 0;
    for (size_t j = 0; j < r.body.outputs.size(); ++j) columns += r.width(j);
    const Id flat = to_.add({.op = &r.op,
                             .origin = call.origin,
                             .dtype = r.dtype(),
                             .cut = call.cut,
                             .shape = {columns * schedule.rows}},
                            in, schedule.words());
    for (size_t j = 0; j < cut.split.outputs.size(); ++j) {
      Shape shape = call.op->body->graph.shape(cut.split.outputs[j]);
      shape[0] = schedule.rows;
      values[static_cast<size_t>(cut.split.outputs[j])] =
          stretch(flat, r.offset(j, schedule.rows), shape, call);
    }
  }

  // Elements of a flat value from `begin` on, under this shape.
  Id stretch(Id flat, int64_t begin, const Shape& shape, const GraphNode& call) {
    const Id slice = to_.add({.op = &slice_op,
                              .i = {0, begin, begin + shape.numel()},
                              .origin = call.origin,
                              .dtype = to_.dtype(flat),
                              .cut = call.cut,
                              .shape = {shape.numel()}},
                             {&flat, 1});
    return to_.add({.op = &reshape_op,
                    .origin = call.origin,
                    .dtype = to_.dtype(flat),
                    .cut = call.cut,
                    .shape = shape},
                   {&slice, 1});
  }

  // What calls take for argument p that no other call makes: a value, and the first row of each.
  struct Given {
    Id id = -1;
    std::vector<int64_t> rows;
  };
  Given given_rows(const Calls& calls, uint32_t p) {
    std::vector<uint32_t> takers;
    for (uint32_t k : calls.order) {
      if (calls.from(k)[p].call < 0) takers.push_back(calls.members[k]);
    }
    if (takers.empty()) return {};
    Given given;
    const Id first = canon(graph_.in(graph_.nodes[takers[0]])[p]);
    if (std::all_of(takers.begin(), takers.end(),
                    [&](uint32_t k) { return canon(graph_.in(graph_.nodes[k])[p]) == first; })) {
      return {whole(first), std::vector<int64_t>(takers.size(), 0)};
    }
    int64_t next = 0;
    bool one = true;
    for (uint32_t k : takers) {
      const Spot s = rows_behind(graph_.in(graph_.nodes[k])[p]);
      if (given.id < 0) given.id = s.id;
      one = one && s.id == given.id;
      given.rows.push_back(s.row);
      next += graph_.nodes[k].shape[0];
    }
    if (one && to_.shape(given.id)[0] <= 2 * next) return given;
    given = {rows_of(takers, p), {}};
    next = 0;
    for (uint32_t k : takers) {
      given.rows.push_back(next);
      next += graph_.nodes[k].shape[0];
    }
    return given;
  }

  // The calls in the order of the rows that their first own argument has, where these lie in one value.
  std::vector<uint32_t> as_rows_lie(const Calls& calls) const {
    const auto first = std::find(calls.reads.begin(), calls.reads.end(), false);
    if (first == calls.reads.end()) return {};
    const auto p = static_cast<size_t>(first - calls.reads.begin());
    std::vector<std::pair<int64_t, uint32_t>> rows;
    Id source = -1;
    for (uint32_t k = 0; k < calls.members.size(); ++k) {
      const Spot s = rows_behind(graph_.in(graph_.nodes[calls.members[k]])[p]);
      if (k == 0) source = s.id;
      if (s.id != source) return {};
      rows.emplace_back(s.row, k);
    }
    std::sort(rows.begin(), rows.end());
    std::vector<uint32_t> order;
    for (const auto& [row, k] : rows) order.push_back(k);
    return order;
  }

  // Level by level, as an unrolled recurrence.
  void in_levels(const Calls& calls) {
    for (int64_t level = 0; level < calls.levels; ++level) {
      std::vector<uint32_t> members;
      for (size_t k = 0; k < calls.members.size(); ++k) {
        if (calls.level[k] != level) continue;
        members.push_back(calls.members[k]);
        const GraphNode& call = graph_.nodes[calls.members[k]];
        for (size_t p = 0; p < calls.arguments; ++p) {
          const Id id = graph_.in(call)[p];
          if (calls.from(k)[p].call >= 0) spot_[static_cast<size_t>(id)] = column_of(graph_.node(id));
        }
      }
      expand(members);
    }
  }

  // Where an output of a call is: the calls' spots say which expansion, and which rows of it.
  Spot column_of(const GraphNode& slice) {
    const Id from = graph_.in(slice)[0];
    const Spot& call = spot_[static_cast<size_t>(from)];
    const size_t output = output_of(*graph_.node(from).op->body, slice);
    return {expanded_[static_cast<size_t>(-1 - call.id)][output], call.row, call.whole};
  }

  // The number of these constants among the run's.
  int32_t floats_for(const Floats& f) {
    for (size_t k = graph_.floats.size(); k < to_.floats.size();
         ++k) {  // those before change from run to run
      if (to_.floats[k] == f) return static_cast<int32_t>(k);
    }
    to_.floats.push_back(f);
    return static_cast<int32_t>(to_.floats.size() - 1);
  }

  // In the order in which the rows of the first operand that was joined lie.
  void sort_by_rows(std::span<uint32_t> members, const GraphNode& first) const {
    for (uint32_t p = 0; p < first.inputs; ++p) {
      if (!graph_.is_node(graph_.in(first)[p]) || shared(first, graph_.in(first), p)) continue;
      const auto at = [&](uint32_t k) { return spot_[static_cast<size_t>(graph_.in(graph_.nodes[k])[p])]; };
      const Id source = at(members[0]).id;
      if (std::any_of(members.begin(), members.end(), [&](uint32_t k) { return at(k).id != source; }))
        continue;
      std::stable_sort(members.begin(), members.end(),
                       [&](uint32_t a, uint32_t b) { return at(a).row < at(b).row; });
      return;
    }
  }

  // Where a value's rows are: a stretch of rows of a matrix may come under other shapes, through views.
  Spot rows_behind(Id id) const {
    const Shape& shape = graph_.shape(id);
    const int64_t width = shape.rank() == 2 ? shape[1] : 0;
    int64_t offset = 0;
    Id from = id;
    while (width > 0 && graph_.is_node(from) && graph_.node(from).op->view &&
           spot_[static_cast<size_t>(from)].whole) {
      const GraphNode& n = graph_.node(from);
      if (n.cut || !n.op->vjp) break;                                        // no gradient may pass here
      const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);  // for differences only
      const Shape& base = graph_.shape(graph_.in(n)[0]);
      const Array source{origin, n.dtype, base, row_major(base)};
      Array target{origin, n.dtype, n.shape, {}};
      if (!n.op->view(source, {n.i, {}}, target) || !target.contiguous()) break;
      offset += (target.data - origin) / static_cast<int64_t>(size_of(n.dtype));
      from = graph_.in(n)[0];
      if (graph_.is_node(from) && graph_.shape(from).rank() == 2 && graph_.shape(from)[1] == width &&
          offset % width == 0 && !graph_.node(from).op->view) {
        const Spot& s = spot_[static_cast<size_t>(from)];
        return s.id < 0 ? spot_[static_cast<size_t>(id)] : Spot{s.id, s.row + offset / width, false};
      }
    }
    return spot_[static_cast<size_t>(id)];
  }

  // Operand p of all members, one below another: a stretch of rows of one value, whole values, or rows picked
  // from several.
  Id rows_of(std::span<const uint32_t> members, uint32_t p) {
    runs_.clear();
    int64_t total = 0;
    for (uint32_t k : members) {
      const Id id = graph_.in(graph_.nodes[k])[p];
      const Spot s = rows_behind(id);
      const int64_t rows = graph_.shape(id)[0];
      total += rows;
      if (!runs_.empty() && runs_.back().id == s.id && runs_.back().row + runs_.back().rows == s.row) {
        runs_.back().rows += rows;
      } else {
        runs_.push_back({s.id, s.row, rows});
      }
    }
    const Id like = graph_.in(graph_.nodes[members[0]])[p];
    GraphNode all{.dtype = graph_.dtype(like), .shape = graph_.shape(like)};
    all.shape[0] = total;
    const bool wholes = std::all_of(runs_.begin(), runs_.end(),
                                    [&](const Run& r) { return r.row == 0 && r.rows == to_.shape(r.id)[0]; });
    if (runs_.size() == 1) {
      if (wholes) return runs_[0].id;
      all.op = &slice_op;
      all.i = {0, runs_[0].row, runs_[0].row + total};
      return to_.add(all, {&runs_[0].id, 1});
    }
    std::vector<Id> sources;
    if (wholes) {
      all.op = &concat_op;
      for (const Run& r : runs_) sources.push_back(r.id);
      return to_.add(all, sources);
    }
    std::vector<int64_t> list;
    for (const Run& r : runs_) {
      auto at = std::find(sources.begin(), sources.end(), r.id);
      if (at == sources.end()) at = sources.insert(at, r.id);
      list.insert(list.end(), {at - sources.begin(), r.row, r.rows});
    }
    all.op = &pick_rows_op;
    return to_.add(all, sources, list);
  }

  struct Run {
    Id id;
    int64_t row, rows;
  };

  const Graph& graph_;
  const bool products_only_, joining_, differentiated_;
  Grouping grouping_;
  std::vector<std::vector<Id>> expanded_;  // the outputs of templates' bodies in the new graph
  Graph to_;
  std::vector<Spot> spot_;
  std::vector<Run> runs_;
  std::vector<Id> room_;
};

}  // namespace

Graph batch(Graph graph, bool products_only, bool differentiated) {
  std::optional<Graph> joined = Batching(graph, products_only, passes().batch, differentiated).run();
  return joined ? std::move(*joined) : std::move(graph);
}

}  // namespace reel::plan
