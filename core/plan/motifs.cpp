// Finding motifs (core/motif.h): what a cell written op by op does at each step (rounds.h), as a stretch of
// the tape.
#include <algorithm>
#include <optional>
#include <utility>

#include "core/motif.h"
#include "core/plan/plan.h"
#include "core/plan/rounds.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

class Finder {
 public:
  // A graph as it was read from the tape, which has the nodes in the same order.
  Finder(Tape& tape, const Graph& graph)
      : tape_(tape),
        graph_(graph),
        readers_(graph.readers()),
        read_inside_(graph.nodes.size(), 0),
        step_(graph.nodes.size(), -1) {}

  // Whether there was one.
  bool find(const Rounds& rounds) {
    std::vector<uint64_t> known;
    bool any = false;
    for (size_t k = 0; k < rounds.size(); ++k) {
      const uint64_t products = rounds.products_of(k);
      if (std::ranges::find(known, products) != known.end()) continue;
      known.push_back(products);
      std::optional<Motif> motif = motif_of(rounds, usual_one(rounds, k));
      if (!motif) continue;
      tape_.add_motif(std::move(*motif));
      any = true;
    }
    return any;
  }

 private:
  // ---- From where to where ----

  bool is_private(size_t k) const {
    return readers_[k] > 0 && read_inside_[k] == readers_[k] && tape_.pending()[k]->handles == 0;
  }
  void count(size_t k, int times) {
    for (Id id : graph_.in(graph_.nodes[k])) {
      if (graph_.is_node(id)) read_inside_[graph_.node_of(id)] += static_cast<uint32_t>(times);
    }
  }
  // The round as far as the next one of its kind, and what is made between its calls and before them for it
  // alone. False where much else lies between them.
  bool find_stretch(const Rounds& rounds, size_t round) {
    for (uint32_t k : members_) {
      count(k, -1);
      step_[k] = -1;
    }
    members_.clear();
    std::span<const uint32_t> nodes = rounds.nodes(round);
    const uint32_t first = nodes.front(), end = next_of_its_kind(rounds, round);
    if (end <= first) return false;  // they lie mixed
    while (nodes.back() >= end) nodes = nodes.first(nodes.size() - 1);
    size_t others = 0;
    for (uint32_t k = nodes.back() + 1; k-- > 0;) {
      const bool mine = rounds.of(k) == static_cast<int32_t>(round);
      const bool may_be = rounds.of(k) < 0 || k > first;
      if (mine || (may_be && is_private(k) &&
                   (rounds.is_constant(graph_.id_of(k)) || rounds.works_on_rows(k, rounds.rows(round))))) {
        count(k, 1);
        members_.push_back(k);
      } else if (k < first || ++others > Motif::kMostBetween) {
        break;
      }
    }
    std::ranges::reverse(members_);
    for (size_t k = 0; k < members_.size(); ++k) step_[members_[k]] = static_cast<int32_t>(k);
    return others <= Motif::kMostBetween;
  }
  uint32_t next_of_its_kind(const Rounds& rounds, size_t round) const {
    for (size_t next = round + 1; next < rounds.size(); ++next) {
      if (rounds.products_of(next) == rounds.products_of(round)) return rounds.nodes(next).front();
    }
    return static_cast<uint32_t>(graph_.nodes.size());
  }

  // Of the rounds that multiply with the same weights one that has as much to itself as most, and the least
  // before it: others come after something else that is made for them alone, as a leaf is for a tree's node.
  size_t usual_one(const Rounds& rounds, size_t like) {
    constexpr size_t kLooks = 32;
    struct Look {
      size_t own, before, round, as_much;
    };
    std::vector<Look> looks;
    for (size_t k = 0; k < rounds.size() && looks.size() < kLooks; ++k) {
      const size_t round = (k + rounds.size() / 2) % rounds.size();
      if (rounds.products_of(round) != rounds.products_of(like) || !find_stretch(rounds, round)) continue;
      const auto own = std::ranges::lower_bound(members_, rounds.nodes(round).front());
      looks.push_back(
          {static_cast<size_t>(members_.end() - own), static_cast<size_t>(own - members_.begin()), round, 0});
    }
    for (Look& l : looks) l.as_much = static_cast<size_t>(std::ranges::count(looks, l.own, &Look::own));
    const auto best = std::ranges::max_element(looks, [](const Look& a, const Look& b) {
      return a.as_much != b.as_much ? a.as_much < b.as_much : a.before > b.before;
    });
    return best == looks.end() ? like : best->round;
  }

  // ---- What it does ----

  std::optional<Motif> motif_of(const Rounds& rounds, size_t round) {
    if (!find_stretch(rounds, round) || members_.size() < limits_.steps) return {};
    Motif motif;
    std::vector<Node*> arguments, captured;
    const std::vector<const Node*> shared = shared_by_calls(rounds);
    const auto number = [](std::vector<Node*>& known, Node* n) {
      const auto at = std::ranges::find(known, n) - known.begin();
      if (at == std::ssize(known)) known.push_back(n);
      return static_cast<uint32_t>(at);
    };
    for (uint32_t k : members_) {
      const Node* n = tape_.pending()[k];
      if (n->list || n->op->body) return {};
      motif.steps.push_back({.op = n->op,
                             .attrs = n->attrs,
                             .shape = n->shape,
                             .dtype = n->dtype,
                             .requires_grad = n->requires_grad,
                             .first = static_cast<uint32_t>(motif.inputs.size()),
                             .inputs = n->inputs,
                             .readers = read_inside_[k]});
      for (uint32_t p = 0; p < n->inputs; ++p) {
        Node* in = n->in[p];
        const Id id = graph_.in(graph_.nodes[k])[p];
        if (graph_.is_node(id) && step_[graph_.node_of(id)] >= 0) {
          motif.inputs.push_back({Motif::From::inside, static_cast<uint32_t>(step_[graph_.node_of(id)])});
        } else if (std::ranges::find(shared, in) != shared.end()) {
          motif.inputs.push_back({Motif::From::captured, number(captured, in)});
        } else if (in->shape.rank() == 2 && in->shape[0] == rounds.rows(round) && is_float(in->dtype)) {
          motif.inputs.push_back({Motif::From::argument, number(arguments, in)});
        } else {
          return {};
        }
      }
    }
    motif.arguments = arguments.size();
    for (Motif::Input& in : motif.inputs) {
      if (in.from == Motif::From::captured) in.number += static_cast<uint32_t>(arguments.size());
    }
    for (const auto* nodes : {&arguments, &captured}) {
      for (const Node* n : *nodes) motif.outside.push_back({n->dtype, n->shape});
    }
    if (!find_outputs(motif) || !make_template(motif, arguments)) return {};
    return motif;
  }
  // What some step reads as all calls do, and so the others too.
  std::vector<const Node*> shared_by_calls(const Rounds& rounds) const {
    std::vector<const Node*> shared;
    for (uint32_t k : members_) {
      const GraphNode& n = graph_.nodes[k];
      for (size_t p = 0; p < n.inputs; ++p) {
        if (rounds.is_captured(n, p)) shared.push_back(tape_.pending()[k]->in[p]);
      }
    }
    return shared;
  }

  // What is read from outside, wherever the tape has it. False where that is not often.
  bool find_outputs(Motif& motif) const {
    motif.call = motif.steps.size() - 1;
    return often(motif, [&](const Occurrence& found) {
      for (size_t k = 0; k < motif.steps.size(); ++k) {
        if (found.needed(k)) motif.steps[k].output = 0;
      }
    });
  }
  template <class See>
  bool often(const Motif& motif, const See& see) const {
    Occurrence found;
    size_t times = 0;
    for (size_t at = 0; at < graph_.nodes.size();) {
      if (found.find(motif, tape_.pending(), at) < Occurrence::Fit::held) {
        ++at;
        continue;
      }
      ++times;
      at = found.end();
      see(found);
    }
    return times >= limits_.times;
  }

  bool make_template(Motif& motif, const std::vector<Node*>& arguments) const {
    Tensors in, out;
    for (Node* n : arguments) in.emplace_back(n);
    size_t first_output = motif.steps.size();
    bool requires_grad = false;
    std::vector<Node*> nodes;
    for (uint32_t k : members_) nodes.push_back(tape_.pending()[k]);
    for (size_t k = 0; k < nodes.size(); ++k) {
      Motif::Step& step = motif.steps[k];
      if (step.output < 0) continue;
      step.output = static_cast<int32_t>(out.size());
      out.emplace_back(nodes[k]);
      requires_grad = requires_grad || step.requires_grad;
      first_output = std::min(first_output, k);
    }
    const size_t left = out.size() == 1 ? 1 : 1 + out.size();  // the call, and a node for each output
    if (out.size() > Node::kMostOutputs || left >= nodes.size()) return false;
    // The call comes before its outputs; an only one is the call itself.
    motif.call = out.size() == 1 ? first_output : first_output - 1;
    while (motif.call < motif.steps.size() && motif.steps[motif.call].requires_grad != requires_grad)
      --motif.call;
    if (motif.call >= motif.steps.size() || !often(motif, [](const Occurrence&) {})) return false;
    static thread_local Body body;
    std::vector<Node*> leaves;
    if (!read_body(nodes, in, out, body, leaves)) return false;
    for (size_t k = 0; k < body.arguments; ++k) body.leaf_grads[k] = true;  // as one of the calls may ask
    identify(body);
    if (!Grouping(body).works_by_rows(body)) return false;
    motif.shape = {out[0].size(0), 0};
    for (Id id : body.outputs) motif.shape[1] += body.graph.shape(id)[1];
    motif.op = found_template(body);
    return motif.op != nullptr;
  }

  Tape& tape_;
  const Graph& graph_;
  const MotifLimits& limits_ = motif_limits();
  std::vector<uint32_t> readers_, read_inside_;  // of nodes
  std::vector<int32_t> step_;                    // of nodes: which of the stretch's; -1: none
  std::vector<uint32_t> members_;                // of the stretch
};

}  // namespace

MotifLimits& motif_limits() {
  static thread_local MotifLimits limits;
  return limits;
}

bool fold_motifs(Tape& tape, const Pending& now, std::vector<Node*>& pending, bool fixed) {
  const MotifLimits& limits = motif_limits();
  if (!passes().find_cells() || now.nodes.size() < limits.pending) return false;
  const auto is_product = [](const Node* n) { return n->op->kind == Kind::matmul; };
  if (static_cast<size_t>(std::ranges::count_if(now.nodes, is_product)) < limits.times) return false;
  static thread_local uint64_t wait = 0, next_wait = 1;
  wait = std::min(wait, limits.patience);
  if (wait > 0) {
    --wait;
    return false;
  }
  static thread_local Graph graph;
  read_graph(now, graph);
  tape.restore_pending(std::exchange(pending, {}));
  bool any = false;
  for (const bool repeated : {false, true}) {
    Rounds rounds(graph, fixed);
    any = any || (rounds.find(repeated) && Finder(tape, graph).find(rounds));
  }
  pending = tape.take_pending();
  if (pending.size() < now.nodes.size()) {
    next_wait = 1;
    return true;
  }
  wait = next_wait = std::min(2 * next_wait, limits.patience);
  // Reading a template's body has numbered some anew.
  for (size_t k = 0; k < now.leaves.size(); ++k) now.leaves[k]->index = static_cast<int32_t>(k);
  for (size_t k = 0; k < now.nodes.size(); ++k) now.nodes[k]->index = static_cast<int32_t>(k);
  return false;
}

}  // namespace reel::plan
