#include "core/plan/grouping.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "core/hash.h"
#include "core/structural.h"

namespace reel::plan {

namespace {
constexpr size_t kClasses = 64;
constexpr int kDepthBits = 27, kChainBits = 27;
}  // namespace

Grouping::Grouping(const Graph& graph)
    : graph_(graph),
      count_(graph.nodes.size()),
      canon_(graph.leaves.size() + count_),
      way_(count_),
      group_(count_, -1) {}

Grouping::Grouping(const Body& body) : Grouping(body.graph) { arguments_ = static_cast<Id>(body.arguments); }

bool Grouping::find(bool joining) {
  find_ways();
  if (!templates_ && (!joining || std::count(way_.begin(), way_.end(), Way::heavy) < 2)) return false;
  find_depths(joining && passes().recur);
  make_groups();
  list_members();
  return true;
}

// ---- Which calls could be joined ----

void Grouping::find_ways() {
  for (size_t k = 0; k < graph_.leaves.size(); ++k) canon_[k] = static_cast<Id>(k);
  Table table;
  for (size_t k = 0; k < count_; ++k) {
    const GraphNode& n = graph_.nodes[k];
    const Id id = graph_.id_of(k);
    canon_[static_cast<size_t>(id)] = id;
    way_[k] = way_of(n);
    if (way_[k] != Way::constant) continue;
    uint64_t h = mix(reinterpret_cast<uintptr_t>(n.op), static_cast<uint64_t>(n.floats));
    for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
    for (int64_t d : n.shape) h = mix(h, static_cast<uint64_t>(d));
    for (Id in : graph_.in(n)) h = mix(h, static_cast<uint64_t>(canon(in)));
    const int32_t twin = table.find(h, static_cast<int32_t>(k), [&](int32_t other) {
      const GraphNode& o = graph_.nodes[static_cast<size_t>(other)];
      return o.op == n.op && o.i == n.i && o.floats == n.floats && o.dtype == n.dtype && o.cut == n.cut &&
             o.shape == n.shape && same_operands(graph_.in(o), graph_.in(n));
    });
    canon_[static_cast<size_t>(id)] = graph_.id_of(static_cast<size_t>(twin));
  }
}

Way Grouping::way_of(const GraphNode& n) const {
  const auto in = graph_.in(n);
  if (n.op->body) return template_way(n);
  if (arguments_ > 0 && std::all_of(in.begin(), in.end(), [&](Id id) { return is_constant(id); }))
    return Way::constant;
  if (n.op == &full_op || (n.op->view && is_constant(in[0]))) return Way::constant;
  if (n.op == &concat_op && std::all_of(in.begin(), in.end(), [&](Id id) { return is_constant(id); }))
    return Way::constant;
  if (n.op == &slice_op && graph_.is_node(in[0]) && has_columns(graph_.node(in[0]))) return Way::column;
  if (n.shape.rank() == 0 || n.shape.numel() == 0) return Way::alone;
  const int64_t rows = n.shape[0];
  const auto by_rows = [&](Id id) {
    return graph_.shape(id).rank() == n.shape.rank() && graph_.shape(id)[0] == rows;
  };
  switch (n.op->kind) {
    case Kind::matmul:
      return n.i[0] == 0 && n.shape.rank() == 2 && is_constant(in[1]) && graph_.shape(in[1]).rank() == 2
                 ? Way::heavy
                 : Way::alone;
    case Kind::pointwise:
      for (Id id : in) {
        const Shape& s = graph_.shape(id);
        if (is_constant(id) ? s.rank() == n.shape.rank() && s[0] != 1 : !by_rows(id)) return Way::alone;
      }
      return has_rows(in) ? Way::light : Way::alone;
    case Kind::concat:
      // A body's constants have rows for one call only.
      if (arguments_ > 0 && std::any_of(in.begin(), in.end(), [&](Id id) { return is_constant(id); }))
        return Way::alone;
      return n.i[0] >= 1 && std::all_of(in.begin(), in.end(), by_rows) && has_rows(in) ? Way::light
                                                                                       : Way::alone;
    case Kind::gather:
      // A table's rows at ids.
      return n.op == &index_select_op && n.i[0] == 0 && is_constant(in[0]) ? Way::heavy : Way::alone;
    default: break;
  }
  if (n.op == &slice_op && n.i[0] >= 1) return Way::light;
  if (n.op == &select_op && arguments_ > 0 && n.i[0] >= 1) return Way::light;
  if (n.op == &accumulate_op && arguments_ > 0) return sum_way(n);
  if (n.op == &reshape_op && arguments_ > 0 && graph_.shape(in[0]).rank() > 0 &&
      graph_.shape(in[0])[0] == rows)
    return Way::light;
  if (n.op->row_by_row && arguments_ > 0 && n.op->row_by_row({n.i, {}}, graph_.shape(in[0]))) {
    const bool rows_only = std::all_of(in.begin(), in.end(), [&](Id id) {
      return !is_constant(id) && graph_.shape(id).rank() > 0 && graph_.shape(id)[0] == rows;
    });
    if (rows_only) return Way::light;
  }
  if (n.op == &sum_to_op && by_rows(in[0]) && has_rows(in)) return Way::light;
  return Way::alone;
}

// A sum of whole rows, and of columns of rows.
Way Grouping::sum_way(const GraphNode& n) const {
  const auto list = graph_.list_of(n);
  for (size_t p = 0; p < list.size() / kPlaceWords; ++p) {
    const Place place = place_of(list, p);
    const Id id = graph_.in(n)[p];
    if (place.at == Place::At::rows || (place.at == Place::At::slice && place.axis == 0) || is_constant(id) ||
        graph_.shape(id).rank() != n.shape.rank() || graph_.shape(id)[0] != n.shape[0]) {
      return Way::alone;
    }
  }
  return Way::light;
}

// Calls of a template can be joined where all that it captured is constant and its body works by rows.
Way Grouping::template_way(const GraphNode& n) const {
  const Body& body = *n.op->body;
  const auto in = graph_.in(n);
  templates_ = true;
  for (size_t p = body.arguments; p < in.size(); ++p) {
    if (!is_constant(in[p])) return Way::alone;
  }
  for (size_t p = 0; p < body.arguments; ++p) {
    const Shape& s = graph_.shape(in[p]);
    if (s.rank() == 0 || s[0] != n.shape[0]) return Way::alone;
  }
  const auto [known, fresh] = by_rows_.try_emplace(&body, false);
  if (fresh) known->second = Grouping(body).works_by_rows(body);
  return known->second ? Way::heavy : Way::alone;
}

bool Grouping::works_by_rows(const Body& body) {
  find_ways();
  return std::all_of(body.outputs.begin(), body.outputs.end(),
                     [&](Id id) { return way_[graph_.node_of(id)] != Way::constant; }) &&
         std::find(way_.begin(), way_.end(), Way::alone) == way_.end();
}

bool Grouping::has_rows(std::span<const Id> in) const {
  return std::any_of(in.begin(), in.end(), [&](Id id) { return !is_constant(id); });
}

// The operands that all calls of a class share: a weight, a table, what a template captured.
std::span<const Id> Grouping::shared_operands(const GraphNode& n) const {
  const auto in = graph_.in(n);
  if (n.op->body) return in.subspan(n.op->body->arguments);
  return in.subspan(n.op->kind == Kind::matmul ? 1 : 0, 1);
}
bool Grouping::same_operands(std::span<const Id> a, std::span<const Id> b) const {
  return std::ranges::equal(a, b, [&](Id x, Id y) { return canon(x) == canon(y); });
}

// ---- Depths ----

bool Grouping::same_call(const GraphNode& a, const GraphNode& b) const {
  if (a.op != b.op || (a.i != b.i && !a.op->body) || a.floats != b.floats || a.dtype != b.dtype ||
      a.cut != b.cut || a.inputs != b.inputs || a.shape.rank() != b.shape.rank()) {
    return false;
  }
  for (int axis = 1; axis < a.shape.rank(); ++axis) {
    if (a.shape[axis] != b.shape[axis]) return false;
  }
  return true;
}
uint64_t Grouping::call_hash(const GraphNode& n) const {
  uint64_t h = mix(reinterpret_cast<uintptr_t>(n.op), static_cast<uint64_t>(n.floats));
  for (int64_t i : n.i) h = mix(h, n.op->body ? 0 : static_cast<uint64_t>(i));
  for (int axis = 1; axis < n.shape.rank(); ++axis) h = mix(h, static_cast<uint64_t>(n.shape[axis]));
  return h;
}

// Classes, the order of their cycles, and each call's level: (cycle, depth in it) as one number.
void Grouping::find_depths(bool recurring) {
  class_.assign(count_, -1);
  std::vector<uint64_t> before(count_, 0);  // classes that a node depends on
  std::vector<int32_t> members;             // the first node of each class
  std::array<uint64_t, kClasses> depends{};
  Table table;
  std::array<int32_t, 4> lately{-1, -1, -1, -1};  // the classes that were met last
  size_t next = 0;
  for (size_t k = 0; k < count_; ++k) {
    const GraphNode& n = graph_.nodes[k];
    for (Id id : graph_.in(n)) {
      if (graph_.is_node(id)) before[k] |= before[graph_.node_of(id)];
    }
    if (way_[k] != Way::heavy) continue;
    const auto same = [&](int32_t other) {
      const GraphNode& o = graph_.nodes[static_cast<size_t>(other)];
      return same_call(o, n) && same_operands(shared_operands(o), shared_operands(n));
    };
    int32_t first = static_cast<int32_t>(k);
    const auto known = std::ranges::find_if(lately, [&](int32_t other) { return other >= 0 && same(other); });
    if (known != lately.end()) {
      first = *known;
    } else if (members.size() < 200) {
      uint64_t hash = call_hash(n);
      for (Id id : shared_operands(n)) hash = mix(hash, static_cast<uint64_t>(canon(id)));
      lately[next++ % lately.size()] = first = table.find(hash, first, same);
    }
    if (first == static_cast<int32_t>(k)) {
      class_[k] = static_cast<int32_t>(std::min(members.size(), kClasses - 1));
      members.push_back(first);
    } else {
      class_[k] = class_[static_cast<size_t>(first)];
    }
    depends[static_cast<size_t>(class_[k])] |= before[k];
    before[k] |= uint64_t{1} << class_[k];
  }
  // Closure, and ranks in an order that respects it: a class has more behind it than those it depends on.
  const size_t classes = std::min(members.size(), kClasses);
  for (size_t via = 0; via < classes; ++via) {
    for (size_t c = 0; c < classes; ++c) {
      if (depends[c] >> via & 1) depends[c] |= depends[via];
    }
  }
  std::array<int64_t, kClasses> rank{};
  std::vector<size_t> order(classes);
  for (size_t c = 0; c < classes; ++c) order[c] = c;
  const auto cycle = [&](size_t c) { return depends[c] | uint64_t{1} << c; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int pa = std::popcount(cycle(a)), pb = std::popcount(cycle(b));
    return pa != pb ? pa < pb : cycle(a) != cycle(b) ? cycle(a) < cycle(b) : a < b;
  });
  for (size_t k = 0; k < classes; ++k) {
    rank[order[k]] =
        k > 0 && cycle(order[k]) == cycle(order[k - 1]) ? rank[order[k - 1]] : static_cast<int64_t>(k + 1);
  }
  recurrent_.assign(kClasses, false);
  for (size_t c = 0; recurring && c < classes && c + 1 < kClasses; ++c) {
    recurrent_[c] = graph_.nodes[static_cast<size_t>(members[c])].op->body && (depends[c] >> c & 1);
    for (size_t d = 0; d < classes; ++d) {
      if (d != c && cycle(d) == cycle(c)) recurrent_[c] = false;
    }
  }
  for (size_t k = 0; k < count_; ++k) {
    if (class_[k] >= 0 && recurrent_[static_cast<size_t>(class_[k])] && !recurs(k, before))
      recurrent_[static_cast<size_t>(class_[k])] = false;
  }
  level_.assign(count_, 0);
  for (size_t k = 0; k < count_; ++k) {
    for (Id id : graph_.in(graph_.nodes[k])) {
      if (graph_.is_node(id)) level_[k] = std::max(level_[k], level_[graph_.node_of(id)]);
    }
    if (class_[k] < 0) continue;
    const int64_t own = rank[static_cast<size_t>(class_[k])] << kDepthBits;
    const bool in_step = !recurrent_[static_cast<size_t>(class_[k])];
    level_[k] = level_[k] >= own && in_step ? level_[k] + 1 : own;
  }
}

// Whether a call sees of its class only outputs of other calls, as they are.
bool Grouping::recurs(size_t node, std::span<const uint64_t> before) const {
  const GraphNode& n = graph_.nodes[node];
  for (Id id : graph_.in(n).first(n.op->body->arguments)) {
    if (!graph_.is_node(id) || (before[graph_.node_of(id)] >> class_[node] & 1) == 0) continue;
    const Id call = way_[graph_.node_of(id)] == Way::column ? graph_.in(graph_.node(id))[0] : id;
    if (class_[graph_.node_of(call)] != class_[node]) return false;
  }
  return true;
}

// ---- Groups ----

void Grouping::make_groups() {
  Table table;
  groups_.reserve(count_);
  for (size_t k = 0; k < count_; ++k) {
    const GraphNode& n = graph_.nodes[k];
    if (way_[k] == Way::constant) continue;
    if (way_[k] == Way::column) {
      group_[k] = column_group(k);
      ++groups_[static_cast<size_t>(group_[k])].size;
      continue;
    }
    int64_t time = 0;
    int32_t latest = -1;
    size_t position = 0;
    const auto in = graph_.in(n);
    for (size_t p = 0; p < in.size(); ++p) {
      if (!graph_.is_node(in[p])) continue;
      const int32_t g = group_[graph_.node_of(in[p])];
      if (g < 0) continue;
      const int64_t after = groups_[static_cast<size_t>(g)].time + 1;
      if (after > time) {
        time = after;
        latest = g;
        position = p;
      }
    }
    const bool recurrent = class_[k] >= 0 && recurrent_[static_cast<size_t>(class_[k])];
    if (way_[k] == Way::heavy) {
      const int64_t own = level_[k] << kChainBits;
      time = recurrent ? own : std::max(time, own);
      latest = -1;
    }
    const auto mine = static_cast<int32_t>(groups_.size());
    int32_t g = mine;
    if (way_[k] != Way::alone) {
      g = table.find(group_hash(k, time, latest, position), mine, [&](int32_t other) {
        const Group& o = groups_[static_cast<size_t>(other)];
        return o.time == time && o.latest == latest &&
               (known_class(k) ? class_[o.first] == class_[k] : same_group(graph_.nodes[o.first], n));
      });
    }
    if (g == mine) {
      groups_.push_back(
          {.first = static_cast<uint32_t>(k), .time = time, .latest = latest, .recurrent = recurrent});
    }
    group_[k] = g;
    ++groups_[static_cast<size_t>(g)].size;
  }
}

int32_t Grouping::column_group(size_t node) {
  const GraphNode& n = graph_.nodes[node];
  const int32_t calls = group_[graph_.node_of(graph_.in(n)[0])];
  int32_t g = groups_[static_cast<size_t>(calls)].column;
  while (g >= 0 && !same_call(graph_.nodes[groups_[static_cast<size_t>(g)].first], n))
    g = groups_[static_cast<size_t>(g)].next_column;
  if (g >= 0) return g;
  g = static_cast<int32_t>(groups_.size());
  Group& of = groups_[static_cast<size_t>(calls)];
  groups_.push_back({.first = static_cast<uint32_t>(node),
                     .time = of.time + 1,
                     .latest = calls,
                     .next_column = std::exchange(of.column, g)});
  return g;
}

// A class that has not been filled up with the rest: its calls do the same with the same operands.
bool Grouping::known_class(size_t node) const {
  return class_[node] >= 0 && class_[node] + 1 < static_cast<int32_t>(kClasses);
}

uint64_t Grouping::group_hash(size_t node, int64_t time, int32_t latest, size_t position) const {
  const auto word = [](auto x) { return static_cast<uint64_t>(x); };
  if (known_class(node)) return mix(mix(word(class_[node]), word(time)), ~uint64_t{0});
  const GraphNode& n = graph_.nodes[node];
  const auto in = graph_.in(n);
  uint64_t h =
      mix(call_hash(n),
          way_[node] == Way::heavy ? word(time) : word(latest * 64 + static_cast<int64_t>(position)));
  for (size_t p = 0; p < in.size(); ++p) {
    if (shared(n, in, p)) h = mix(h, word(canon(in[p])));
  }
  return h;
}

// Whether operand p is one for all calls of the group.
bool Grouping::shared(const GraphNode& n, std::span<const Id> in, size_t p) const {
  if (n.op->body) return p >= n.op->body->arguments;
  if (way_[static_cast<size_t>(&n - graph_.nodes.data())] == Way::heavy)
    return in.data() + p == shared_operands(n).data();
  return is_constant(in[p]) && n.op->kind != Kind::concat;  // which has a row of it for each of its own
}

bool Grouping::same_group(const GraphNode& a, const GraphNode& b) const {
  if (!same_call(a, b)) return false;
  const auto ia = graph_.in(a), ib = graph_.in(b);
  for (size_t p = 0; p < ia.size(); ++p) {
    if (shared(a, ia, p) != shared(b, ib, p)) return false;
    if (shared(a, ia, p) && canon(ia[p]) != canon(ib[p])) return false;
    if (!shared(a, ia, p)) {
      const Shape &x = shape_read(graph_, a, p), &y = shape_read(graph_, b, p);
      if (x.rank() != y.rank() || graph_.dtype(ia[p]) != graph_.dtype(ib[p])) return false;
      for (int axis = 1; axis < x.rank(); ++axis) {
        if (x[axis] != y[axis]) return false;
      }
    }
  }
  return true;
}

void Grouping::list_members() {
  members_.resize(count_);
  uint32_t begin = 0;
  for (Group& g : groups_) {
    g.begin = begin;
    begin += g.size;
    g.size = 0;
  }
  for (size_t k = 0; k < count_; ++k) {
    if (group_[k] < 0) continue;
    Group& g = groups_[static_cast<size_t>(group_[k])];
    members_[g.begin + g.size++] = static_cast<uint32_t>(k);
  }
}

}  // namespace reel::plan
