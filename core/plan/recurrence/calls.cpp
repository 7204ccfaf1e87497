#include "core/plan/recurrence/calls.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>

#include "core/plan/counted.h"
#include "core/plan/recurrence/together.h"
#include "core/structural.h"

namespace reel::plan {

size_t output_of(const Body& body, const GraphNode& slice) {
  int64_t begin = 0;
  size_t output = 0;
  while (begin != slice.i[1]) begin += body.graph.shape(body.outputs[output++])[1];
  return output;
}

Calls::Calls(const Graph& graph, std::span<const uint32_t> nodes)
    : arguments(graph.nodes[nodes[0]].op->body->arguments), members(nodes.begin(), nodes.end()) {
  const Body& body = *graph.nodes[nodes[0]].op->body;
  std::sort(members.begin(), members.end());
  std::vector<int32_t> call_of(graph.nodes.size(), -1);
  for (size_t k = 0; k < members.size(); ++k) call_of[members[k]] = static_cast<int32_t>(k);
  from_.resize(members.size() * arguments);
  level.assign(members.size(), 0);
  reads.assign(arguments, false);
  looked_up.assign(arguments, false);
  states.assign(body.outputs.size(), false);
  std::vector<int64_t> readers(members.size() * body.outputs.size(), 0);
  for (size_t k = 0; k < members.size(); ++k) {
    const GraphNode& call = graph.nodes[members[k]];
    rows.push_back(call.shape[0]);
    for (size_t p = 0; p < arguments; ++p) {
      const Id id = graph.in(call)[p];
      if (!graph.is_node(id)) continue;
      size_t output = output_read(call, p);
      const bool column = output == 0 && body.outputs.size() > 1 && graph.node(id).op == &slice_op;
      const Id base = column ? graph.in(graph.node(id))[0] : id;
      if (!graph.is_node(base)) continue;
      const int32_t from = call_of[graph.node_of(base)];
      if (from < 0) continue;
      output = column ? output_of(body, graph.node(id)) : output > 0 ? output - 1 : 0;
      from_[k * arguments + p] = {from, output};
      reads[p] = states[output] = true;
      level[k] = std::max(level[k], level[static_cast<size_t>(from)] + 1);
      int64_t& count = readers[static_cast<size_t>(from) * body.outputs.size() + output];
      most_readers = std::max(most_readers, ++count);
    }
    levels = std::max(levels, level[k] + 1);
  }
  all_rows = std::accumulate(rows.begin(), rows.end(), int64_t{0});
}

namespace {

// Calls that depend on each other.
struct Family {
  uint32_t first;
  int64_t rows = 0, levels = 0;
};

// So that the first ones cost about as much as the others, and likewise each half. Those of most levels come
// together: the others then have no rows in so many levels, each of which would read the weights for a few.
void halve(std::span<Family> families, int times) {
  if (times == 0 || families.size() < 2) return;
  const auto same = [&](const Family& f) {
    return f.levels == families[0].levels && f.rows == families[0].rows;
  };
  if (std::ranges::all_of(families, same)) return;
  std::ranges::stable_sort(families, std::greater(), &Family::levels);
  int64_t rows = 0;
  for (const Family& f : families) rows += f.rows;
  // By how much the first k, of so many rows, cost more than the rest; with one of the rest, by that much
  // more.
  const auto excess = [&](size_t k, int64_t first_rows) {
    const int64_t rest = k < families.size() ? families[k].levels : 0;
    return 2 * first_rows - rows + kRowsALevel * (families[0].levels - rest);
  };
  size_t k = 1;
  int64_t taken = families[0].rows;
  while (k + 1 < families.size() && excess(k + 1, taken + families[k].rows) <= 0) taken += families[k++].rows;
  const auto best = std::ranges::min_element(
      families.subspan(k), {}, [&](const Family& f) { return std::abs(excess(k, taken + f.rows)); });
  if (k + 1 < families.size() && std::abs(excess(k, taken + best->rows)) < std::abs(excess(k, taken))) {
    std::rotate(families.begin() + static_cast<std::ptrdiff_t>(k), best, best + 1);
    ++k;
  }
  halve(families.first(k), times - 1);
  halve(families.subspan(k), times - 1);
}

}  // namespace

std::vector<uint32_t> Calls::by_families() const {
  std::vector<uint32_t> all(members.size());  // the calls in order
  std::iota(all.begin(), all.end(), 0u);
  Together calls(static_cast<int64_t>(members.size()));
  for (uint32_t k : all) {
    for (const From& f : from(k)) {
      if (f.call >= 0) calls.join(k, f.call);
    }
  }
  std::vector<Family> families;
  std::vector<size_t> of(members.size());  // of calls: which family
  for (uint32_t k : all) {
    const auto f = static_cast<uint32_t>(calls.first(k));
    if (f == k) {
      of[k] = families.size();
      families.push_back({.first = k});
    }
    Family& mine = families[of[k] = of[f]];
    mine.rows += rows[k];
    mine.levels = std::max(mine.levels, level[k] + 1);
  }
  halve(families, 2);
  std::vector<int64_t> place(families.size());
  for (size_t f = 0; f < families.size(); ++f) place[of[families[f].first]] = static_cast<int64_t>(f);
  return counted(all, static_cast<int64_t>(families.size()), [&](uint32_t k) { return place[of[k]]; });
}

void Calls::arrange(std::vector<uint32_t> wanted) {
  order = std::move(wanted);
  std::vector<bool> begun(static_cast<size_t>(levels), false);
  bool together = !order.empty();
  for (size_t k = 0; together && k < order.size(); ++k) {
    const auto mine = static_cast<size_t>(level[order[k]]);
    if (k > 0 && level[order[k]] == level[order[k - 1]]) continue;
    together = !begun[mine];
    begun[mine] = true;
  }
  if (!together) order = counted(by_families(), levels, [&](uint32_t k) { return level[k]; });
  row.assign(members.size(), 0);
  int64_t next = 0;
  for (uint32_t k : order) {
    row[k] = next;
    next += rows[k];
  }
}

Schedule Calls::schedule() const {
  Schedule schedule;
  schedule.rows = all_rows;
  schedule.levels.assign(static_cast<size_t>(levels), {all_rows, 0});
  for (size_t k = 0; k < members.size(); ++k) {
    auto& mine = schedule.levels[static_cast<size_t>(level[k])];
    mine.begin = std::min(mine.begin, row[k]);
    mine.end = std::max(mine.end, row[k] + rows[k]);
  }
  return schedule;
}

const Cut& cut_template(const Body& whole, const Calls& calls, bool differentiated) {
  using Key =
      std::tuple<const Body*, std::vector<bool>, std::vector<bool>, std::vector<bool>, bool, uint64_t>;
  static thread_local std::map<Key, Cut> known;  // bodies outlive everything that was recorded with them
  const auto [at, fresh] = known.try_emplace(
      {&whole, calls.reads, calls.looked_up, calls.states, differentiated, passes().bits()});
  Cut& cut = at->second;
  if (!fresh) return cut;
  cut.recurrence = nullptr;
  cut.body = passes().batch ? unjoined(whole, calls.reads) : whole;
  const Body& body = cut.body;
  std::vector<Argument> arguments;
  for (size_t p = 0; p < calls.arguments; ++p) {
    arguments.push_back(calls.reads[p]       ? Argument::read
                        : calls.looked_up[p] ? Argument::looked_up
                                             : Argument::row);
  }
  std::vector<Id> states;
  for (size_t j = 0; j < body.outputs.size(); ++j) {
    if (calls.states[j]) states.push_back(body.outputs[j]);
  }
  std::optional<Split> found = split(body, arguments, states, body.outputs, false);
  if (!found) return cut;
  cut.split = std::move(*found);
  Body inner = inner_body(body, cut.split);
  const bool one_type = std::all_of(inner.outputs.begin(), inner.outputs.end(), [&](Id id) {
    return inner.graph.dtype(id) == inner.graph.dtype(inner.outputs[0]);
  });
  if (!one_type || !is_float(inner.graph.dtype(inner.outputs[0]))) return cut;
  cut.recurrence =
      intern(std::move(inner), cut.split.rows.size(), cut.split.reads.size(), cut.split.outputs.size());
  if (cut.recurrence && differentiated) cut.recurrence = with_kept(*cut.recurrence);
  return cut;
}

}  // namespace reel::plan
