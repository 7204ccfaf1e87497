// Where rows lie: what is a stretch of one value, what has to be picked from several.
#include <algorithm>

#include "core/plan/batching.h"
#include "core/structural.h"

namespace reel::plan {

void Batching::sort_by_rows(std::span<uint32_t> members, const GraphNode& first) const {
  for (uint32_t p = 0; p < first.inputs; ++p) {
    if (!graph_.is_node(graph_.in(first)[p]) || shared(first, graph_.in(first), p)) continue;
    const auto at = [&](uint32_t k) {
      const GraphNode& n = graph_.nodes[k];
      return output_read(n, p) > 0 ? rows_read(n, p) : spot_[static_cast<size_t>(graph_.in(n)[p])];
    };
    const Id source = at(members[0]).id;
    if (std::any_of(members.begin(), members.end(), [&](uint32_t k) { return at(k).id != source; })) continue;
    const auto row = [&](uint32_t k) { return at(k).row; };
    if (!std::ranges::is_sorted(members, {}, row)) std::ranges::stable_sort(members, {}, row);
    return;
  }
}

Batching::Spot Batching::rows_behind(Id id) const {
  const Shape& shape = graph_.shape(id);
  const int64_t width = shape.rank() == 2 ? shape[1] : 0;
  int64_t offset = 0;
  Id from = id;
  while (width > 0 && graph_.is_node(from) && graph_.node(from).op->view &&
         spot_[static_cast<size_t>(from)].whole) {
    const GraphNode& n = graph_.node(from);
    const std::optional<int64_t> begin = stretch_of(n);
    if (!begin) break;
    offset += *begin;
    from = graph_.in(n)[0];
    if (graph_.is_node(from) && graph_.shape(from).rank() == 2 && graph_.shape(from)[1] == width &&
        offset % width == 0 && !graph_.node(from).op->view) {
      const Spot& s = spot_[static_cast<size_t>(from)];
      return s.id < 0 ? spot_[static_cast<size_t>(id)] : Spot{s.id, s.row + offset / width, false};
    }
  }
  return spot_[static_cast<size_t>(id)];
}

Batching::Spot Batching::rows_read(const GraphNode& n, size_t p) const {
  const Id id = graph_.in(n)[p];
  const size_t output = output_read(n, p);
  return output > 0 ? output_spot(id, output - 1) : rows_behind(id);
}

Id Batching::rows_of(std::span<const uint32_t> members, uint32_t p) {
  runs_.clear();
  int64_t total = 0;
  bool outputs = false;
  for (uint32_t k : members) {
    const GraphNode& n = graph_.nodes[k];
    const Spot s = rows_read(n, p);
    const int64_t rows = graph_.shape(graph_.in(n)[p])[0];
    outputs = outputs || output_read(n, p) > 0;
    total += rows;
    add_run(s, rows);
  }
  const GraphNode& first = graph_.nodes[members[0]];
  GraphNode all{.dtype = graph_.dtype(graph_.in(first)[p]), .shape = shape_read(graph_, first, p)};
  all.shape[0] = total;
  if (runs_.size() > 1 && !outputs) {
    room_.clear();
    for (uint32_t k : members) room_.push_back(graph_.in(graph_.nodes[k])[p]);
    all.op = &concat_op;
    if (const Id rows = rejoined(all, room_); rows >= 0) return rows;
  }
  const bool wholes = std::all_of(runs_.begin(), runs_.end(),
                                  [&](const Run& r) { return r.row == 0 && r.rows == to_.shape(r.id)[0]; });
  if (runs_.size() == 1) {
    if (wholes) return runs_[0].id;
    all.op = &slice_op;
    all.i = {0, runs_[0].row, runs_[0].row + total};
    return to_.add(all, {&runs_[0].id, 1});
  }
  if (!wholes) return pick_runs(all);
  all.op = &concat_op;
  room_.clear();
  for (const Run& r : runs_) room_.push_back(r.id);
  return to_.add(all, room_);
}

void Batching::add_run(const Spot& s, int64_t rows) {
  if (!runs_.empty() && runs_.back().id == s.id && runs_.back().row + runs_.back().rows == s.row) {
    runs_.back().rows += rows;
  } else {
    runs_.push_back({s.id, s.row, rows});
  }
}

Id Batching::pick_runs(GraphNode all) {
  std::vector<Id> sources;
  std::vector<int64_t> list;
  for (const Run& r : runs_) {
    auto at = std::find(sources.begin(), sources.end(), r.id);
    if (at == sources.end()) at = sources.insert(at, r.id);
    list.insert(list.end(), {at - sources.begin(), r.row, r.rows});
  }
  all.op = &pick_rows_op;
  return to_.add(all, sources, list);
}

Id Batching::picked(const GraphNode& n) {
  constexpr uint32_t kMany = 4;
  if (n.op != &concat_op || n.i[0] != 0 || n.inputs < kMany || n.cut) return -1;
  runs_.clear();
  for (Id id : graph_.in(n)) {
    const Spot s = rows_behind(id);
    if (s.whole || s.id < 0) return -1;
    add_run(s, graph_.shape(id)[0]);
  }
  return pick_runs({.origin = n.origin, .dtype = n.dtype, .shape = n.shape});
}

Id Batching::rejoined(const GraphNode& n, std::span<const Id> parts) {
  if (n.op != &concat_op || n.i[0] != 0 || parts.size() < 2 || n.cut) return -1;
  Id base = -1;
  int64_t first = 0, next = 0;
  for (Id in : parts) {
    const auto [id, begin] = elements_behind(in);
    if (base < 0) {
      base = id;
      first = next = begin;
    }
    if (id < 0 || id != base || begin != next) return -1;
    next += graph_.shape(in).numel();
  }
  const Shape& shape = to_.shape(base);
  const int64_t row = shape.rank() == 0 || shape[0] == 0 ? 0 : shape.numel() / shape[0];
  if (row == 0 || first % row != 0 || next % row != 0) return -1;
  GraphNode rows{.op = &slice_op,
                 .i = {0, first / row, next / row},
                 .origin = n.origin,
                 .dtype = n.dtype,
                 .shape = shape};
  rows.shape[0] = (next - first) / row;
  const Id sliced = next - first == shape.numel() ? base : to_.add(rows, {&base, 1});
  if (rows.shape == n.shape) return sliced;
  return to_.add({.op = &reshape_op, .origin = n.origin, .dtype = n.dtype, .shape = n.shape}, {&sliced, 1});
}

std::pair<Id, int64_t> Batching::elements_behind(Id id) const {
  int64_t offset = 0;
  while (graph_.is_node(id) && graph_.node(id).op->view && spot_[static_cast<size_t>(id)].whole) {
    const GraphNode& n = graph_.node(id);
    const std::optional<int64_t> begin = stretch_of(n);
    if (!begin) break;
    offset += *begin;
    id = graph_.in(n)[0];
  }
  const Spot& s = spot_[static_cast<size_t>(id)];
  if (s.id < 0) return {-1, 0};
  const Shape& shape = to_.shape(s.id);
  return {s.id, offset + (s.row > 0 ? s.row * (shape.numel() / shape[0]) : 0)};
}

std::optional<int64_t> Batching::stretch_of(const GraphNode& n) const {
  if (n.cut || !n.op->vjp) return {};
  const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);  // for differences only
  const Shape& base = graph_.shape(graph_.in(n)[0]);
  const Array source{origin, n.dtype, base, row_major(base)};
  Array target{origin, n.dtype, n.shape, {}};
  if (!n.op->view(source, {n.i, {}}, target) || !target.contiguous()) return {};
  return (target.data - origin) / static_cast<int64_t>(size_of(n.dtype));
}

}  // namespace reel::plan
