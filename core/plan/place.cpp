// place: where each value lies. The parts of a join (a concatenation, or a sum of slices that tile it) are
// written where the join wants them, so that joining is no work; where two joins disagree, a part is copied.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/plan/blocks.h"
#include "core/plan/plan.h"
#include "core/plan/recurrence/compiled.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

bool moves_nothing_before(const Shape& shape, int axis) {
  for (int k = 0; k < axis; ++k) {
    if (shape[k] != 1) return false;
  }
  return true;
}

class Placing {
 public:
  explicit Placing(const Graph& graph) : graph_(graph) {
    layout_.placed.assign(graph.inputs.size(), false);
    layout_.copied.assign(graph.nodes.size(), -1);
    block_.assign(graph.leaves.size() + graph.nodes.size(), -1);
  }

  Layout run() {
    for (const Leaf& leaf : graph_.leaves) {
      layout_.values.push_back({leaf.dtype, leaf.shape, leaf.strides, -1, 0});
      block_[layout_.values.size() - 1] = blocks_.add(0, true);
    }
    for (const GraphNode& n : graph_.nodes)
      layout_.values.push_back({n.dtype, n.shape, row_major(n.shape), -1, 0});
    if (passes().place) lay_columns();
    for (size_t k = 0; k < graph_.nodes.size(); ++k) set_block(k);
    if (passes().place) {
      for (size_t k = 0; k < graph_.nodes.size(); ++k) {
        if (is_join(k)) join_parts(k);
      }
      for (size_t k = 0; k < graph_.nodes.size(); ++k) {
        if (graph_.nodes[k].op->recurrence) lay_over_inputs(k);
        if (graph_.nodes[k].op == &cross_entropy_and_grad_op) lay_over(k, graph_.in(graph_.nodes[k])[0], 0);
      }
    }
    make_roots();
    return std::move(layout_);
  }

 private:
  PlannedValue& value(Id id) { return layout_.values[static_cast<size_t>(id)]; }
  int64_t width(Id id) const { return static_cast<int64_t>(size_of(graph_.dtype(id))); }
  int64_t bytes(Id id) const { return graph_.shape(id).numel() * width(id); }

  // Where in join k its p-th input belongs; false where that is no place of its own.
  bool part_of(size_t k, size_t p, Place& place) const {
    const GraphNode& n = graph_.nodes[k];
    if (n.op->kind == Kind::concat) {
      place = {Place::At::slice, n.i[0], 0};
      for (size_t before = 0; before < p; ++before)
        place.begin += graph_.shape(graph_.in(n)[before])[static_cast<int>(n.i[0])];
      return true;
    }
    place = place_of(graph_.list_of(n), p);
    return place.at == Place::At::slice;
  }

  bool is_join(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    if (n.shape.numel() == 0) return false;
    if (n.op->kind == Kind::concat) return is_float(n.dtype);
    if (n.op != &accumulate_op) return false;
    std::vector<Shape> shapes;
    for (size_t p = 0; p < n.list_size / kPlaceWords; ++p) shapes.push_back(graph_.shape(graph_.in(n)[p]));
    return tiles(graph_.list_of(n), shapes, n.shape);
  }
  size_t parts(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    return n.op->kind == Kind::concat ? n.inputs : n.list_size / kPlaceWords;
  }

  // Parts that are columns of a join take the join's strides, if a kernel writes them. Joins come after their
  // parts, so their own strides are known first.
  void lay_columns() {
    for (size_t k = graph_.nodes.size(); k-- > 0;) {
      if (!is_join(k)) continue;
      for (size_t p = 0; p < parts(k); ++p) {
        Place place;
        if (!part_of(k, p, place)) continue;
        const Id id = graph_.in(graph_.nodes[k])[p];
        const auto axis = static_cast<int>(place.axis);
        if (moves_nothing_before(graph_.nodes[k].shape, axis) || !graph_.is_node(id)) continue;
        const bool join = is_made_of_columns(graph_.node_of(id));
        if (!join && !can_be_column(id)) continue;
        make_column(id, k);
        // Its parts are its own from now on: nothing can be copied into what does not lie together.
        for (size_t j = 0; join && j < parts(graph_.node_of(id)); ++j)
          make_column(graph_.in(graph_.node(id))[j], graph_.node_of(id));
      }
    }
  }
  void make_column(Id id, size_t join) {
    columns_[id] = join;
    value(id).strides = value(graph_.id_of(join)).strides;
  }
  bool can_be_column(Id id) const {
    if (!graph_.is_node(id)) return false;
    const GraphNode& n = graph_.node(id);
    return n.kernel >= 0 && !n.stays && n.shape.numel() > 0 && !columns_.contains(id);
  }
  // A join all of whose parts will be columns of it can be a column of another one.
  bool is_made_of_columns(size_t k) const {
    if (graph_.nodes[k].stays || columns_.contains(graph_.id_of(k)) || !is_join(k)) return false;
    std::vector<Id> seen;
    for (size_t p = 0; p < parts(k); ++p) {
      Place place;
      const Id id = graph_.in(graph_.nodes[k])[p];
      if (!part_of(k, p, place) ||
          moves_nothing_before(graph_.nodes[k].shape, static_cast<int>(place.axis)) || !can_be_column(id) ||
          std::find(seen.begin(), seen.end(), id) != seen.end())
        return false;
      seen.push_back(id);
    }
    return true;
  }

  // A node's memory: its own, or that of what it looks at.
  void set_block(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const Id id = graph_.id_of(k);
    if (!n.op->view) {
      const bool holds_others = is_join(k) && passes().place;
      const bool column = columns_.contains(id);
      block_[static_cast<size_t>(id)] = blocks_.add(holds_others || column ? 0 : bytes(id), false);
      return;
    }
    if (try_view(k)) return;
    PlannedValue& out = value(id);
    const Id from = graph_.in(n)[0];
    const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);
    const Array flat{origin, graph_.dtype(from), graph_.shape(from), row_major(graph_.shape(from))};
    Array target{origin, n.dtype, n.shape, {}};
    if (!n.op->view(flat, {n.i, {}}, target))
      fail("[{}] internal error: a contiguous input cannot be viewed", n.op->name);
    out.strides = target.strides;
    out.offset = layout_.copied[k] = target.data - origin;
    block_[static_cast<size_t>(id)] = blocks_.add(bytes(from), false);
  }

  bool try_view(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const Id from = graph_.in(n)[0], id = graph_.id_of(k);
    const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);  // for differences only
    const Array source{origin, graph_.dtype(from), graph_.shape(from), value(from).strides};
    Array target{origin, n.dtype, n.shape, {}};
    if (!n.op->view(source, {n.i, {}}, target)) return false;
    value(id).strides = target.strides;
    value(id).offset = value(from).offset + (target.data - origin);
    block_[static_cast<size_t>(id)] = block_[static_cast<size_t>(from)];
    return true;
  }

  // A value's place in its cluster, its own offset included.
  Blocks::Spot spot(Id id) {
    Blocks::Spot s = blocks_.find(block_[static_cast<size_t>(id)]);
    s.offset += value(id).offset;
    return s;
  }

  // Whether the part can lie at its place in the join: the same strides, and memory that is not a leaf's.
  bool same_strides(size_t k, Id part) {
    const PlannedValue& v = value(part);
    const Strides& join = value(graph_.id_of(k)).strides;
    for (int axis = 0; axis < v.shape.rank(); ++axis) {
      if (v.shape[axis] != 1 && v.strides[static_cast<size_t>(axis)] != join[static_cast<size_t>(axis)])
        return false;
    }
    return true;
  }

  struct Part {
    Id id;
    size_t input;
    int64_t begin, end;  // bytes from the join's start; of columns, of which rows do not lie together, all
    bool rows, fits, here;
  };

  void join_parts(size_t k) {
    std::vector<Part> all;
    for (size_t p = 0; p < parts(k); ++p) {
      Place place;
      if (!part_of(k, p, place)) return;
      const GraphNode& n = graph_.nodes[k];
      const Id id = graph_.in(n)[p];
      const Shape& shape = graph_.shape(id);
      if (shape.numel() == 0) continue;
      const int64_t begin =
          place.begin * value(graph_.id_of(k)).strides[static_cast<size_t>(place.axis)] * width(id);
      const bool rows = moves_nothing_before(n.shape, static_cast<int>(place.axis));
      // A part that is named twice can be in one place only.
      const bool twice =
          std::any_of(all.begin(), all.end(), [&](const Part& other) { return other.id == id; });
      const bool column = !rows && columns_.contains(id) && columns_[id] == k;
      const bool fits = !twice && (rows ? same_strides(k, id) : column);
      all.push_back({id, n.first_in + p, begin, begin + bytes(id), rows, fits, false});
    }
    if (all.empty()) return;
    if (!all[0].rows) return join_columns(k, all);
    if (within_leaf(k, all)) return;
    // Where the join could start: where its parts lie already. The first that leaves room for all wins.
    std::vector<int32_t> tried;
    for (const Part& part : all) {
      if (!part.fits || blocks_.leaf(spot(part.id).cluster)) continue;
      if (std::find(tried.begin(), tried.end(), spot(part.id).cluster) != tried.end()) continue;
      tried.push_back(spot(part.id).cluster);
      if (tried.size() > 4) break;
      if (start_at(k, all, spot(part.id).cluster, spot(part.id).offset - part.begin)) return;
    }
    blocks_.take(block_[static_cast<size_t>(graph_.id_of(k))], 0, bytes(graph_.id_of(k)));
  }

  // Columns: the whole join is one stretch, whose parts are in it or copied into it.
  void join_columns(size_t k, const std::vector<Part>& all) {
    const int32_t join = block_[static_cast<size_t>(graph_.id_of(k))];
    if (!columns_.contains(graph_.id_of(k))) blocks_.take(join, 0, bytes(graph_.id_of(k)));
    for (const Part& part : all) {
      if (!part.fits) continue;
      blocks_.unite(join, blocks_.find(block_[static_cast<size_t>(part.id)]).cluster, part.begin);
      layout_.placed[part.input] = true;
    }
  }

  // All parts follow each other in memory that nobody here lays out: the join is a view.
  bool within_leaf(size_t k, const std::vector<Part>& all) {
    const Blocks::Spot first = spot(all[0].id);
    if (!blocks_.leaf(first.cluster)) return false;
    for (const Part& part : all) {
      const Blocks::Spot s = spot(part.id);
      if (!part.fits || s.cluster != first.cluster || s.offset - part.begin != first.offset) return false;
    }
    blocks_.unite(first.cluster, block_[static_cast<size_t>(graph_.id_of(k))], first.offset);
    for (const Part& part : all) layout_.placed[part.input] = true;
    return true;
  }

  // Puts the join into the cluster, `start` bytes from the cluster's: parts that are there stay, others move
  // their clusters in, and the rest needs free room for a copy.
  bool start_at(size_t k, std::vector<Part>& all, int32_t cluster, int64_t start) {
    std::vector<std::pair<int32_t, int64_t>> moved;  // clusters and where they would start
    std::map<int64_t, int64_t> rooms;
    for (Part& part : all) {
      const Blocks::Spot s = spot(part.id);
      const int64_t wanted = start + part.begin;
      part.here = part.fits && s.cluster == cluster && s.offset == wanted;
      if (part.here) continue;
      if (part.fits && s.cluster != cluster && !blocks_.leaf(s.cluster)) {
        const auto known =
            std::find_if(moved.begin(), moved.end(), [&](const auto& m) { return m.first == s.cluster; });
        if (known != moved.end()) {
          part.here = known->second == wanted - s.offset;
        } else if (blocks_.fits(cluster, s.cluster, wanted - s.offset)) {
          moved.emplace_back(s.cluster, wanted - s.offset);
          part.here = true;
        }
      }
      if (part.here) continue;
      if (!blocks_.free(cluster, wanted, start + part.end)) return false;
      rooms[wanted] = start + part.end;
    }
    if (!apart(moved, rooms)) return false;
    for (const auto& [from, shift] : moved) blocks_.unite(cluster, from, shift);
    for (const auto& [begin, end] : rooms) blocks_.take(cluster, begin, end);
    const Id id = graph_.id_of(k);
    blocks_.unite(cluster, blocks_.find(block_[static_cast<size_t>(id)]).cluster, start);
    for (const Part& part : all) layout_.placed[part.input] = part.here;
    return true;
  }

  // Whether what would be moved in takes different stretches.
  bool apart(const std::vector<std::pair<int32_t, int64_t>>& moved, const std::map<int64_t, int64_t>& rooms) {
    std::vector<std::pair<int64_t, int64_t>> stretches(rooms.begin(), rooms.end());
    for (const auto& [cluster, shift] : moved) blocks_.stretches(cluster, shift, stretches);
    std::sort(stretches.begin(), stretches.end());
    for (size_t k = 1; k < stretches.size(); ++k) {
      if (stretches[k].first < stretches[k - 1].second) return false;
    }
    return true;
  }

  // ---- Results of several parts, of which one may lie over an input that nobody reads afterwards ----

  void lay_over_inputs(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    const Recurrence& r = *n.op->recurrence;
    const Schedule schedule(graph_.list_of(n), false);
    for (const auto& [row, output] : compiled_for(r, schedule.most_rows()).overlays) {
      if (lay_over(k, graph_.in(n)[row], r.offset(output, schedule.rows) * width(graph_.id_of(k)))) return;
    }
  }

  // Lays node k's result, from this byte on, over an input of as many bytes, where that dies with it.
  bool lay_over(size_t k, Id in, int64_t at) {
    if (!dies_with_its_reader(in)) return false;
    const Blocks::Spot from = spot(in), mine = blocks_.find(block_[static_cast<size_t>(graph_.id_of(k))]);
    const int64_t begin = mine.offset + at;
    return from.cluster != mine.cluster && !blocks_.leaf(from.cluster) &&
           blocks_.lay_over(from.cluster, mine.cluster, from.offset - begin, begin, begin + bytes(in));
  }

  // Whether it is memory of its own, or a part of a recurrence's result, that has one reader.
  bool dies_with_its_reader(Id id) {
    if (readers_.empty()) readers_ = graph_.readers();
    if (!is_contiguous(value(id).shape, value(id).strides)) return false;
    for (Id v = id; graph_.is_node(v); v = graph_.in(graph_.node(v))[0]) {
      const GraphNode& n = graph_.node(v);
      if (n.stays) return false;
      if (n.op->recurrence) return others_read_elsewhere(v, id);
      if (readers_[graph_.node_of(v)] != 1) return false;
      if (!n.op->view) return !is_join(graph_.node_of(v)) || only_it_reads_its_parts(n);
      if (layout_.copied[graph_.node_of(v)] >= 0) return false;
    }
    return false;
  }

  bool only_it_reads_its_parts(const GraphNode& join) const {
    for (uint32_t p = 0; p < join.inputs; ++p) {
      if (!layout_.placed[join.first_in + p]) continue;
      const Id part = graph_.in(join)[p];
      if (!graph_.is_node(part) || graph_.node(part).op->view || is_join(graph_.node_of(part)) ||
          graph_.node(part).stays || readers_[graph_.node_of(part)] != 1)
        return false;
    }
    return true;
  }

  // Whether all that reads the recurrence's result looks at parts of it, of which one is `id`.
  bool others_read_elsewhere(Id result, Id id) {
    const int64_t begin = value(id).offset, end = begin + bytes(id);
    int inside = 0;
    for (const GraphNode& n : graph_.nodes) {
      const auto in = graph_.in(n);
      if (std::find(in.begin(), in.end(), result) == in.end()) continue;
      if (n.op != &stretch_op) return false;
      const Id part = static_cast<Id>(graph_.leaves.size()) + static_cast<Id>(&n - graph_.nodes.data());
      const int64_t from = value(part).offset, to = from + bytes(part);
      inside += from < end && to > begin;
    }
    return inside == 1;
  }

  // ---- Roots ----

  void make_roots() {
    std::vector<int32_t> root_of;
    for (size_t v = 0; v < block_.size(); ++v) {
      const Blocks::Spot s = blocks_.find(block_[v]);
      if (static_cast<size_t>(s.cluster) >= root_of.size())
        root_of.resize(static_cast<size_t>(s.cluster) + 1, -1);
      int32_t& root = root_of[static_cast<size_t>(s.cluster)];
      const auto [begin, end] = blocks_.extent(s.cluster);
      if (root < 0) {
        root = static_cast<int32_t>(layout_.roots.size());
        layout_.roots.push_back({.home = Home::scratch, .bytes = end - begin});
        if (blocks_.leaf(s.cluster)) {
          layout_.roots.back().home = Home::leaf;
          layout_.roots.back().leaf = static_cast<int32_t>(v);  // leaves come first, and each has its own
        }
      }
      layout_.values[v].root = root;
      layout_.values[v].offset += s.offset - begin;
    }
  }

  const Graph& graph_;
  Layout layout_;
  Blocks blocks_;
  std::vector<int32_t> block_;              // of values
  std::vector<uint32_t> readers_;           // of nodes
  std::unordered_map<Id, size_t> columns_;  // of which join a value is a column
};

}  // namespace

Layout place(const Graph& graph) { return Placing(graph).run(); }

}  // namespace reel::plan
