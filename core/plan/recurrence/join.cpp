// Calls of a template that read each other's results become a recurrence.
#include <algorithm>

#include "core/plan/batching.h"
#include "core/structural.h"

namespace reel::plan {

void Batching::recur(std::span<const uint32_t> members) {
  const GraphNode& call = graph_.nodes[members[0]];
  const Body& recorded = *call.op->body;
  Calls calls(graph_, members);
  const bool gradient = differentiated_ && !call.cut &&
                        std::ranges::find(recorded.requires_grad, true) != recorded.requires_grad.end();
  if (passes().commute) find_look_ups(calls);
  const Cut& cut = cut_template(recorded, calls, gradient);
  if (!cut.recurrence || calls.most_readers > kMostReaders) return in_levels(calls);
  const Body& body = cut.body;
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
    GraphNode n = written(body, k, call);
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
    spot_[static_cast<size_t>(graph_.id_of(calls.members[k]))] = spot_in(number, calls.row[k], false);
}

void Batching::find_look_ups(Calls& calls) const {
  for (size_t p = 0; p < calls.arguments; ++p) {
    const auto source = [&](uint32_t k) { return rows_read(graph_.nodes[k], p).id; };
    const Id id = calls.reads[p] ? -1 : source(calls.members[0]);
    calls.looked_up[p] =
        id >= 0 && to_.is_node(id) && is_look_up(to_, to_.node(id)) &&
        std::all_of(calls.members.begin(), calls.members.end(), [&](uint32_t k) { return source(k) == id; });
  }
}

void Batching::levels_of(const Calls& calls, const Cut& cut, const GraphNode& call, std::vector<Id>& values) {
  const Recurrence& r = *cut.recurrence;
  Schedule schedule = calls.schedule();
  std::vector<Id> in;
  for (const auto* ids : {&cut.split.rows, &cut.split.shared}) {
    for (Id id : *ids) in.push_back(values[static_cast<size_t>(id)]);
  }
  const auto outputs = static_cast<int64_t>(r.body.outputs.size());
  const size_t first_source = in.size();
  std::vector<int64_t> output_at;  // of the body's outputs among the recurrence's
  for (Id id : cut.body.outputs)
    output_at.push_back(std::ranges::find(cut.split.outputs, id) - cut.split.outputs.begin());
  const std::vector<Given> all_given = given_rows(calls, cut.split.reads);
  for (size_t read = 0; read < all_given.size(); ++read) {
    const Given& given = all_given[read];
    const Id p = cut.split.reads[read];
    int64_t source = Schedule::kNothing, at = 0;
    if (given.id >= 0 && !is_zero(given.id)) {
      auto known = std::find(in.begin() + static_cast<std::ptrdiff_t>(first_source), in.end(), given.id);
      if (known == in.end()) known = in.insert(known, given.id);
      source = outputs + (known - in.begin()) - static_cast<int64_t>(first_source);
    }
    auto& runs = schedule.reads.emplace_back();
    runs.reserve(calls.order.size());
    for (uint32_t k : calls.order) {
      const Calls::From& from = calls.from(k)[static_cast<size_t>(p)];
      if (from.call < 0) {
        const int64_t row = given.rows[static_cast<size_t>(at++)];
        append(runs, {calls.row[k], source, source == Schedule::kNothing ? 0 : row, calls.rows[k]});
      } else {
        append(runs, {calls.row[k], output_at[from.output], calls.row[static_cast<size_t>(from.call)],
                      calls.rows[k]});
      }
    }
  }
  const Id flat = to_.add({.op = &r.op,
                           .origin = call.origin,
                           .dtype = r.dtype(),
                           .cut = call.cut,
                           .shape = {r.size(schedule.rows)}},
                          in, schedule.words());
  for (size_t j = 0; j < cut.split.outputs.size(); ++j) {
    const Shape shape = r.shape(j, schedule.rows);
    values[static_cast<size_t>(cut.split.outputs[j])] =
        stretch(flat, r.offset(j, schedule.rows), shape, call);
  }
  for (size_t k = 0; k < cut.split.reads.size(); ++k) {
    const Id p = cut.split.reads[k];
    if (!read_outside(cut.body, cut.split, p)) continue;
    Shape shape = cut.body.graph.shape(p);
    shape[0] = schedule.rows;
    Id zeros = -1;
    const auto source = [&](const Schedule::Run& run) {
      if (run.source >= outputs) return in[first_source + static_cast<size_t>(run.source - outputs)];
      if (run.source != Schedule::kNothing)
        return values[static_cast<size_t>(cut.split.outputs[static_cast<size_t>(run.source)])];
      if (zeros < 0)
        zeros = to_.add({.op = &full_op, .dtype = r.dtype(), .cut = call.cut, .shape = shape}, {});
      return zeros;
    };
    std::vector<int64_t> list;
    std::vector<Id> sources;
    list.reserve(3 * schedule.reads[k].size());
    for (const Schedule::Run& run : schedule.reads[k]) {
      const Id id = source(run);
      auto at = std::find(sources.begin(), sources.end(), id);
      if (at == sources.end()) at = sources.insert(at, id);
      list.insert(list.end(), {at - sources.begin(), run.from, run.count});
    }
    values[static_cast<size_t>(p)] = to_.add(
        {.op = &pick_rows_op, .origin = call.origin, .dtype = r.dtype(), .cut = call.cut, .shape = shape},
        sources, list);
  }
}

// Whether all of it is zero, whatever a run's constants are.
bool Batching::is_zero(Id id) const {
  return to_.is_node(id) && to_.node(id).op == &full_op && to_.node(id).floats < 0;
}

Id Batching::stretch(Id flat, int64_t begin, const Shape& shape, const GraphNode& call) {
  return to_.add({.op = &stretch_op,
                  .i = {begin},
                  .origin = call.origin,
                  .dtype = to_.dtype(flat),
                  .cut = call.cut,
                  .shape = shape},
                 {&flat, 1});
}

std::vector<Batching::Given> Batching::given_rows(const Calls& calls, std::span<const Id> reads) {
  std::vector<Given> all(reads.size());
  std::vector<std::vector<uint32_t>> takers(reads.size());
  std::vector<std::pair<Id, int64_t>> taken;  // of values in which all rows of a read lie: how many of them
  const auto rows_taken = [&](Id id) -> int64_t& {
    const auto at = std::ranges::find(taken, id, [](const auto& t) { return t.first; });
    return at != taken.end() ? at->second : taken.emplace_back(id, 0).second;
  };
  for (size_t read = 0; read < reads.size(); ++read) {
    const auto p = static_cast<uint32_t>(reads[read]);
    for (uint32_t k : calls.order) {
      if (calls.from(k)[p].call < 0) takers[read].push_back(calls.members[k]);
    }
    if (takers[read].empty()) continue;
    const GraphNode& first = graph_.nodes[takers[read][0]];
    const auto as_first = [&](uint32_t k) {
      const GraphNode& n = graph_.nodes[k];
      return canon(graph_.in(n)[p]) == canon(graph_.in(first)[p]) &&
             output_read(n, p) == output_read(first, p);
    };
    Given& given = all[read];
    if (std::ranges::all_of(takers[read], as_first)) {
      given = {whole(first, p), std::vector<int64_t>(takers[read].size(), 0)};
      takers[read].clear();
      continue;
    }
    int64_t count = 0;
    bool one = true;
    for (uint32_t k : takers[read]) {
      const Spot s = rows_read(graph_.nodes[k], p);
      if (given.id < 0) given.id = s.id;
      one = one && s.id == given.id;
      given.rows.push_back(s.row);
      count += graph_.nodes[k].shape[0];
    }
    if (one) {
      rows_taken(given.id) += count;
    } else {
      given = {};
    }
  }
  for (size_t read = 0; read < reads.size(); ++read) {
    Given& given = all[read];
    if (takers[read].empty() || (given.id >= 0 && to_.shape(given.id)[0] <= 2 * rows_taken(given.id)))
      continue;
    given = {rows_of(takers[read], static_cast<uint32_t>(reads[read])), {}};
    int64_t next = 0;
    for (uint32_t k : takers[read]) {
      given.rows.push_back(next);
      next += graph_.nodes[k].shape[0];
    }
  }
  return all;
}

std::vector<uint32_t> Batching::as_rows_lie(const Calls& calls) const {
  const auto first = std::find(calls.reads.begin(), calls.reads.end(), false);
  if (first == calls.reads.end()) return {};
  const auto p = static_cast<size_t>(first - calls.reads.begin());
  std::vector<std::pair<int64_t, uint32_t>> rows;
  Id source = -1;
  for (uint32_t k = 0; k < calls.members.size(); ++k) {
    const Spot s = rows_read(graph_.nodes[calls.members[k]], p);
    if (k == 0) source = s.id;
    if (s.id != source) return {};
    rows.emplace_back(s.row, k);
  }
  std::sort(rows.begin(), rows.end());
  std::vector<uint32_t> order;
  for (const auto& [row, k] : rows) order.push_back(k);
  return order;
}

void Batching::in_levels(const Calls& calls) {
  for (int64_t level = 0; level < calls.levels; ++level) {
    std::vector<uint32_t> members;
    for (size_t k = 0; k < calls.members.size(); ++k) {
      if (calls.level[k] != level) continue;
      members.push_back(calls.members[k]);
      const GraphNode& call = graph_.nodes[calls.members[k]];
      for (size_t p = 0; p < calls.arguments; ++p) {
        const Id id = graph_.in(call)[p];
        if (calls.from(k)[p].call >= 0 && has_columns(call) && output_read(call, p) == 0)
          spot_[static_cast<size_t>(id)] = column_of(graph_.node(id));
      }
    }
    expand(members);
  }
}

}  // namespace reel::plan
