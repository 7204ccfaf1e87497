// sink: a pointwise result of which only slices are read becomes pointwise results of slices, so that the
// four gates of a cell are four narrow values that a kernel can go on with, not one wide value in memory.
#include <algorithm>
#include <array>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

using Piece = std::array<int64_t, 3>;  // axis counted from the end, begin, end

class Sinking {
 public:
  explicit Sinking(const Graph& graph)
      : graph_(graph), wanted_(graph.nodes.size()), whole_(graph.nodes.size()) {}

  // From readers to what they read: which pieces of a value are asked for.
  bool find() {
    bool any = false;
    for (size_t k = graph_.nodes.size(); k-- > 0;) {
      const GraphNode& n = graph_.nodes[k];
      if (splits(k)) {
        any = true;
        for (Id id : graph_.in(n)) {
          for (const Piece& piece : wanted_[k]) want(id, piece);
        }
      } else if (n.op == &slice_op) {
        want(graph_.in(n)[0], piece_of(n));
      } else {
        for (Id id : graph_.in(n)) {
          if (graph_.is_node(id)) whole_[graph_.node_of(id)] = true;
        }
      }
    }
    return any;
  }

  Graph run() {
    Rewrite rewrite(graph_);
    parts_.resize(graph_.nodes.size());
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (splits(k)) {
        for (const Piece& piece : wanted_[k]) parts_[k].push_back(pointwise(rewrite, n, piece));
      } else if (n.op == &slice_op && split_already(graph_.in(n)[0])) {
        rewrite.set(graph_.id_of(k), part(rewrite, graph_.in(n)[0], piece_of(n)));
      } else {
        rewrite.keep(k);
      }
    }
    return rewrite.done();
  }

 private:
  static Piece piece_of(const GraphNode& slice) {
    return {slice.shape.rank() - slice.i[0], slice.i[1], slice.i[2]};
  }

  void want(Id id, const Piece& piece) {
    if (!graph_.is_node(id)) return;
    const size_t k = graph_.node_of(id);
    const GraphNode& n = graph_.nodes[k];
    const int axis = n.shape.rank() - static_cast<int>(piece[0]);
    if (axis < 0 || n.shape[axis] == 1) {  // repeated along the axis: read whole by each piece
      whole_[k] = true;
      return;
    }
    if (std::find(wanted_[k].begin(), wanted_[k].end(), piece) == wanted_[k].end())
      wanted_[k].push_back(piece);
  }

  // Pieces that together are no larger than the whole.
  bool splits(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    if (n.op->kind != Kind::pointwise || n.stays || whole_[k] || wanted_[k].empty()) return false;
    int64_t sum = 0;
    for (const Piece& p : wanted_[k]) {
      if (p[0] != wanted_[k][0][0]) return false;
      sum += p[2] - p[1];
    }
    return sum <= n.shape[n.shape.rank() - static_cast<int>(wanted_[k][0][0])];
  }

  bool split_already(Id id) const { return graph_.is_node(id) && !parts_[graph_.node_of(id)].empty(); }

  Id pointwise(Rewrite& rewrite, const GraphNode& n, const Piece& piece) {
    std::vector<Id> in;
    for (Id id : graph_.in(n)) in.push_back(part(rewrite, id, piece));
    GraphNode narrow = n;
    narrow.shape[n.shape.rank() - static_cast<int>(piece[0])] = piece[2] - piece[1];
    return rewrite.to.add(narrow, in);
  }

  // A piece of a value: made already, or a slice of it.
  Id part(Rewrite& rewrite, Id id, const Piece& piece) {
    const Shape& shape = graph_.shape(id);
    const int axis = shape.rank() - static_cast<int>(piece[0]);
    if (axis < 0 || shape[axis] == 1) return rewrite.now(id);
    if (split_already(id)) {
      const size_t k = graph_.node_of(id);
      const auto at = std::find(wanted_[k].begin(), wanted_[k].end(), piece);
      return parts_[k][static_cast<size_t>(at - wanted_[k].begin())];
    }
    GraphNode slice{
        .op = &slice_op, .i = {axis, piece[1], piece[2]}, .dtype = graph_.dtype(id), .shape = shape};
    slice.shape[axis] = piece[2] - piece[1];
    const Id from = rewrite.now(id);
    return rewrite.to.add(slice, {&from, 1});
  }

  const Graph& graph_;
  std::vector<std::vector<Piece>> wanted_;
  std::vector<bool> whole_;
  std::vector<std::vector<Id>> parts_;
};

}  // namespace

Graph sink(Graph graph) {
  Sinking sinking(graph);
  if (!sinking.find()) return graph;
  return sinking.run();
}

}  // namespace reel::plan
