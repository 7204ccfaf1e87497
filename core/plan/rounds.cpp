#include "core/plan/rounds.h"

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "core/structural.h"

namespace reel::plan {

const Op* found_template(Body& body) {
  constexpr size_t kMost = 512;
  static thread_local std::unordered_set<const Op*> found;
  const Op* op = template_op(body, found.size() < kMost);
  if (op) found.insert(op);
  return op;
}

bool Rounds::find(bool repeated) {
  if (products() < kLeast) return false;
  grouping_.find_ways();
  if (!find_classes(repeated)) return false;
  gather();
  list_members();
  return true;
}

// ---- Products that depend on others with the same weight ----

size_t Rounds::products() const {
  return static_cast<size_t>(std::ranges::count_if(
      graph_.nodes, [](const auto& n) { return n.op->kind == Kind::matmul && n.shape.rank() == 2; }));
}

bool Rounds::is_product(size_t k) const {
  const GraphNode& n = graph_.nodes[k];
  return grouping_.way(k) == Way::heavy && n.op->kind == Kind::matmul && is_float(n.dtype) && !n.op->body;
}

bool Rounds::find_classes(bool repeated) {
  class_.assign(count_, -1);
  std::vector<uint64_t> before(count_, 0);  // the classes that a node depends on
  std::array<uint64_t, kMostClasses> depends{};
  std::vector<size_t> sizes;
  Table table;
  for (size_t k = 0; k < count_; ++k) {
    for (Id id : graph_.in(graph_.nodes[k])) {
      if (graph_.is_node(id)) before[k] |= before[graph_.node_of(id)];
    }
    if (!is_product(k)) continue;
    const int32_t c = class_of(k, table, sizes);
    if (c < 0) continue;
    ++sizes[static_cast<size_t>(c)];
    depends[static_cast<size_t>(c)] |= before[k];
    before[k] |= uint64_t{1} << c;
  }
  for (size_t via = 0; via < sizes.size(); ++via) {
    for (size_t c = 0; c < sizes.size(); ++c) {
      if (depends[c] >> via & 1) depends[c] |= depends[via];
    }
  }
  cycle_.assign(sizes.size(), kMostClasses);
  bool any = false;
  for (size_t c = 0; c < sizes.size(); ++c) {
    const bool in_cycle = (depends[c] >> c & 1) != 0;
    if (in_cycle == repeated || sizes[c] < (repeated ? kOften : kLeast)) continue;
    cycle_[c] = c;
    for (size_t d = c; d-- > 0;) {  // that it is in a cycle with
      if ((depends[c] >> d & 1) && (depends[d] >> c & 1) && cycle_[d] == d) cycle_[c] = d;
    }
    any = true;
  }
  return any;
}

int32_t Rounds::class_of(size_t k, Table& table, std::vector<size_t>& sizes) {
  const GraphNode& n = graph_.nodes[k];
  const Id weight = canon(graph_.in(n)[1]);
  uint64_t h = mix(static_cast<uint64_t>(weight), static_cast<uint64_t>(n.shape[0]));
  for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
  const auto first = static_cast<size_t>(table.find(h, static_cast<int32_t>(k), [&](int32_t other) {
    const GraphNode& o = graph_.nodes[static_cast<size_t>(other)];
    return o.op == n.op && o.i == n.i && o.shape == n.shape && o.cut == n.cut &&
           canon(graph_.in(o)[1]) == weight;
  }));
  if (first == k && sizes.size() < kMostClasses) {
    class_[k] = static_cast<int32_t>(sizes.size());
    sizes.push_back(0);
  }
  return class_[k] = class_[first];
}

// ---- Who belongs to which round ----
//
// A node joins a round only where all else that it reads comes from earlier ones; so a round can run as a
// whole once those have run.

void Rounds::gather() {
  round_.assign(count_, -1);
  after_.assign(count_, -1);
  readers_ = graph_.readers();
  begun_by_.assign(graph_.leaves.size() + count_, -1);
  for (size_t k = 0; k < count_; ++k) {
    if (grouping_.way(k) == Way::constant) continue;
    const GraphNode& n = graph_.nodes[k];
    for (Id id : graph_.in(n)) {
      if (graph_.is_node(id)) after_[k] = std::max(after_[k], after_[graph_.node_of(id)]);
    }
    if (class_[k] >= 0 && cycle_[static_cast<size_t>(class_[k])] < kMostClasses) {
      begin(k);
    } else if (follows(n)) {
      follow(k);
    }
  }
}

void Rounds::put(size_t k, int32_t round) {
  round_[k] = after_[k] = round;
  ++rounds_[static_cast<size_t>(round)].size;
}

int32_t Rounds::latest(const GraphNode& n) const {
  int32_t latest = -1;
  for (Id id : graph_.in(n)) latest = std::max(latest, of_value(id));
  return latest;
}

// A product of a cycle belongs to the round that made what it reads where that has none such yet, or to that
// of a product of the same; else a round begins. Columns that are joined for it alone come with it.
void Rounds::begin(size_t k) {
  const GraphNode& n = graph_.nodes[k];
  const Id read = graph_.in(n)[0];
  const bool joined = graph_.is_node(read) && of_value(read) < 0 && is_for_one(read, concat_op, n.shape[0]);
  const auto c = static_cast<size_t>(class_[k]);
  int32_t mine = begun_by_[static_cast<size_t>(read)];
  if (mine < 0 && cycle_[c] != c) mine = joined ? latest(graph_.node(read)) : of_value(read);
  if (mine >= 0) {
    const Round& known = rounds_[static_cast<size_t>(mine)];
    const bool fits = known.cycle == cycle_[c] && known.rows == n.shape[0] && (known.classes >> c & 1) == 0 &&
                      can_join(joined ? graph_.node(read) : n, mine);
    if (!fits) mine = -1;
  }
  if (mine < 0) {
    mine = static_cast<int32_t>(rounds_.size());
    rounds_.push_back({.rows = n.shape[0], .cycle = cycle_[c]});
  }
  rounds_[static_cast<size_t>(mine)].classes |= uint64_t{1} << c;
  begun_by_[static_cast<size_t>(read)] = mine;
  if (joined) put(graph_.node_of(read), mine);
  put(k, mine);
}

// Whether a value is made by this op for a single reader.
bool Rounds::is_for_one(Id id, const Op& op, int64_t rows) const {
  const GraphNode& n = graph_.node(id);
  return n.op == &op && readers_[graph_.node_of(id)] == 1 && !n.stays && follows(n) && reads_rows(n, rows) &&
         !is_constant(id);
}

// What works on rows goes with the latest of what it reads, and takes with it what is cut out for it alone.
// Joined columns do so where all come from one round: others belong to whoever reads them.
void Rounds::follow(size_t k) {
  const GraphNode& n = graph_.nodes[k];
  const int32_t mine = latest(n);
  if (mine < 0 || !can_join(n, mine) || !reads_rows(n, rounds_[static_cast<size_t>(mine)].rows)) return;
  const auto in = graph_.in(n);
  if (n.op == &concat_op && std::ranges::any_of(in, [&](Id id) { return of_value(id) != mine; })) return;
  for (Id id : in) {
    if (graph_.is_node(id) && of_value(id) < 0 && is_for_one(id, slice_op, n.shape[0]))
      put(graph_.node_of(id), mine);
  }
  put(k, mine);
}

bool Rounds::can_join(const GraphNode& n, int32_t round) const {
  return std::ranges::all_of(graph_.in(n), [&](Id id) {
    return !graph_.is_node(id) || of_value(id) == round || after_[graph_.node_of(id)] < round;
  });
}

// Whether a call works on each row by itself, as far as can be seen here.
bool Rounds::follows(const GraphNode& n) const {
  if (n.shape.rank() != 2 || !is_float(n.dtype) || n.inputs == 0 || (n.floats >= 0 && !fixed_)) return false;
  if (n.op->kind == Kind::pointwise) return true;
  if (n.op == &slice_op) {  // an output stays with the call that makes it
    const Id from = graph_.in(n)[0];
    return n.i[0] == 1 && !(graph_.is_node(from) && has_columns(graph_.node(from)));
  }
  if (n.op == &concat_op) return n.i[0] == 1;
  return n.op == &accumulate_op || n.op == &sum_to_op || n.op->row_by_row;
}

// Whether all that it reads are this many rows, or constants.
bool Rounds::reads_rows(const GraphNode& n, int64_t rows) const {
  return n.shape[0] == rows && std::ranges::all_of(graph_.in(n), [&](Id id) {
           const Shape& s = graph_.shape(id);
           return is_constant(id) || (s.rank() == 2 && s[0] == rows && graph_.dtype(id) == n.dtype);
         });
}

void Rounds::list_members() {
  uint32_t begin = 0;
  for (Round& one : rounds_) {
    one.begin = begin;
    begin += std::exchange(one.size, 0);
  }
  members_.resize(begin);
  position_.assign(count_, 0);
  for (size_t k = 0; k < count_; ++k) {
    if (round_[k] < 0) continue;
    Round& one = rounds_[static_cast<size_t>(round_[k])];
    position_[k] = one.size;
    members_[one.begin + one.size++] = static_cast<uint32_t>(k);
  }
}

void Rounds::shorten(size_t round, size_t size) {
  for (uint32_t k : nodes(round).subspan(size)) round_[k] = -1;
  rounds_[round].size = static_cast<uint32_t>(size);
}

}  // namespace reel::plan
