// commute: what is made row by row of rows looked up in a table (a product, a layer norm of it, ..) is made
// of the table instead, and looked up afterwards, where the table has fewer rows than are read: one-hot and
// small-vocabulary inputs. The gradient follows.
#include <algorithm>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Commuting {
 public:
  explicit Commuting(const Graph& graph) : graph_(graph), rewrite_(graph), readers_(graph.readers()) {}

  Graph run() {
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const Id rows = rows_of(graph_.nodes[k]);
      if (rows < 0) {
        rewrite_.keep(k);
      } else {
        move(k, rows);
      }
    }
    return rewrite_.done();
  }

 private:
  // The look-up on whose rows this node works; -1 where there is none, or it is not worth it.
  Id rows_of(const GraphNode& n) const {
    const auto in = graph_.in(n);
    const auto rows = std::find_if(in.begin(), in.end(), [&](Id id) { return looked_up(id); });
    if (rows == in.end() || !works_on_rows(graph_, n, *rows)) return -1;
    // If others read the rows too, they are looked up twice, which is worth it for a product.
    const GraphNode& before = graph_.node(*rows);
    const auto reads = static_cast<uint32_t>(std::count(in.begin(), in.end(), *rows));
    const bool alone = !before.stays && readers_[graph_.node_of(*rows)] == reads;
    return alone || n.op->kind == Kind::matmul ? *rows : -1;
  }
  // Whether a value is rows of a table, here or after what was moved.
  bool looked_up(Id id) const {
    const Id now = graph_.is_node(id) ? rewrite_.now(id) : -1;
    return now >= 0 && rewrite_.to.is_node(now) && is_look_up(rewrite_.to, rewrite_.to.node(now));
  }

  void move(size_t k, Id rows) {
    const GraphNode& n = graph_.nodes[k];
    const Id from = rewrite_.now(rows);
    const Id table = rewrite_.to.in(rewrite_.to.node(from))[0],
             ids = rewrite_.to.in(rewrite_.to.node(from))[1];
    GraphNode of_table = n;
    of_table.shape[0] = rewrite_.to.shape(table)[0];
    of_table.stays = false;
    std::vector<Id> in;
    for (Id id : graph_.in(n)) in.push_back(id == rows ? table : rewrite_.now(id));
    GraphNode select = rewrite_.to.node(from);
    select.shape = n.shape;
    select.dtype = n.dtype;
    select.stays = n.stays;
    select.origin = n.origin;
    const Id both[] = {rewrite_.to.add(of_table, in, graph_.list_of(n)), ids};
    rewrite_.set(graph_.id_of(k), rewrite_.to.add(select, both));
  }

  const Graph& graph_;
  Rewrite rewrite_;
  std::vector<uint32_t> readers_;
};

}  // namespace

bool works_on_rows(const Graph& graph, const GraphNode& n, Id rows) {
  if (n.shape.rank() != 2 || n.shape[0] != graph.shape(rows)[0]) return false;
  const auto in = graph.in(n);
  if (n.op->kind == Kind::matmul) return n.i[0] == 0 && in[0] == rows && in[1] != rows;
  const bool pointwise = n.op->kind == Kind::pointwise;
  const bool by_rows = n.op->row_by_row && n.op->row_by_row({n.i, {}}, graph.shape(rows));
  return (pointwise || by_rows) && std::all_of(in.begin(), in.end(), [&](Id id) {
           return id == rows || (pointwise && (graph.shape(id).rank() < 2 || graph.shape(id)[0] == 1));
         });
}

bool is_look_up(const Graph& graph, const GraphNode& n) {
  return n.op == &index_select_op && n.i[0] == 0 && n.shape.rank() == 2 && !n.cut &&
         2 * graph.shape(graph.in(n)[0])[0] <= n.shape[0];
}

Graph commute(Graph graph) {
  const auto any = [&](const GraphNode& n) { return is_look_up(graph, n); };
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), any)) return graph;
  return Commuting(graph).run();
}

}  // namespace reel::plan
