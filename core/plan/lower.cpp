// Graph to steps, in the order in which nodes run. Inputs that a kernel cannot read are copied; a sum of
// contributions is added up where its parts are made, so that the parts need no memory of their own for long.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "core/plan/plan.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Lowering {
 public:
  explicit Lowering(const Graph& graph)
      : graph_(graph), layout_(place(graph)), plan_(std::make_unique<Plan>()) {}

  std::unique_ptr<Plan> run() {
    plan_->leaves = graph_.leaves.size();
    plan_->values = std::move(layout_.values);
    plan_->roots = std::move(layout_.roots);
    plan_->kernels = graph_.kernels;
    plan_->floats = graph_.floats;
    plan_->lists = graph_.list;
    plan_->nodes.reserve(graph_.nodes.size());
    for (const GraphNode& n : graph_.nodes)
      plan_->nodes.push_back({n.op, {n.i, {}}, n.floats, n.origin, n.first_list, n.list_size});
    opened_.assign(graph_.nodes.size(), false);
    find_sums();
    if (passes().pack) find_weights();
    for (const Sum& sum : early_) put_part(sum);
    for (const auto& unit : units()) {
      for (const size_t k : unit) node(k, unit);
      for (const size_t k : unit) add_to_sums(k);
    }
    keep_results();
    for (Id id : plan_->operands) {
      const PlannedValue& v = value(id);
      plan_->arrays.push_back({nullptr, v.dtype, v.shape, v.strides});
    }
    plan_->addresses.resize(plan_->arrays.size());
    prepare_kernels();
    return std::move(plan_);
  }

 private:
  struct Sum {
    size_t node;
    size_t part;
  };

  // Nodes that run together, in the order of time.
  std::vector<std::vector<size_t>> units() const {
    std::vector<size_t> order(graph_.nodes.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (!graph_.order.empty()) {
      std::stable_sort(order.begin(), order.end(),
                       [&](size_t a, size_t b) { return graph_.order[a] < graph_.order[b]; });
    }
    std::vector<std::vector<size_t>> units;
    std::vector<int32_t> unit_of(graph_.kernels.size(), -1);
    for (const size_t k : order) {
      const int32_t kernel = graph_.nodes[k].kernel;
      if (kernel >= 0 && unit_of[static_cast<size_t>(kernel)] >= 0) {
        units[static_cast<size_t>(unit_of[static_cast<size_t>(kernel)])].push_back(k);
        continue;
      }
      if (kernel >= 0) unit_of[static_cast<size_t>(kernel)] = static_cast<int32_t>(units.size());
      units.push_back({k});
    }
    return units;
  }

  PlannedValue& value(Id id) { return plan_->values[static_cast<size_t>(id)]; }

  Id new_value(const PlannedValue& v) {
    plan_->values.push_back(v);
    return static_cast<Id>(plan_->values.size() - 1);
  }

  // A contiguous value of this shape, with memory of its own.
  Id new_contiguous(DType dtype, const Shape& shape, Home home) {
    plan_->roots.push_back({.home = home, .bytes = shape.numel() * static_cast<int64_t>(size_of(dtype))});
    return new_value({dtype, shape, row_major(shape), static_cast<int32_t>(plan_->roots.size() - 1), 0});
  }

  void emit(Step step, const std::vector<Id>& in, const std::vector<Id>& out) {
    step.first = static_cast<uint32_t>(plan_->operands.size());
    step.inputs = static_cast<uint32_t>(in.size());
    step.outputs = static_cast<uint32_t>(out.size());
    plan_->operands.insert(plan_->operands.end(), in.begin(), in.end());
    plan_->operands.insert(plan_->operands.end(), out.begin(), out.end());
    plan_->steps.push_back(step);
  }

  Id contiguous_copy(Id id) {
    const PlannedValue v = value(id);
    if (is_contiguous(v.shape, v.strides)) return id;
    const Id copy = new_contiguous(v.dtype, v.shape, Home::scratch);
    emit({.what = Do::copy}, {id}, {copy});
    return copy;
  }

  // ---- Sums ----

  // Which sums wait for which node; and which nodes are read by nothing but one sum.
  void find_sums() {
    readers_ = graph_.readers();
    waiting_.resize(graph_.nodes.size());
    tiled_.assign(graph_.nodes.size(), false);
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      if (n.op != &accumulate_op) continue;
      const auto list = graph_.list_of(n);
      const auto in = graph_.in(n);
      std::vector<Shape> shapes;
      for (size_t p = 0; p < list.size() / kPlaceWords; ++p) shapes.push_back(graph_.shape(in[p]));
      tiled_[k] = tiles(list, shapes, n.shape);
      for (size_t p = 0; p < list.size() / kPlaceWords; ++p) {
        if (layout_.placed[n.first_in + p]) continue;
        const int64_t ids = list[p * kPlaceWords + 3];
        int64_t ready = run_time(in[p]);
        if (ids >= 0) ready = later(ready, run_time(in[static_cast<size_t>(ids)]));
        (ready < 0 ? early_ : waiting_[static_cast<size_t>(ready)]).push_back({k, p});
      }
    }
  }

  // The node after which a value is there; -1 for leaves.
  int64_t run_time(Id id) const { return graph_.is_node(id) ? static_cast<int64_t>(graph_.node_of(id)) : -1; }
  int64_t later(int64_t a, int64_t b) const {
    if (a < 0 || b < 0 || graph_.order.empty()) return std::max(a, b);
    const int64_t ta = graph_.order[static_cast<size_t>(a)], tb = graph_.order[static_cast<size_t>(b)];
    return ta == tb ? std::max(a, b) : ta > tb ? a : b;
  }

  // Readies the sum's memory: zeroed unless its first part covers it or its parts tile it. Returns whether to
  // add.
  bool open(const Sum& sum, Place place) {
    if (opened_[sum.node]) return !tiled_[sum.node];
    opened_[sum.node] = true;
    if (tiled_[sum.node] || place.at == Place::At::whole) return false;
    emit({.what = Do::zero, .node = static_cast<int32_t>(sum.node)}, {}, {graph_.id_of(sum.node)});
    return true;
  }

  void put_part(const Sum& sum) {
    const GraphNode& n = graph_.nodes[sum.node];
    const auto list = graph_.list_of(n);
    const Place place = place_of(list, sum.part);
    const bool add = open(sum, place);
    std::vector<Id> in{graph_.in(n)[sum.part]};
    if (const int64_t ids = list[sum.part * kPlaceWords + 3]; ids >= 0) {
      in.push_back(contiguous_copy(graph_.in(n)[static_cast<size_t>(ids)]));
    }
    emit({.what = Do::put, .add = add, .node = static_cast<int32_t>(sum.node), .place = place}, in,
         {graph_.id_of(sum.node)});
  }

  void add_to_sums(size_t k) {
    for (const Sum& sum : waiting_[k]) {
      if (folded_ != k) put_part(sum);
    }
  }

  // A product that only one sum reads is added onto that sum by the product's own kernel.
  bool fold_into_sum(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    if (!n.op->accumulates || n.stays || readers_[k] != 1 || waiting_[k].size() != 1) return false;
    const Sum& sum = waiting_[k][0];
    const GraphNode& into = graph_.nodes[sum.node];
    const Place place = place_of(graph_.list_of(into), sum.part);
    if (place.at != Place::At::whole || graph_.in(into)[sum.part] != graph_.id_of(k)) return false;
    const bool add = open(sum, place);
    call(k, graph_.id_of(sum.node), add);
    value(graph_.id_of(k)) = value(graph_.id_of(sum.node));
    folded_ = k;
    return true;
  }

  // ---- Nodes ----

  void node(size_t k, const std::vector<size_t>& unit) {
    const GraphNode& n = graph_.nodes[k];
    if (n.op == &accumulate_op) return;  // its parts were put as they came
    if (n.op->view) return view(k);
    if (n.kernel >= 0) {
      if (k == unit[0]) fused(n.kernel);
      return;
    }
    if (n.op->kind == Kind::concat && concat_in_place(n)) return concat(k);
    if (n.op == &full_op && only_kernels_read(k)) return;
    if (fold_into_sum(k)) return;
    call(k, graph_.id_of(k), false);
  }

  // What a second join wants of a kernel's result, the kernel writes there as well.
  void fused(int32_t number) {
    Fused& kernel = plan_->kernels[static_cast<size_t>(number)];
    std::vector<Id> out = kernel.out;
    for (size_t k = 0; k < kernel.out.size(); ++k) {
      std::erase_if(waiting_[graph_.node_of(kernel.out[k])], [&](const Sum& sum) {
        const GraphNode& join = graph_.nodes[sum.node];
        const Place place = place_of(graph_.list_of(join), sum.part);
        if (!tiled_[sum.node] || graph_.in(join)[sum.part] != kernel.out[k] || !passes().place) return false;
        open(sum, place);
        const PlannedValue whole = value(graph_.id_of(sum.node));
        PlannedValue part = value(kernel.out[k]);
        part.strides = whole.strides;
        part.root = whole.root;
        part.offset = whole.offset + place.begin * whole.strides[static_cast<size_t>(place.axis)] *
                                         static_cast<int64_t>(size_of(part.dtype));
        out.push_back(new_value(part));
        kernel.program.outputs.push_back(kernel.program.outputs[k]);
        return true;
      });
    }
    emit({.what = Do::fused, .kernel = number}, kernel.in, out);
  }

  // ---- Products ----

  // Which right sides several products read, and whether they are worth packing.
  void find_weights() {
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      const GraphNode& n = graph_.nodes[k];
      Product p;
      if (!describe(k, graph_.id_of(k), p) || !packable(p)) continue;
      Weight& w = weights_[{graph_.in(n)[1], n.i[1] != 0, p.precision}];
      w.uses += graph_.repeats;
      w.rows = std::max(w.rows, p.m);
    }
  }

  bool describe(size_t k, Id out, Product& p) {
    const GraphNode& n = graph_.nodes[k];
    return is_product(n) && plan::describe(n, value(graph_.in(n)[0]), value(graph_.in(n)[1]), value(out), p);
  }

  bool product(size_t k, Id out, bool add) {
    const GraphNode& n = graph_.nodes[k];
    Product p;
    if (!describe(k, out, p)) return false;
    std::vector<Id> in(graph_.in(n).begin(), graph_.in(n).end());
    if (packable(p)) {
      const auto at = weights_.find({in[1], n.i[1] != 0, p.precision});
      if (at != weights_.end() &&
          worth_packing(at->second.rows, p.n, p.k, n.i[1] != 0, at->second.uses, p.precision)) {
        in.push_back(pack(at->second, in[1], p));
        p.packed = at->second.packed;
      }
    }
    plan_->products.push_back(p);
    emit({.what = Do::product,
          .add = add,
          .node = static_cast<int32_t>(k),
          .kernel = static_cast<int32_t>(plan_->products.size() - 1)},
         in, {out});
    return true;
  }

  struct Weight {
    int64_t uses = 0, rows = 0;
    int32_t packed = -1;
    Id value = -1;
  };

  // The packed copy, made before its first use.
  Id pack(Weight& w, Id from, const Product& p) {
    if (w.packed >= 0) return w.value;
    w.packed = static_cast<int32_t>(plan_->packed.size());
    static std::byte elsewhere;
    const bool one_row = w.rows == 1 && p.precision == Precision::f32;
    plan_->packed.push_back(one_row ? PackedMatrix::for_one_row(p.k, p.n, &elsewhere)
                                    : PackedMatrix(p.k, p.n, p.precision, &elsewhere));
    const auto floats = static_cast<int64_t>((plan_->packed.back().size() + 3) / sizeof(float));
    w.value = new_contiguous(DType::f32, {floats}, Home::scratch);
    plan_->products.push_back(p);
    emit({.what = Do::pack, .kernel = static_cast<int32_t>(plan_->products.size() - 1)}, {from}, {w.value});
    plan_->products.back().packed = w.packed;
    return w.value;
  }

  void call(size_t k, Id out, bool add) {
    if (product(k, out, add)) return;
    const GraphNode& n = graph_.nodes[k];
    std::vector<Id> in(graph_.in(n).begin(), graph_.in(n).end());
    if (n.op->kind != Kind::pointwise && !n.op->strided) {
      for (Id& id : in) id = contiguous_copy(id);
    }
    emit({.what = Do::call, .add = add, .node = static_cast<int32_t>(k)}, in, {out});
  }

  bool concat_in_place(const GraphNode& n) const {
    const auto first = layout_.placed.begin() + n.first_in, last = first + n.inputs;
    return std::find(first, last, true) != last;
  }

  // The parts that do not lie at their places yet.
  void concat(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    Place place{Place::At::slice, n.i[0], 0};
    for (uint32_t p = 0; p < n.inputs; ++p) {
      const Id part = graph_.in(n)[p];
      if (!layout_.placed[n.first_in + p] && graph_.shape(part).numel() > 0) {
        emit({.what = Do::put, .node = static_cast<int32_t>(k), .place = place}, {part}, {graph_.id_of(k)});
      }
      place.begin += graph_.shape(part)[static_cast<int>(n.i[0])];
    }
  }

  bool only_kernels_read(size_t k) {
    if (full_read_.empty()) {
      full_read_.assign(graph_.nodes.size(), false);
      for (const GraphNode& n : graph_.nodes) {
        if (n.kernel >= 0) continue;
        for (Id id : graph_.in(n)) {
          if (graph_.is_node(id)) full_read_[graph_.node_of(id)] = true;
        }
      }
    }
    return !graph_.nodes[k].stays && !full_read_[k];
  }

  void view(size_t k) {
    const int64_t shift = layout_.copied[k];
    if (shift < 0) return;
    const Id from = graph_.in(graph_.nodes[k])[0];
    PlannedValue copy = value(graph_.id_of(k));
    copy.shape = graph_.shape(from);
    copy.strides = row_major(copy.shape);
    copy.offset -= shift;
    emit({.what = Do::copy}, {from}, {new_value(copy)});
  }

  void prepare_kernels() {
    plan_->prepared.resize(plan_->kernels.size());
    std::vector<PointwiseOutput> out;
    for (const Step& step : plan_->steps) {
      if (step.what != Do::fused) continue;
      const Array* operands = plan_->arrays.data() + step.first;
      out.clear();
      for (uint32_t k = 0; k < step.outputs; ++k) out.push_back({operands[step.inputs + k], false});
      const Fused& kernel = plan_->kernels[static_cast<size_t>(step.kernel)];
      plan_->prepared[static_cast<size_t>(step.kernel)].prepare(kernel.program, {operands, step.inputs},
                                                                kernel.space, out);
    }
  }

  // ---- What stays ----

  // Memory that outlives the run belongs to its values; a value that is a small part of much is copied.
  void keep_results() {
    std::vector<int64_t> kept(plan_->roots.size(), 0);
    std::vector<bool> counted(plan_->values.size(), false);
    for (const Result& r : graph_.results) {
      if (counted[static_cast<size_t>(r.id)]) continue;
      counted[static_cast<size_t>(r.id)] = true;
      const PlannedValue& v = value(r.id);
      kept[static_cast<size_t>(v.root)] += v.shape.numel() * static_cast<int64_t>(size_of(v.dtype));
    }
    std::vector<Id> copy_of(plan_->values.size(), -1);
    for (Result r : graph_.results) {
      const PlannedValue v = value(r.id);
      Root& root = plan_->roots[static_cast<size_t>(v.root)];
      if (root.home == Home::scratch) {
        if (2 * kept[static_cast<size_t>(v.root)] >= root.bytes) {
          root.home = Home::own;
        } else {
          Id& copy = copy_of[static_cast<size_t>(r.id)];
          if (copy < 0) {
            copy = new_contiguous(v.dtype, v.shape, Home::own);
            emit({.what = Do::copy}, {r.id}, {copy});
          }
          r.id = copy;
        }
      }
      plan_->results.push_back(r);
    }
  }

  const Graph& graph_;
  Layout layout_;
  std::unique_ptr<Plan> plan_;
  std::vector<uint32_t> readers_;
  std::map<std::tuple<Id, bool, Precision>, Weight>
      weights_;                            // by the right side, whether it is read transposed, in what
  std::vector<std::vector<Sum>> waiting_;  // by the node whose value is the part
  std::vector<Sum> early_;                 // parts that are leaves
  std::vector<bool> tiled_, opened_, full_read_;
  size_t folded_ = SIZE_MAX;
};

}  // namespace

std::unique_ptr<Plan> lower(const Graph& graph) { return Lowering(graph).run(); }

}  // namespace reel::plan
