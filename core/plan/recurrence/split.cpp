// Which nodes of a body have to run level by level, and which can run over all rows before or after.
#include <algorithm>

#include "core/plan/grouping.h"
#include "core/plan/recurrence/recurrence.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Splitting {
 public:
  Splitting(const Body& body, std::span<const Argument> arguments, std::span<const Id> states,
            std::span<const Id> wanted, bool sums)
      : body_(body),
        graph_(body.graph),
        arguments_(arguments),
        states_(states),
        wanted_(wanted),
        sums_(sums) {
    count_ = graph_.nodes.size();
    ids_ = graph_.leaves.size() + count_;
  }

  std::optional<Split> run() {
    if (!find_kinds()) return {};
    find_needed();
    find_levels();
    find_inside();
    pull_in();
    if (!find_crossings()) return {};
    return std::move(split_);
  }

 private:
  enum class Of : uint8_t { shared, row, sum };

  bool is_argument(Id id) const { return id < static_cast<Id>(body_.arguments); }
  bool is_row(Id id) const { return is(id, Argument::row) || is(id, Argument::looked_up); }
  bool is(Id id, Argument a) const { return is_argument(id) && arguments_[static_cast<size_t>(id)] == a; }
  Of of(Id id) const { return of_[static_cast<size_t>(id)]; }
  // A number written into programs, or another way to read a weight: as well made twice.
  bool light_shared(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    return n.op == &full_op || (n.op->view && !graph_.is_node(graph_.in(n)[0]));
  }

  bool find_kinds() {
    Grouping grouping(body_);
    grouping.find_ways();
    of_.assign(ids_, Of::shared);
    heavy_.assign(count_, false);
    for (size_t k = 0; k < body_.arguments; ++k) of_[k] = Of::row;
    for (size_t k = 0; k < count_; ++k) {
      const Way way = grouping.way(k);
      heavy_[k] = way == Way::heavy;
      Of& mine = of_[static_cast<size_t>(graph_.id_of(k))];
      if (way == Way::constant) continue;
      mine = Of::row;
      const auto in = graph_.in(graph_.nodes[k]);
      const bool sums = std::any_of(in.begin(), in.end(), [&](Id id) { return of(id) == Of::sum; });
      if (way != Way::alone && !sums) continue;
      if (!sums_ || !sums_rows(graph_.nodes[k])) return false;
      mine = Of::sum;
    }
    return true;
  }

  // A gradient is linear in the cotangents: what follows a sum of rows can follow the sum of all rows.
  bool sums_rows(const GraphNode& n) const {
    const auto in = graph_.in(n);
    const auto rows = std::count_if(in.begin(), in.end(), [&](Id id) { return of(id) == Of::row; });
    if (rows == 0) return true;  // of sums, and what all share
    if (n.op->kind == Kind::matmul) {
      return rows == 2 && n.i[0] == 1 && n.i[1] == 0 && n.shape.rank() == 2;
    }
    if (n.op == &accumulate_op) {  // rows at ids
      const auto list = graph_.list_of(n);
      for (size_t p = 0; p < list.size() / kPlaceWords; ++p) {
        if (of(in[p]) == Of::row && place_of(list, p).at != Place::At::rows) return false;
      }
      return true;
    }
    if (n.op != &sum_to_op) return false;
    const Shape& x = graph_.shape(in[0]);
    return n.shape.rank() < x.rank() || (n.shape[0] == 1 && x[0] != 1);
  }

  void find_needed() {
    needed_.assign(count_, false);
    for (Id id : wanted_) mark(needed_, id);
    for (Id id : states_) mark(needed_, id);
    close_backwards(needed_);
  }
  void mark(std::vector<bool>& set, Id id) const {
    if (graph_.is_node(id)) set[graph_.node_of(id)] = true;
  }
  void close_backwards(std::vector<bool>& set) const {
    for (size_t k = count_; k-- > 0;) {
      if (!set[k]) continue;
      for (Id id : graph_.in(graph_.nodes[k])) mark(set, id);
    }
  }

  void find_levels() {
    depends_.assign(ids_, false);
    for (size_t k = 0; k < body_.arguments; ++k) depends_[k] = arguments_[k] == Argument::read;
    for (size_t k = 0; k < count_; ++k) {
      for (Id id : graph_.in(graph_.nodes[k])) {
        if (depends_[static_cast<size_t>(id)]) depends_[static_cast<size_t>(graph_.id_of(k))] = true;
      }
    }
    feeds_.assign(count_, false);
    for (Id id : states_) mark(feeds_, id);
    close_backwards(feeds_);
  }

  void find_inside() {
    split_.outside.assign(count_, Split::Outside::no);
    split_.inside.assign(count_, false);
    std::vector<bool> state(count_, false);
    for (Id id : states_) mark(state, id);
    for (size_t k = 0; k < count_; ++k) {
      const Id id = graph_.id_of(k);
      if (!needed_[k] || of(id) == Of::shared) continue;
      const auto in = graph_.in(graph_.nodes[k]);
      const bool late = std::any_of(in.begin(), in.end(), [&](Id i) {
        return graph_.is_node(i) && split_.outside[graph_.node_of(i)] == Split::Outside::after;
      });
      const GraphNode& n = graph_.nodes[k];
      const bool total = of(id) == Of::sum && (n.op == &sum_to_op || rows_of_small_table(n)) &&
                         graph_.is_node(in[0]) && of(in[0]) == Of::row &&
                         split_.inside[graph_.node_of(in[0])];
      if (total || state[k] || (depends_[static_cast<size_t>(id)] && feeds_[k])) {
        split_.inside[k] = true;
      } else if (of(id) == Of::sum || late || (depends_[static_cast<size_t>(id)] && heavy_[k])) {
        split_.outside[k] = Split::Outside::after;
      } else if (depends_[static_cast<size_t>(id)]) {
        split_.inside[k] = true;
      } else {
        split_.outside[k] = Split::Outside::before;
      }
    }
  }

  // A sum of rows at ids that stays in the cache from level to level.
  bool rows_of_small_table(const GraphNode& n) const {
    constexpr int64_t kMostBytes = 1 << 18;
    return n.op == &accumulate_op && graph_.list_of(n).size() == kPlaceWords &&
           place_of(graph_.list_of(n), 0).at == Place::At::rows &&
           n.shape.numel() * static_cast<int64_t>(size_of(n.dtype)) <= kMostBytes;
  }

  // What a kernel of the level can do on the way is not done in a pass of its own before; but what can be
  // done to a table's rows instead of these (commute.cpp) is.
  void pull_in() {
    std::vector<bool> elsewhere(count_, false);
    std::vector<bool> read_inside(count_, false);
    const std::vector<bool> of_table = find_looked_up();
    for (Id id : wanted_) mark(elsewhere, id);
    for (size_t k = count_; k-- > 0;) {
      const bool product = graph_.nodes[k].op->kind == Kind::matmul;
      if (split_.outside[k] == Split::Outside::before && read_inside[k] && !elsewhere[k] && !product &&
          row_inputs(k) <= 1 && !of_table[static_cast<size_t>(graph_.id_of(k))]) {
        split_.outside[k] = Split::Outside::no;
        split_.inside[k] = true;
      }
      auto& reader = split_.inside[k] ? read_inside : elsewhere;
      if (!needed_[k] || (!split_.inside[k] && split_.outside[k] == Split::Outside::no)) continue;
      for (Id id : graph_.in(graph_.nodes[k])) mark(reader, id);
    }
  }
  // Of ids: whether commute will find what a table's rows, and nothing else, go into.
  std::vector<bool> find_looked_up() const {
    std::vector<bool> found(ids_, false);
    for (size_t k = 0; k < body_.arguments; ++k) found[k] = arguments_[k] == Argument::looked_up;
    std::vector<uint32_t> readers = graph_.readers();
    for (Id id : wanted_) ++readers[graph_.node_of(id)];
    for (size_t k = 0; k < count_; ++k) {
      const GraphNode& n = graph_.nodes[k];
      const auto in = graph_.in(n);
      const auto rows = std::find_if(in.begin(), in.end(), [&](Id id) { return of(id) == Of::row; });
      if (rows == in.end() || !found[static_cast<size_t>(*rows)] || row_inputs(k) != 1) continue;
      const bool alone = graph_.is_node(*rows) && readers[graph_.node_of(*rows)] == 1;
      found[static_cast<size_t>(graph_.id_of(k))] =
          works_on_rows(graph_, n, *rows) && (alone || n.op->kind == Kind::matmul);
    }
    return found;
  }
  int row_inputs(size_t k) const {
    std::vector<Id> rows;
    for (Id id : graph_.in(graph_.nodes[k])) {
      if (of(id) == Of::row && std::find(rows.begin(), rows.end(), id) == rows.end()) rows.push_back(id);
    }
    return static_cast<int>(rows.size());
  }

  bool find_crossings() {
    // What comes after reads results of the levels; views are read through.
    std::vector<bool> out(count_, false);
    for (Id id : states_) mark(out, id);
    std::vector<bool> asked(count_, false);  // from outside
    for (Id id : wanted_) mark(asked, id);
    std::vector<bool> state = out;
    for (size_t k = count_; k-- > 0;) {
      if (split_.inside[k] && asked[k]) {
        if (graph_.nodes[k].op->view && !state[k]) {
          split_.outside[k] = Split::Outside::after;
        } else {
          out[k] = true;
        }
      }
      if (split_.outside[k] == Split::Outside::no) continue;
      for (Id id : graph_.in(graph_.nodes[k])) mark(asked, id);
    }
    // A view that is only read from outside is not made inside.
    std::vector<bool> used = out;
    for (size_t k = count_; k-- > 0;) {
      if (!split_.inside[k]) continue;
      if (!used[k]) {
        split_.inside[k] = false;
        continue;
      }
      for (Id id : graph_.in(graph_.nodes[k])) mark(used, id);
    }
    std::vector<bool> seen(ids_, false);
    for (size_t k = 0; k < count_; ++k) {
      if (!split_.inside[k]) continue;
      for (Id id : graph_.in(graph_.nodes[k])) cross_in(id, seen);
    }
    for (Id id : states_) {
      if (!graph_.is_node(id) || of(id) != Of::row) return false;  // it would need no level
    }
    for (size_t k = 0; k < count_; ++k) {
      if (out[k]) split_.outputs.push_back(graph_.id_of(k));
    }
    for (size_t k = 0; k < body_.arguments; ++k) {
      const auto id = static_cast<Id>(k);
      const bool late = is(id, Argument::read) && read_outside(body_, split_, id);
      if (late || (seen[k] && !is_row(id))) split_.reads.push_back(id);
    }
    // What all rows share is made before, where somebody outside reads it.
    std::vector<bool> wanted(count_, false);
    for (Id id : wanted_) mark(wanted, id);
    for (Id id : split_.shared) mark(wanted, id);
    for (size_t k = count_; k-- > 0;) {
      const bool shared = of(graph_.id_of(k)) == Of::shared;
      if (shared && wanted[k]) split_.outside[k] = Split::Outside::before;
      if (split_.outside[k] == Split::Outside::no) continue;
      for (Id id : graph_.in(graph_.nodes[k])) mark(wanted, id);
    }
    return !split_.outputs.empty();
  }

  // A value that the inner body reads.
  void cross_in(Id id, std::vector<bool>& seen) {
    if (seen[static_cast<size_t>(id)]) return;
    seen[static_cast<size_t>(id)] = true;
    if (is_argument(id)) {
      if (is_row(id)) split_.rows.push_back(id);
    } else if (of(id) == Of::row) {
      if (!split_.inside[graph_.node_of(id)]) split_.rows.push_back(id);
    } else if (graph_.is_node(id) && light_shared(graph_.node_of(id))) {
      split_.inside[graph_.node_of(id)] = true;
      for (Id in : graph_.in(graph_.node(id))) cross_in(in, seen);
    } else {
      split_.shared.push_back(id);
    }
  }

  const Body& body_;
  const Graph& graph_;
  std::span<const Argument> arguments_;
  std::span<const Id> states_, wanted_;
  const bool sums_;
  size_t count_, ids_;
  std::vector<Of> of_;                // of ids
  std::vector<bool> heavy_, needed_;  // of nodes
  std::vector<bool> depends_;         // of ids: on what earlier levels make
  std::vector<bool> feeds_;           // of nodes: later levels
  Split split_;
};

}  // namespace

std::optional<Split> split(const Body& body, std::span<const Argument> arguments, std::span<const Id> states,
                           std::span<const Id> wanted, bool sums) {
  return Splitting(body, arguments, states, wanted, sums).run();
}

bool read_outside(const Body& body, const Split& split, Id id) {
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
    const auto in = body.graph.in(body.graph.nodes[k]);
    if (split.outside[k] != Split::Outside::no && std::find(in.begin(), in.end(), id) != in.end())
      return true;
  }
  return false;
}

Body inner_body(const Body& body, const Split& split) {
  const Graph& graph = body.graph;
  Grouping grouping(body);
  grouping.find_ways();
  const auto rows = [&](Id id) {
    if (!graph.is_node(id)) return id < static_cast<Id>(body.arguments);
    const Way way = grouping.way(graph.node_of(id));
    return way == Way::light || way == Way::heavy;
  };
  Body inner;
  std::vector<Id> now(graph.leaves.size() + graph.nodes.size(), -1);
  const auto leaves = [&](const std::vector<Id>& ids) {
    for (Id id : ids) {
      now[static_cast<size_t>(id)] = static_cast<Id>(inner.graph.leaves.size());
      Shape shape = graph.shape(id);
      if (rows(id)) shape[0] = kTracedRows;
      inner.graph.leaves.push_back({graph.dtype(id), shape, row_major(shape)});
      inner.leaf_grads.push_back(graph.is_node(id) ? body.requires_grad[graph.node_of(id)]
                                                   : body.leaf_grads[static_cast<size_t>(id)]);
    }
  };
  leaves(split.rows);
  leaves(split.reads);
  inner.arguments = inner.graph.leaves.size();
  leaves(split.shared);
  std::vector<Id> in;
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    if (!split.inside[k]) continue;
    GraphNode n = graph.nodes[k];
    if (rows(graph.id_of(k))) n.shape[0] = kTracedRows;
    if (n.floats >= 0) {
      inner.floats.push_back(body.floats[static_cast<size_t>(n.floats)]);
      n.floats = static_cast<int32_t>(inner.floats.size()) - 1;
    }
    in.clear();
    for (Id id : graph.in(n)) in.push_back(now[static_cast<size_t>(id)]);
    const auto list = graph.list_of(n);
    now[static_cast<size_t>(graph.id_of(k))] = inner.graph.add(n, in, {list.begin(), list.end()});
    inner.requires_grad.push_back(body.requires_grad[k]);
  }
  for (Id id : split.outputs) inner.outputs.push_back(now[static_cast<size_t>(id)]);
  identify(inner);
  return inner;
}

}  // namespace reel::plan
