// Graph to steps. Views become other strides over the same memory; inputs that a kernel cannot read are
// copied; a sum of contributions is added up where its parts are made, so that the parts need no memory of
// their own for long.
#include <algorithm>

#include "core/plan/plan.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Lowering {
 public:
  explicit Lowering(const Graph& graph) : graph_(graph), plan_(std::make_unique<Plan>()) {}

  std::unique_ptr<Plan> run() {
    plan_->leaves = graph_.leaves.size();
    for (const Leaf& leaf : graph_.leaves) {
      const int32_t root = add_root(Home::leaf, 0, static_cast<int32_t>(plan_->values.size()));
      plan_->values.push_back({leaf.dtype, leaf.shape, leaf.strides, root, 0});
    }
    for (const GraphNode& n : graph_.nodes) {
      plan_->ops.push_back(n.op);
      plan_->stays.push_back(n.stays);
      plan_->values.push_back({n.dtype, n.shape, row_major(n.shape), -1, 0});
    }
    find_sums();
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      node(k);
      add_to_sums(k);
    }
    return std::move(plan_);
  }

 private:
  struct Sum {
    size_t node;
    size_t part;
  };

  PlannedValue& value(Id id) { return plan_->values[static_cast<size_t>(id)]; }

  int32_t add_root(Home home, int64_t bytes, int32_t leaf = -1) {
    plan_->roots.push_back({.home = home, .leaf = leaf, .bytes = bytes});
    return static_cast<int32_t>(plan_->roots.size() - 1);
  }

  void make_room(Id id, Home home) {
    PlannedValue& v = value(id);
    v.root = add_root(home, v.shape.numel() * static_cast<int64_t>(size_of(v.dtype)));
  }

  // The node's memory: its own where the value stays, else scratch.
  void make_room_for(size_t k) {
    make_room(graph_.id_of(k), graph_.nodes[k].stays ? Home::own : Home::scratch);
  }

  void emit(Step step, std::initializer_list<Id> in) { emit(step, std::vector<Id>(in)); }
  void emit(Step step, const std::vector<Id>& in) {
    step.first_in = static_cast<uint32_t>(plan_->inputs.size());
    step.inputs = static_cast<uint32_t>(in.size());
    plan_->inputs.insert(plan_->inputs.end(), in.begin(), in.end());
    plan_->steps.push_back(step);
  }

  bool contiguous(Id id) { return is_contiguous(value(id).shape, value(id).strides); }

  Id contiguous_copy(Id id) {
    if (contiguous(id)) return id;
    const auto copy = static_cast<Id>(plan_->values.size());
    PlannedValue v = value(id);
    v.strides = row_major(v.shape);
    v.offset = 0;
    plan_->values.push_back(v);
    make_room(copy, Home::scratch);
    emit({.what = Do::copy, .out = copy}, {id});
    return copy;
  }

  // Which sums wait for which node; and which nodes are read by nothing but one sum.
  void find_sums() {
    readers_.assign(graph_.nodes.size(), 0);
    waiting_.resize(graph_.nodes.size());
    tiled_.assign(graph_.nodes.size(), false);
    for (const GraphNode& n : graph_.nodes) {
      for (Id id : n.in) {
        if (is_node(id)) ++readers_[node_of(id)];
      }
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (graph_.nodes[k].op != &accumulate_op) continue;
      const size_t parts = graph_.nodes[k].list.size() / kPlaceWords;
      for (size_t p = 0; p < parts; ++p) {
        const GraphNode& sum = graph_.nodes[k];
        const int64_t ids = sum.list[p * kPlaceWords + 3];
        int64_t ready = is_node(sum.in[p]) ? static_cast<int64_t>(node_of(sum.in[p])) : -1;
        if (ids >= 0 && is_node(sum.in[static_cast<size_t>(ids)])) {
          ready = std::max(ready, static_cast<int64_t>(node_of(sum.in[static_cast<size_t>(ids)])));
        }
        (ready < 0 ? early_ : waiting_[static_cast<size_t>(ready)]).push_back({k, p});
      }
    }
  }

  bool is_node(Id id) const { return id >= static_cast<Id>(graph_.leaves.size()); }
  size_t node_of(Id id) const { return static_cast<size_t>(id) - graph_.leaves.size(); }

  // The sum's memory, zeroed unless its first part to come covers it or its parts tile it. Returns whether to
  // add.
  bool open(const Sum& sum, Place place) {
    const GraphNode& n = graph_.nodes[sum.node];
    const Id out = graph_.id_of(sum.node);
    if (value(out).root >= 0) return !tiled_[sum.node];
    make_room_for(sum.node);
    std::vector<Shape> shapes;
    const size_t parts = n.list.size() / kPlaceWords;
    for (size_t p = 0; p < parts; ++p) shapes.push_back(value(n.in[p]).shape);
    tiled_[sum.node] = tiles(n.list, shapes, n.shape);
    if (tiled_[sum.node] || place.at == Place::At::whole) return false;
    emit({.what = Do::zero, .node = static_cast<int32_t>(sum.node), .out = out}, {});
    return true;
  }

  void put_part(const Sum& sum) {
    const GraphNode& n = graph_.nodes[sum.node];
    const Place place = place_of(n.list, sum.part);
    const bool add = open(sum, place);
    std::vector<Id> in{n.in[sum.part]};
    if (const int64_t ids = n.list[sum.part * kPlaceWords + 3]; ids >= 0) {
      in.push_back(contiguous_copy(n.in[static_cast<size_t>(ids)]));
    }
    emit({.what = Do::put,
          .add = add,
          .node = static_cast<int32_t>(sum.node),
          .part = static_cast<int32_t>(sum.part),
          .out = graph_.id_of(sum.node)},
         in);
  }

  void add_to_sums(size_t k) {
    for (const Sum& sum : waiting_[k]) {
      if (sum.node != folded_into_) put_part(sum);
    }
    folded_into_ = SIZE_MAX;
  }

  // A product that only one sum reads is added onto that sum by the product's own kernel.
  bool fold_into_sum(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    if (!n.op->accumulates || n.stays || readers_[k] != 1 || waiting_[k].size() != 1) return false;
    const Sum& sum = waiting_[k][0];
    const GraphNode& into = graph_.nodes[sum.node];
    const Place place = place_of(into.list, sum.part);
    if (place.at != Place::At::whole || into.in[sum.part] != graph_.id_of(k)) return false;
    const bool add = open(sum, place);
    const Id out = graph_.id_of(sum.node);
    call(k, out, add);
    value(graph_.id_of(k)) = value(out);
    folded_into_ = sum.node;
    return true;
  }

  void call(size_t k, Id out, bool add) {
    const GraphNode& n = graph_.nodes[k];
    std::vector<Id> in = n.in;
    if (n.op->kind != Kind::pointwise && !n.op->strided) {
      for (Id& id : in) id = contiguous_copy(id);
    }
    emit({.what = Do::call, .add = add, .node = static_cast<int32_t>(k), .out = out}, in);
  }

  void node(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    if (k == 0) {
      for (const Sum& sum : early_) put_part(sum);
    }
    if (n.op == &accumulate_op) return;  // its parts were put as they came
    if (n.op->view) return view(k);
    if (fold_into_sum(k)) return;
    make_room_for(k);
    call(k, graph_.id_of(k), false);
  }

  void view(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    Id from = n.in[0];
    if (!try_view(k, from)) {
      from = contiguous_copy(from);
      if (!try_view(k, from)) fail("[{}] internal error: a contiguous input cannot be viewed", n.op->name);
    }
    if (!n.stays) return;
    // What outlives the run must not look into scratch memory.
    const int32_t root = value(graph_.id_of(k)).root;
    Root& memory = plan_->roots[static_cast<size_t>(root)];
    if (memory.home == Home::scratch) memory.home = Home::own;
  }

  bool try_view(size_t k, Id from) {
    const GraphNode& n = graph_.nodes[k];
    const PlannedValue& in = value(from);
    PlannedValue& out = value(graph_.id_of(k));
    const auto origin = reinterpret_cast<std::byte*>(uintptr_t{1} << 46);  // for differences only
    const Array source{origin, in.dtype, in.shape, in.strides};
    Array target{origin, n.dtype, n.shape, {}};
    if (!n.op->view(source, n.attrs, target)) return false;
    out.strides = target.strides;
    out.root = in.root;
    out.offset = in.offset + (target.data - origin);
    return true;
  }

  const Graph& graph_;
  std::unique_ptr<Plan> plan_;
  std::vector<uint32_t> readers_;
  std::vector<std::vector<Sum>> waiting_;  // by the node whose value is the part
  std::vector<Sum> early_;                 // parts that are leaves
  std::vector<bool> tiled_;
  size_t folded_into_ = SIZE_MAX;
};

}  // namespace

std::unique_ptr<Plan> lower(const Graph& graph) { return Lowering(graph).run(); }

}  // namespace reel::plan
