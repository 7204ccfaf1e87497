// batch: calls that do the same to different rows become one call on all their rows. The input projections of
// all steps become one product, and so do all nodes of one height of a forest.
//
// Calls of a template (core/once.h) are replaced by its body, over all rows of the calls that go together.
//
// Which calls go together follows from ops, constants and shapes alone. Products and look-ups that read the
// same weight form a class. Classes that feed each other (a recurrence) are walked in step: a call's depth is
// the number of calls of its own cycle before it, and calls of one class and depth go together, so that what
// enters a cycle is hoisted and what leaves it waits. Everything else goes with those whose latest input comes
// from the same group.
#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <unordered_map>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr int64_t kSmall = 512;  // elements: larger pointwise calls gain less from being joined than from being fused
constexpr size_t kClasses = 64;
constexpr int kDepthBits = 27, kChainBits = 27;

uint64_t mix(uint64_t h, uint64_t word) {
  h = (h ^ word) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

// How a call reads its inputs: by rows, or whole, the same for all calls of a group.
enum class Way : uint8_t {
  alone,    // cannot be joined with others
  column,   // an output of a template's call
  heavy,    // a product with a weight, a look-up in a table
  light,    // what is done to each row by itself
  constant  // a view of a leaf, a number: the same wherever it is written down
};

class Batching {
 public:
  Batching(const Graph& graph, bool products_only, bool joining = true)
      : graph_(graph), products_only_(products_only), joining_(joining), count_(graph.nodes.size()), canon_(graph.leaves.size() + count_), way_(count_), group_(count_, -1) {}

  Graph run() {
    classify();
    if (!any_to_join()) return graph_;
    find_depths();
    make_groups();
    return write();
  }

 private:
  struct Group {
    uint32_t first;  // node
    int64_t time;
    int32_t latest = -1;  // the group of its latest input
    uint32_t size = 0;
    uint32_t begin = 0;  // of members_
    bool joined = false;
  };

  struct Spot {  // where a node's rows are in the new graph
    Id id = -1;
    int64_t row = 0;
    bool whole = true;
  };

  bool is_constant(Id id) const {
    return graph_.is_node(id) ? way_[graph_.node_of(id)] == Way::constant : id >= arguments_;
  }
  Id canon(Id id) const { return canon_[static_cast<size_t>(id)]; }

  // ---- Which calls could be joined ----

  void classify() {
    for (size_t k = 0; k < graph_.leaves.size(); ++k) canon_[k] = static_cast<Id>(k);
    Table table(count_);
    for (size_t k = 0; k < count_; ++k) {
      const GraphNode& n = graph_.nodes[k];
      const Id id = graph_.id_of(k);
      canon_[static_cast<size_t>(id)] = id;
      way_[k] = way_of(n);
      if (way_[k] != Way::constant) continue;
      uint64_t h = mix(reinterpret_cast<uintptr_t>(n.op), static_cast<uint64_t>(n.floats));
      for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
      for (int64_t d : n.shape) h = mix(h, static_cast<uint64_t>(d));
      if (n.inputs > 0) h = mix(h, static_cast<uint64_t>(canon(graph_.in(n)[0])));
      const int32_t twin = table.find(h, static_cast<int32_t>(k), [&](int32_t other) {
        const GraphNode& o = graph_.nodes[static_cast<size_t>(other)];
        return o.op == n.op && o.i == n.i && o.floats == n.floats && o.dtype == n.dtype && o.shape == n.shape &&
               (n.inputs == 0 || canon(graph_.in(o)[0]) == canon(graph_.in(n)[0]));
      });
      canon_[static_cast<size_t>(id)] = graph_.id_of(static_cast<size_t>(twin));
    }
  }

  Way way_of(const GraphNode& n) const {
    const auto in = graph_.in(n);
    if (n.op->body) return template_way(n);
    if (n.op == &full_op || (n.op->view && is_constant(in[0]))) return Way::constant;
    if (n.op == &slice_op && graph_.is_node(in[0]) && graph_.node(in[0]).op->body) return Way::column;
    if (n.shape.rank() == 0 || n.shape.numel() == 0) return Way::alone;
    const int64_t rows = n.shape[0];
    const auto by_rows = [&](Id id) { return graph_.shape(id).rank() == n.shape.rank() && graph_.shape(id)[0] == rows; };
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
      case Kind::concat: return n.i[0] >= 1 && std::all_of(in.begin(), in.end(), by_rows) && has_rows(in) ? Way::light : Way::alone;
      case Kind::gather:
        // A table's rows at ids.
        return n.op == &index_select_op && n.i[0] == 0 && is_constant(in[0])
                   ? Way::heavy
                   : Way::alone;
      default: break;
    }
    if (n.op == &slice_op && n.i[0] >= 1) return Way::light;
    if (n.op == &sum_to_op && by_rows(in[0])) return Way::light;
    return Way::alone;
  }
  // Calls of a template can be joined where all that it captured is constant and its body works by rows.
  Way template_way(const GraphNode& n) const {
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
    if (fresh) known->second = Batching(body).works_by_rows(body);
    return known->second ? Way::heavy : Way::alone;
  }

  explicit Batching(const Body& body) : Batching(body.graph, false) { arguments_ = static_cast<Id>(body.arguments); }
  bool works_by_rows(const Body& body) {
    classify();
    return std::all_of(body.outputs.begin(), body.outputs.end(), [&](Id id) { return way_[graph_.node_of(id)] != Way::constant; }) &&
           std::find(way_.begin(), way_.end(), Way::alone) == way_.end();
  }

  bool has_rows(std::span<const Id> in) const {
    return std::any_of(in.begin(), in.end(), [&](Id id) { return !is_constant(id); });
  }

  bool any_to_join() const {
    return templates_ || (joining_ && std::count(way_.begin(), way_.end(), Way::heavy) > 1);
  }

  // The operands that all calls of a class share: a weight, a table, what a template captured.
  std::span<const Id> shared_operands(const GraphNode& n) const {
    const auto in = graph_.in(n);
    if (n.op->body) return in.subspan(n.op->body->arguments);
    return in.subspan(n.op->kind == Kind::matmul ? 1 : 0, 1);
  }
  bool same_operands(std::span<const Id> a, std::span<const Id> b) const {
    return std::ranges::equal(a, b, [&](Id x, Id y) { return canon(x) == canon(y); });
  }

  // ---- Depths ----

  // Finds or adds by hash; `same` compares with an entry.
  class Table {
   public:
    explicit Table(size_t expected) : slots_(std::bit_ceil(expected * 2 + 16), -1), hashes_(slots_.size()) {}
    template <class Same>
    int32_t find(uint64_t hash, int32_t mine, const Same& same) {
      for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
        if (slots_[at] < 0) {
          slots_[at] = mine;
          hashes_[at] = hash;
          return mine;
        }
        if (hashes_[at] == hash && same(slots_[at])) return slots_[at];
      }
    }

   private:
    std::vector<int32_t> slots_;
    std::vector<uint64_t> hashes_;
  };

  bool same_call(const GraphNode& a, const GraphNode& b) const {
    if (a.op != b.op || a.i != b.i || a.floats != b.floats || a.dtype != b.dtype || a.inputs != b.inputs ||
        a.shape.rank() != b.shape.rank()) {
      return false;
    }
    for (int axis = 1; axis < a.shape.rank(); ++axis) {
      if (a.shape[axis] != b.shape[axis]) return false;
    }
    return true;
  }
  uint64_t call_hash(const GraphNode& n) const {
    uint64_t h = mix(reinterpret_cast<uintptr_t>(n.op), static_cast<uint64_t>(n.floats));
    for (int64_t i : n.i) h = mix(h, static_cast<uint64_t>(i));
    for (int axis = 1; axis < n.shape.rank(); ++axis) h = mix(h, static_cast<uint64_t>(n.shape[axis]));
    return h;
  }

  // Classes, the order of their cycles, and each call's level: (cycle, depth in it) as one number.
  void find_depths() {
    class_.assign(count_, -1);
    std::vector<uint64_t> before(count_, 0);  // classes that a node depends on
    std::vector<int32_t> members;             // the first node of each class
    std::array<uint64_t, kClasses> depends{};
    Table table(256);
    size_t entries = 0;
    for (size_t k = 0; k < count_; ++k) {
      const GraphNode& n = graph_.nodes[k];
      for (Id id : graph_.in(n)) {
        if (graph_.is_node(id)) before[k] |= before[graph_.node_of(id)];
      }
      if (way_[k] != Way::heavy) continue;
      uint64_t hash = call_hash(n);
      for (Id id : shared_operands(n)) hash = mix(hash, static_cast<uint64_t>(canon(id)));
      int32_t first = static_cast<int32_t>(k);
      if (entries < 200) {
        first = table.find(hash, first, [&](int32_t other) {
          const GraphNode& o = graph_.nodes[static_cast<size_t>(other)];
          return same_call(o, n) && same_operands(shared_operands(o), shared_operands(n));
        });
      }
      if (first == static_cast<int32_t>(k)) {
        ++entries;
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
      rank[order[k]] = k > 0 && cycle(order[k]) == cycle(order[k - 1]) ? rank[order[k - 1]] : static_cast<int64_t>(k + 1);
    }
    level_.assign(count_, 0);
    for (size_t k = 0; k < count_; ++k) {
      for (Id id : graph_.in(graph_.nodes[k])) {
        if (graph_.is_node(id)) level_[k] = std::max(level_[k], level_[graph_.node_of(id)]);
      }
      if (class_[k] < 0) continue;
      const int64_t own = rank[static_cast<size_t>(class_[k])] << kDepthBits;
      level_[k] = level_[k] >= own ? level_[k] + 1 : own;
    }
  }

  // ---- Groups ----

  void make_groups() {
    Table table(count_);
    groups_.reserve(count_);
    for (size_t k = 0; k < count_; ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (way_[k] == Way::constant) continue;
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
      if (way_[k] == Way::heavy) {
        time = std::max(time, level_[k] << kChainBits);
        latest = -1;
      }
      const auto mine = static_cast<int32_t>(groups_.size());
      int32_t g = mine;
      if (way_[k] != Way::alone) {
        uint64_t h = mix(call_hash(n), static_cast<uint64_t>(way_[k] == Way::heavy ? time : latest * 64 + static_cast<int64_t>(position)));
        for (size_t p = 0; p < in.size(); ++p) {
          if (shared(n, in, p)) h = mix(h, static_cast<uint64_t>(canon(in[p])));
        }
        g = table.find(h, mine, [&](int32_t other) {
          const Group& o = groups_[static_cast<size_t>(other)];
          return o.time == time && o.latest == latest && same_group(graph_.nodes[o.first], n);
        });
      }
      if (g == mine) groups_.push_back({static_cast<uint32_t>(k), time, latest});
      group_[k] = g;
      ++groups_[static_cast<size_t>(g)].size;
    }
  }

  // Whether operand p is one for all calls of the group.
  bool shared(const GraphNode& n, std::span<const Id> in, size_t p) const {
    if (n.op->body) return p >= n.op->body->arguments;
    if (way_[static_cast<size_t>(&n - graph_.nodes.data())] == Way::heavy) return in.data() + p == shared_operands(n).data();
    return is_constant(in[p]);
  }

  bool same_group(const GraphNode& a, const GraphNode& b) const {
    if (!same_call(a, b)) return false;
    const auto ia = graph_.in(a), ib = graph_.in(b);
    for (size_t p = 0; p < ia.size(); ++p) {
      if (shared(a, ia, p) != shared(b, ib, p)) return false;
      if (shared(a, ia, p) && canon(ia[p]) != canon(ib[p])) return false;
      if (!shared(a, ia, p)) {
        const Shape &x = graph_.shape(ia[p]), &y = graph_.shape(ib[p]);
        if (x.rank() != y.rank() || graph_.dtype(ia[p]) != graph_.dtype(ib[p])) return false;
        for (int axis = 1; axis < x.rank(); ++axis) {
          if (x[axis] != y[axis]) return false;
        }
      }
    }
    return true;
  }

  // ---- Writing the new graph ----

  Graph write() {
    members_.resize(count_);
    std::vector<uint32_t> order(groups_.size());
    for (size_t g = 0; g < groups_.size(); ++g) order[g] = static_cast<uint32_t>(g);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return groups_[a].time < groups_[b].time; });
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
    to_.leaves = graph_.leaves;
    to_.floats = graph_.floats;
    to_.nodes.reserve(count_ / 2);
    spot_.assign(graph_.leaves.size() + count_, {});
    for (size_t k = 0; k < graph_.leaves.size(); ++k) spot_[k].id = static_cast<Id>(k);
    for (size_t k = 0; k < count_; ++k) {
      if (way_[k] == Way::constant) keep(k);
    }
    for (uint32_t g : order) {
      Group& group = groups_[g];
      group.joined = joins(group);
      const std::span<uint32_t> members(members_.data() + group.begin, group.size);
      if (way_[group.first] == Way::column) {
        for (uint32_t k : members) spot_[static_cast<size_t>(graph_.id_of(k))] = column_of(graph_.nodes[k]);
      } else if (graph_.nodes[group.first].op->body) {
        for (size_t k = 0; k < members.size(); k += group.joined ? members.size() : 1) {
          expand(group.joined ? members : members.subspan(k, 1));
        }
      } else if (group.joined) {
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

  bool joins(const Group& group) const {
    if (group.size < 2 || !joining_ || way_[group.first] == Way::alone) return false;
    return way_[group.first] == Way::heavy || (!products_only_ && graph_.nodes[group.first].shape.numel() <= kSmall);
  }

  // The value as a value of the new graph.
  Id whole(Id id) {
    Spot& s = spot_[static_cast<size_t>(id)];
    if (s.id < 0) return packed(id, s);
    if (s.whole) return s.id;
    const Shape& shape = graph_.shape(id);
    GraphNode slice{.op = &slice_op, .i = {0, s.row, s.row + shape[0]}, .dtype = graph_.dtype(id), .shape = shape};
    s = {to_.add(slice, {&s.id, 1}), 0, true};
    return s.id;
  }

  // All outputs of a template's call side by side, for a gradient that may be asked for later.
  Id packed(Id call, const Spot& s) {
    std::vector<Id> columns;
    for (Id output : expanded_[static_cast<size_t>(-1 - s.id)]) {
      GraphNode rows{.op = &slice_op, .i = {0, s.row, s.row + graph_.shape(call)[0]}, .dtype = graph_.dtype(call), .shape = to_.shape(output)};
      rows.shape[0] = graph_.shape(call)[0];
      columns.push_back(s.whole ? output : to_.add(rows, {&output, 1}));
    }
    return to_.add({.op = &op_of(Kind::concat), .i = {1}, .dtype = graph_.dtype(call), .shape = graph_.shape(call)}, columns);
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
      now.push_back(p >= body.arguments ? whole(canon(in)) : members.size() > 1 ? rows_of(members, p) : whole(in));
    }
    int64_t rows = 0;
    for (uint32_t k : members) rows += graph_.nodes[k].shape[0];
    const Batching* inside = nullptr;
    std::optional<Batching> ways;
    if (members.size() > 1) inside = &ways.emplace(Batching(body));
    if (inside) ways->classify();
    for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
      GraphNode n = body.graph.nodes[k];
      n.origin = call.origin;
      n.fixed = !body.requires_grad[k];
      if (n.floats >= 0) n.floats = floats_for(body.floats[static_cast<size_t>(n.floats)]);
      if (inside && inside->way_[k] != Way::constant) n.shape[0] = rows;
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

  // Where an output of a call is: the calls' spots say which expansion, and which rows of it.
  Spot column_of(const GraphNode& slice) {
    const Id from = graph_.in(slice)[0];
    const Spot& call = spot_[static_cast<size_t>(from)];
    const Body& body = *graph_.node(from).op->body;
    int64_t begin = 0;
    size_t output = 0;
    while (begin != slice.i[1]) begin += body.graph.shape(body.outputs[output++])[1];
    return {expanded_[static_cast<size_t>(-1 - call.id)][output], call.row, call.whole};
  }

  // The number of these constants among the run's.
  int32_t floats_for(const Floats& f) {
    for (size_t k = graph_.floats.size(); k < to_.floats.size(); ++k) {  // those before change from run to run
      if (to_.floats[k] == f) return static_cast<int32_t>(k);
    }
    to_.floats.push_back(f);
    return static_cast<int32_t>(to_.floats.size() - 1);
  }

  // In the order in which the rows of the first operand that was joined lie.
  void sort_by_rows(std::span<uint32_t> members, const GraphNode& first) const {
    for (uint32_t p = 0; p < first.inputs; ++p) {
      if (shared(first, graph_.in(first), p)) continue;
      const auto at = [&](uint32_t k) { return spot_[static_cast<size_t>(graph_.in(graph_.nodes[k])[p])]; };
      const Id source = at(members[0]).id;
      if (std::any_of(members.begin(), members.end(), [&](uint32_t k) { return at(k).id != source; })) continue;
      std::stable_sort(members.begin(), members.end(), [&](uint32_t a, uint32_t b) { return at(a).row < at(b).row; });
      return;
    }
  }

  // Where a value's rows are: a stretch of rows of a matrix may come under other shapes, through views.
  Spot rows_behind(Id id) const {
    const Shape& shape = graph_.shape(id);
    const int64_t width = shape.rank() == 2 ? shape[1] : 0;
    int64_t offset = 0;
    Id from = id;
    while (width > 0 && graph_.is_node(from) && graph_.node(from).op->view && spot_[static_cast<size_t>(from)].whole) {
      const GraphNode& n = graph_.node(from);
      const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);  // for differences only
      const Shape& base = graph_.shape(graph_.in(n)[0]);
      const Array source{origin, n.dtype, base, row_major(base)};
      Array target{origin, n.dtype, n.shape, {}};
      if (!n.op->view(source, {n.i, {}}, target) || !target.contiguous()) break;
      offset += (target.data - origin) / static_cast<int64_t>(size_of(n.dtype));
      from = graph_.in(n)[0];
      if (graph_.is_node(from) && graph_.shape(from).rank() == 2 && graph_.shape(from)[1] == width && offset % width == 0 &&
          !graph_.node(from).op->view) {
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
    const bool wholes = std::all_of(runs_.begin(), runs_.end(), [&](const Run& r) { return r.row == 0 && r.rows == to_.shape(r.id)[0]; });
    if (runs_.size() == 1) {
      if (wholes) return runs_[0].id;
      all.op = &slice_op;
      all.i = {0, runs_[0].row, runs_[0].row + total};
      return to_.add(all, {&runs_[0].id, 1});
    }
    std::vector<Id> sources;
    if (wholes) {
      all.op = &op_of(Kind::concat);
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
  const bool products_only_, joining_;
  Id arguments_ = 0;                // of a body: leaves before this one are rows
  mutable bool templates_ = false;  // there are calls of some
  mutable std::unordered_map<const Body*, bool> by_rows_;
  std::vector<std::vector<Id>> expanded_;  // the outputs of templates' bodies in the new graph
  size_t count_;
  std::vector<Id> canon_;
  std::vector<Way> way_;
  std::vector<int32_t> class_, group_;
  std::vector<int64_t> level_;
  std::vector<Group> groups_;
  std::vector<uint32_t> members_;
  Graph to_;
  std::vector<Spot> spot_;
  std::vector<Run> runs_;
  std::vector<Id> room_;
};

}  // namespace

Graph batch(const Graph& graph, bool products_only) {
  return Batching(graph, products_only, passes().batch).run();
}

}  // namespace reel::plan
