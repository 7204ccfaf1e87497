// The product of joined columns, [h, x] W, is a sum of products, h W_h + x W_x, of which a recurrence makes
// that of x over all rows before, where only h comes from earlier levels.
#include <algorithm>

#include "core/plan/recurrence/calls.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Unjoining {
 public:
  Unjoining(const Body& body, const std::vector<bool>& reads) : graph_(body.graph), rewrite_(body.graph) {
    const size_t ids = graph_.leaves.size() + graph_.nodes.size();
    rows_.assign(ids, false);
    late_.assign(ids, false);
    for (size_t k = 0; k < body.arguments; ++k) {
      rows_[k] = true;
      late_[k] = reads[k];
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      for (Id in : graph_.in(graph_.nodes[k])) {
        const auto from = static_cast<size_t>(in), to = static_cast<size_t>(graph_.id_of(k));
        rows_[to] = rows_[to] || rows_[from];
        late_[to] = late_[to] || late_[from];
      }
    }
  }

  std::optional<Graph> run() {
    bool any = false;
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const size_t early = first_part_of_other_time(graph_.nodes[k]);
      any = any || early > 0;
      if (early > 0) {
        cut(k, early);
      } else {
        rewrite_.keep(k);
      }
    }
    if (!any) return {};
    return rewrite_.done();
  }

 private:
  bool late(Id id) const { return late_[static_cast<size_t>(id)]; }
  bool rows(Id id) const { return rows_[static_cast<size_t>(id)]; }

  // Of a product of joined columns, the part before which to cut it, so that one side waits for earlier
  // levels and the other does not; 0 where there is none.
  size_t first_part_of_other_time(const GraphNode& n) const {
    if (n.op->kind != Kind::matmul || n.shape.rank() != 2 || n.i[0] != 0) return 0;
    const Id joined = graph_.in(n)[0], weight = graph_.in(n)[1];
    if (!graph_.is_node(joined) || rows(weight) || graph_.shape(weight).rank() != 2) return 0;
    const GraphNode& join = graph_.node(joined);
    if (join.op != &concat_op || join.i[0] != 1 || join.shape.rank() != 2) return 0;
    const auto parts = graph_.in(join);
    if (!std::all_of(parts.begin(), parts.end(), [&](Id id) { return rows(id); })) return 0;
    const auto other =
        std::find_if(parts.begin(), parts.end(), [&](Id id) { return late(id) != late(parts[0]); });
    const bool once = std::all_of(other, parts.end(), [&](Id id) { return late(id) != late(parts[0]); });
    return other != parts.end() && once ? static_cast<size_t>(other - parts.begin()) : 0;
  }

  void cut(size_t k, size_t at) {
    const GraphNode& n = graph_.nodes[k];
    const auto parts = graph_.in(graph_.node(graph_.in(n)[0]));
    int64_t width = 0;
    for (Id id : parts.first(at)) width += graph_.shape(id)[1];
    const int64_t all = graph_.shape(graph_.in(n)[0])[1];
    const Id both[] = {product(n, parts.first(at), 0, width), product(n, parts.subspan(at), width, all)};
    GraphNode sum = n;
    sum.op = &plus_op();
    sum.i = {};
    rewrite_.set(graph_.id_of(k), rewrite_.to.add(sum, both));
  }
  // These parts times their rows [begin, end) of the weight.
  Id product(const GraphNode& n, std::span<const Id> parts, int64_t begin, int64_t end) {
    std::vector<Id> in;
    for (Id id : parts) in.push_back(rewrite_.now(id));
    GraphNode join = graph_.node(graph_.in(n)[0]);
    join.shape[1] = end - begin;
    const Id left = in.size() == 1 ? in[0] : rewrite_.to.add(join, in);
    const int axis = n.i[1] != 0 ? 1 : 0;
    GraphNode rows{.op = &slice_op,
                   .i = {axis, begin, end},
                   .dtype = n.dtype,
                   .cut = n.cut,
                   .shape = graph_.shape(graph_.in(n)[1])};
    rows.shape[axis] = end - begin;
    const Id weight = rewrite_.now(graph_.in(n)[1]);
    const Id operands[] = {left, rewrite_.to.add(rows, {&weight, 1})};
    return rewrite_.to.add(n, operands);
  }

  const Graph& graph_;
  Rewrite rewrite_;
  std::vector<bool> rows_, late_;  // of ids: made of arguments; of what earlier levels make
};

}  // namespace

Body unjoined(const Body& body, const std::vector<bool>& reads) {
  Body cut = body;
  rewrite(cut, [&](const Body& b) { return Unjoining(b, reads).run(); });
  return cut;
}

}  // namespace reel::plan
