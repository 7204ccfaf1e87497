// commute: a product with rows looked up in a table is rows looked up in the table's product, where the table
// has fewer rows than are read: one-hot and small-vocabulary inputs. The gradient follows.
#include <algorithm>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

// The look-up of rows whose product node `n` takes, if it is worth multiplying the table instead.
const GraphNode* look_up(const Graph& graph, const GraphNode& n) {
  if (n.op->kind != Kind::matmul || n.shape.rank() != 2 || n.i[0] != 0) return nullptr;
  const Id rows = graph.in(n)[0];
  if (!graph.is_node(rows)) return nullptr;
  const GraphNode& from = graph.node(rows);
  if (from.op != &index_select_op || from.i[0] != 0 || from.shape.rank() != 2 || from.cut) return nullptr;
  return 2 * graph.shape(graph.in(from)[0])[0] <= n.shape[0] ? &from : nullptr;
}

}  // namespace

Graph commute(Graph graph) {
  const auto moves = [&](const GraphNode& n) { return look_up(graph, n) != nullptr; };
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), moves)) return graph;
  Rewrite rewrite(graph);
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    const GraphNode& n = graph.nodes[k];
    const GraphNode* from = look_up(graph, n);
    if (!from) {
      rewrite.keep(k);
      continue;
    }
    const Id table = graph.in(*from)[0], ids = graph.in(*from)[1];
    GraphNode product = n;
    product.shape[0] = graph.shape(table)[0];
    const Id operands[] = {rewrite.now(table), rewrite.now(graph.in(n)[1])};
    const Id all[] = {rewrite.to.add(product, operands), rewrite.now(ids)};
    GraphNode select = *from;
    select.shape = n.shape;
    select.cut = n.cut;
    rewrite.set(graph.id_of(k), rewrite.to.add(select, all));
  }
  return rewrite.done();
}

}  // namespace reel::plan
