// fuse: pointwise nodes over one space become one kernel, as late as their first reader allows, so that what
// only a kernel reads is never in memory.
//
// Every node has a time at which it runs. Nodes that are not fused keep their place in the tape's order; a
// kernel runs just before its first reader. Going from readers to what they read, a node joins the kernel of
// a reader where all that the joined kernel reads is there before all that read it.
#include <algorithm>
#include <unordered_map>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr int64_t kUnit = int64_t{1} << 24;  // between two places of the tape's order
constexpr int64_t kBefore = 2;               // a kernel before its first reader; a view comes in between
constexpr size_t kMostNodes = 64, kMostOperands = 48;

class Fusing {
 public:
  explicit Fusing(Graph& graph)
      : graph_(graph), readers_(graph.nodes.size()), group_(graph.nodes.size(), -1) {
    base_.resize(graph.nodes.size());
    looked_at_.resize(graph.nodes.size());
    for (size_t k = 0; k < graph.nodes.size(); ++k) {
      const GraphNode& n = graph.nodes[k];
      base_[k] = is_view(k) && graph.is_node(graph.in(n)[0]) ? base_[graph.node_of(graph.in(n)[0])]
                                                             : static_cast<uint32_t>(k);
      if (n.stays) looked_at_[base_[k]] = true;
      for (Id id : graph.in(n)) {
        if (!graph.is_node(id)) continue;
        const size_t from = graph.node_of(id);
        if (is_view(k)) {
          views_.push_back({static_cast<uint32_t>(from), static_cast<uint32_t>(k)});
        } else {
          readers_[base_[from]].push_back(static_cast<uint32_t>(k));
          if (is_view(from)) readers_[from].push_back(static_cast<uint32_t>(k));
        }
      }
    }
  }

  void run() {
    find_earliest();
    time_.assign(graph_.nodes.size(), 0);
    end_ = static_cast<int64_t>(graph_.nodes.size() + 2) * kUnit;
    for (size_t k = graph_.nodes.size(); k-- > 0;) {
      if (fixed(k)) {
        time_[k] = place(k);
        continue;
      }
      if (is_view(k)) continue;  // read where its base is read
      int64_t first = end_;
      for (uint32_t r : readers_[k]) first = std::min(first, time_of(r));
      time_[k] = first - kBefore;
      if (fusable(k)) join(k);
    }
    for (const Group& g : groups_) {
      if (!g.nodes.empty()) write(g);
    }
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (lone(k)) write({{static_cast<uint32_t>(k)}, time_[k]});
    }
    set_order();
  }

 private:
  struct Group {
    std::vector<uint32_t> nodes;  // newest first
    int64_t time = 0;
  };

  static int64_t place(size_t k) { return static_cast<int64_t>(k + 1) * kUnit; }
  bool is_view(size_t k) const { return graph_.nodes[k].op->view != nullptr; }

  // Numbers in one kind of lanes, results that are what the lanes hold.
  bool fusable(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    if (n.op->kind != Kind::pointwise || n.shape.numel() == 0) return false;
    const auto in = graph_.in(n);
    if (n.dtype == DType::f64) {
      return std::all_of(in.begin(), in.end(), [&](Id id) { return graph_.dtype(id) == DType::f64; });
    }
    if (n.dtype != DType::f32 && n.dtype != DType::boolean) return false;
    if (n.dtype == DType::boolean && in.size() == 1 && graph_.dtype(in[0]) != DType::boolean) return false;
    return std::all_of(in.begin(), in.end(), [&](Id id) {
      return graph_.dtype(id) == DType::f32 || graph_.dtype(id) == DType::boolean;
    });
  }
  // Pointwise work that mixes kinds of lanes is a kernel by itself, which is prepared once.
  bool lone(size_t k) const {
    const GraphNode& n = graph_.nodes[k];
    return n.op->kind == Kind::pointwise && !fusable(k) && n.shape.numel() > 0 && graph_.repeats == 1;
  }
  // Views and what can be fused run when somebody reads them; a number is written into the program.
  bool fixed(size_t k) const { return !is_view(k) && !fusable(k) && !is_number(k); }
  bool is_number(size_t k) const { return graph_.nodes[k].op == &full_op; }

  int64_t time_of(size_t k) const {
    return group_[k] < 0 ? time_[k] : groups_[static_cast<size_t>(group_[k])].time;
  }

  void set_order() {
    std::vector<int64_t>& order = graph_.order;
    order.resize(graph_.nodes.size());
    for (size_t k = 0; k < graph_.nodes.size(); ++k) order[k] = time_of(k);
    for (auto view = views_.rbegin(); view != views_.rend(); ++view) {
      int64_t& time = order[view->second];
      time = end_ - 1;
      for (uint32_t r : readers_[view->second]) time = std::min(time, order[r] - 1);
    }
    // A view of a view is made before it.
    for (auto view = views_.rbegin(); view != views_.rend(); ++view) {
      if (is_view(view->first)) order[view->first] = std::min(order[view->first], order[view->second]);
    }
  }

  // The earliest time a node could run at, were nothing fused.
  void find_earliest() {
    earliest_.assign(graph_.nodes.size(), 0);
    for (size_t k = 0; k < graph_.nodes.size(); ++k) {
      if (fixed(k)) {
        earliest_[k] = place(k);
        continue;
      }
      for (Id id : graph_.in(graph_.nodes[k])) {
        if (!graph_.is_node(id)) continue;
        earliest_[k] = std::max(earliest_[k], earliest_[graph_.node_of(id)] + (is_view(k) ? 0 : 2 * kBefore));
      }
    }
  }

  // Puts k into the kernels of its readers over the same space, of all of them or of the first one.
  void join(size_t k) {
    const GraphNode& n = graph_.nodes[k];
    std::vector<int32_t> candidates;
    for (uint32_t r : readers_[k]) {
      if (group_[r] < 0 || !(graph_.nodes[r].shape == n.shape) ||
          (graph_.nodes[r].dtype == DType::f64) != (n.dtype == DType::f64))
        continue;
      if (std::find(candidates.begin(), candidates.end(), group_[r]) == candidates.end()) {
        candidates.push_back(group_[r]);
      }
    }
    std::sort(candidates.begin(), candidates.end(), [&](int32_t a, int32_t b) {
      return groups_[static_cast<size_t>(a)].time < groups_[static_cast<size_t>(b)].time;
    });
    while (candidates.size() > 1 && !merge(k, candidates)) candidates.pop_back();
    if (candidates.size() == 1 && merge(k, candidates)) return;
    if (group_[k] >= 0) return;
    group_[k] = static_cast<int32_t>(groups_.size());
    groups_.push_back({{static_cast<uint32_t>(k)}, time_[k]});
  }

  // One kernel of k and these kernels, if there is a time at which it can run.
  bool merge(size_t k, const std::vector<int32_t>& with) {
    if (with.empty()) return false;
    std::vector<uint32_t> nodes;
    for (int32_t g : with) {
      const auto& more = groups_[static_cast<size_t>(g)].nodes;
      nodes.insert(nodes.end(), more.begin(), more.end());
    }
    nodes.push_back(static_cast<uint32_t>(k));
    if (nodes.size() > kMostNodes) return false;
    std::sort(nodes.rbegin(), nodes.rend());
    const auto inside = [&](size_t m) { return std::binary_search(nodes.rbegin(), nodes.rend(), m); };
    int64_t latest = end_, ready = 0;
    operands_.clear();
    for (uint32_t m : nodes) {
      bool written = looked_at_[m];
      for (uint32_t r : readers_[m]) {
        if (inside(r)) continue;
        written = true;
        latest = std::min(latest, time_of(r));
      }
      if (written) operands_.push_back(-1 - static_cast<Id>(m));
      for (Id id : graph_.in(graph_.nodes[m])) {
        if (!graph_.is_node(id)) {
          operands_.push_back(id);
          continue;
        }
        const size_t from = graph_.node_of(id), base = base_[from];
        if (is_number(from)) continue;  // part of the program, wherever it was recorded
        if (from == base && inside(base)) continue;
        if (inside(base)) return false;  // a view of what the kernel itself would write
        operands_.push_back(id);
        // What this sweep has not met yet can still be moved, up to its earliest time.
        ready = std::max(ready, base > k ? time_of(base) : earliest_[base]);
      }
    }
    if (ready > latest - 3 * kBefore) return false;
    std::sort(operands_.begin(), operands_.end());
    operands_.erase(std::unique(operands_.begin(), operands_.end()), operands_.end());
    if (operands_.size() > kMostOperands) return false;
    const int32_t into = with[0];
    for (uint32_t m : nodes) group_[m] = into;
    for (int32_t g : with) {
      if (g != into) groups_[static_cast<size_t>(g)].nodes.clear();
    }
    groups_[static_cast<size_t>(into)] = {std::move(nodes), latest - kBefore};
    return true;
  }

  // The group as a program.
  void write(const Group& group) {
    const auto number = static_cast<int32_t>(graph_.kernels.size());
    Fused kernel;
    std::vector<uint32_t> nodes(group.nodes.rbegin(), group.nodes.rend());
    kernel.space = graph_.nodes[nodes[0]].shape;
    std::unordered_map<Id, uint16_t> operand;
    for (uint32_t m : nodes) graph_.nodes[m].kernel = number;
    for (uint32_t m : nodes) {
      for (Id id : graph_.in(graph_.nodes[m])) {
        if (in_kernel(id, number) || number_node(id) || operand.contains(id)) continue;
        operand.emplace(id, static_cast<uint16_t>(kernel.in.size()));
        kernel.in.push_back(id);
      }
    }
    kernel.program.inputs = static_cast<uint16_t>(kernel.in.size());
    for (uint32_t m : nodes) {
      operand[graph_.id_of(m)] = append(kernel, graph_.nodes[m], operand);
      const bool written =
          looked_at_[m] || std::any_of(readers_[m].begin(), readers_[m].end(),
                                       [&](uint32_t r) { return graph_.nodes[r].kernel != number; });
      const bool last = m == nodes.back() && kernel.out.empty();  // dead ends, where prune is off
      if (!written && !last) continue;
      kernel.out.push_back(graph_.id_of(m));
      kernel.program.outputs.push_back(operand[graph_.id_of(m)]);
    }
    graph_.kernels.push_back(std::move(kernel));
  }

  bool in_kernel(Id id, int32_t number) const {
    return graph_.is_node(id) && graph_.node(id).kernel == number;
  }
  bool number_node(Id id) const { return graph_.is_node(id) && is_number(graph_.node_of(id)); }

  // The node's own program at the end of the kernel's; returns its result's operand.
  uint16_t append(Fused& kernel, const GraphNode& n, std::unordered_map<Id, uint16_t>& operand) {
    const auto in = graph_.in(n);
    lanes::Program& to = kernel.program;
    std::vector<uint16_t> now;
    for (Id id : in) {
      if (number_node(id) && !operand.contains(id)) {
        operand[id] =
            emit(to, {.code = lanes::Code::scalar, .scalar = scalar(kernel, graph_.node(id).floats, 0)});
      }
      now.push_back(operand.at(id));
    }
    for (lanes::Instruction ins : n.op->program.code) {
      const int arity = lanes::arity(ins.code);
      if (arity > 0) ins.a = now[ins.a];
      if (arity > 1) ins.b = now[ins.b];
      if (arity > 2) ins.c = now[ins.c];
      if (ins.code == lanes::Code::scalar) {
        ins.scalar = scalar(kernel, n.floats, static_cast<uint8_t>(ins.scalar));
      }
      now.push_back(emit(to, ins));
    }
    return now.back();
  }

  static uint16_t emit(lanes::Program& to, const lanes::Instruction& ins) {
    to.code.push_back(ins);
    return static_cast<uint16_t>(to.inputs + to.code.size() - 1);
  }

  static uint16_t scalar(Fused& kernel, int32_t floats, uint8_t which) {
    const std::pair<int32_t, uint8_t> wanted{floats, which};
    const auto at = std::find(kernel.scalars.begin(), kernel.scalars.end(), wanted);
    if (at == kernel.scalars.end()) kernel.scalars.push_back(wanted);
    return static_cast<uint16_t>(std::find(kernel.scalars.begin(), kernel.scalars.end(), wanted) -
                                 kernel.scalars.begin());
  }

  Graph& graph_;
  std::vector<std::vector<uint32_t>> readers_;
  std::vector<int32_t> group_;
  std::vector<Group> groups_;
  std::vector<int64_t> time_, earliest_;
  int64_t end_ = 0;
  std::vector<uint32_t> base_;                        // what a view looks at, in the end
  std::vector<bool> looked_at_;                       // it, or a view of it, outlives the run
  std::vector<std::pair<uint32_t, uint32_t>> views_;  // (of what, view)
  std::vector<Id> operands_;
};

}  // namespace

void fuse(Graph& graph) { Fusing(graph).run(); }

}  // namespace reel::plan
