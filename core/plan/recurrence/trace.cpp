// Records a recurrence's body, asks its gradient rules, and reads off what the gradient is made of.
#include "core/plan/recurrence/gradient.h"

#include <algorithm>
#include <unordered_map>

#include "core/grad.h"
#include "core/plan/grouping.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

using Gradient = Recurrence::Gradient;
using From = Gradient::From;

// Records the body and its gradient, and reads off what the gradient is made of.
class Tracing {
 public:
  Tracing(const Recurrence& r, const Gradient::Key& key)
      : r_(r), tape_(Tape::current()), mode_(tape_), aside_(tape_), gradient_(new Gradient) {
    gradient_->key = key;
  }

  std::unique_ptr<Gradient> run() {
    record_forward();
    record_gradient();
    read();
    if (!missing.empty() || !early.empty()) return std::move(gradient_);
    cut();
    return std::move(gradient_);
  }

  std::vector<Id> missing;  // of the body: read by the gradient, and no output
  // What the gradient makes of the forward pass's values alone, and would read less of than of these: better
  // made by the forward pass. Inputs are the body's.
  struct Early {
    GraphNode node;
    Floats floats;
    std::vector<Id> in;
  };
  std::vector<Early> early;

 private:
  const Graph& graph() const { return r_.body.graph; }

  Tensor placeholder(DType dtype, const Shape& shape) { return Tensor(tape_.placeholder(dtype, shape)); }

  void record_forward() {
    tape_.grad_enabled = true;
    for (size_t k = 0; k < graph().leaves.size(); ++k) {
      const Leaf& leaf = graph().leaves[k];
      values_.push_back(placeholder(leaf.dtype, leaf.shape));
      const bool read = k >= r_.rows && k < r_.body.arguments;
      if (is_float(leaf.dtype) && (read || gradient_->key.needs[k < r_.rows ? k : k - r_.reads])) {
        extra_.push_back(values_.back());
        extra_.back().node()->requires_grad = true;
        values_.back() = record(alias_op, {values_.back()});
      }
      from_[values_.back().node()] = read          ? From{From::given, k - r_.rows}
                                     : k < r_.rows ? From{From::row, k}
                                                   : From{From::shared, k - r_.body.arguments};
    }
    Grouping grouping(r_.body);
    grouping.find_ways();
    values_ = written_out(r_.body, std::move(values_));
    for (size_t k = 0; k < graph().nodes.size(); ++k) {
      shared_.push_back(grouping.way(k) == Way::constant);
      const Id id = graph().id_of(k);
      forward_[values_[static_cast<size_t>(id)].node()] = id;
    }
    tape_.grad_enabled = false;
    for (size_t j = r_.own; j < r_.body.outputs.size(); ++j) read_columns(r_.body.outputs[j]);
  }

  // What is kept as columns of one value is read from there.
  void read_columns(Id kept) {
    if (graph().node(kept).op != &concat_op) return;
    int64_t column = 0;
    for (Id part : graph().in(graph().node(kept))) {
      const int64_t end = column + graph().shape(part)[1];
      columns_.push_back(slice(values_[static_cast<size_t>(kept)], 1, column, end));
      column_[values_[static_cast<size_t>(part)].node()] = columns_.back().node();
      column = end;
    }
  }
  const Node* seen(const Node* n) const {
    const auto at = column_.find(n);
    return at == column_.end() ? n : at->second;
  }
  bool is_column(const Node* n) const {
    return std::any_of(columns_.begin(), columns_.end(), [&](const Tensor& c) { return c.node() == n; });
  }

  void record_gradient() {
    tape_.grad_enabled = false;
    Tensors outputs, cotangents;
    for (size_t j = 0; j < r_.own; ++j) {
      const Tensor& y = values_[static_cast<size_t>(r_.body.outputs[j])];
      std::vector<Contribution> parts;
      const auto add = [&](From from) {
        extra_.push_back(placeholder(y.dtype(), y.shape()));
        from_[extra_.back().node()] = from;
        parts.push_back({extra_.back(), {}, {}});
      };
      if (gradient_->key.given[j]) add({From::cotangent, j});
      for (int64_t s = 0; s < gradient_->key.readers[j]; ++s) add({From::reader, j, static_cast<size_t>(s)});
      if (parts.empty()) continue;
      outputs.push_back(y);
      // What comes from other levels alone is a value of its own, so that what runs over all rows can read
      // it.
      const bool as_it_is = parts.size() == 1 && gradient_->key.given[j];
      cotangents.push_back(as_it_is ? parts[0].value : accumulate(parts, y.shape(), y.dtype()));
    }
    const Tensors leaves(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(graph().leaves.size()));
    sums_ = gradients_within(outputs, cotangents, leaves);
    for (size_t k = r_.rows; k < r_.body.arguments; ++k) {
      // What the levels hand on is made by them, even where it is handed through.
      if (sums_[k].defined() && from_.contains(sums_[k].node()))
        sums_[k] = accumulate({{sums_[k], {}, {}}}, sums_[k].shape(), sums_[k].dtype());
    }
  }

  // Values of the forward pass that are not kept but made again: other ways to read one, what all rows share,
  // and (recompute) what is made of an output that is there anyway, element by element.
  bool again(const Node* n, Id id) const {
    return n->op->view || shared_[graph().node_of(id)] || n->dtype != r_.dtype() ||
           (passes().recompute && of_an_output(id));
  }
  bool of_an_output(Id id) const {
    const GraphNode& n = graph().node(id);
    const auto own = r_.body.outputs.begin() + static_cast<ptrdiff_t>(r_.own);
    return n.op->kind == Kind::pointwise && n.inputs == 1 &&
           std::find(r_.body.outputs.begin(), own, id) == own &&
           std::find(r_.body.outputs.begin(), own, graph().in(n)[0]) != own;
  }

  // A node of the gradient that the forward pass has made as well is that one.
  void find_twins(const std::vector<Node*>& nodes) {
    const std::vector<std::pair<const Node*, Id>> made(forward_.begin(), forward_.end());
    for (const Node* n : nodes) {
      if (forward_.contains(n) || from_.contains(n) || n->op->view || n->list) continue;
      const auto twin = std::find_if(made.begin(), made.end(), [&](const auto& m) {
        const Node& other = *m.first;
        return other.op == n->op && other.shape == n->shape && other.attrs.i == n->attrs.i &&
               other.attrs.f == n->attrs.f && other.inputs == n->inputs &&
               std::equal(n->in, n->in + n->inputs, other.in);
      });
      if (twin != made.end()) forward_[n] = twin->second;
    }
  }

  // Whether the forward pass should make a node of the gradient: it needs values of that pass alone, a pass
  // over them for a smaller result.
  bool better_early(const Node* n) const {
    if (n->op->view || n->op->kind == Kind::pointwise || !n->op->row_by_row || n->list) return false;
    int64_t read = 0;
    for (uint32_t k = 0; k < n->inputs; ++k) {
      if (!forward_.contains(n->in[k])) return false;
      read += n->in[k]->shape.numel();
    }
    return n->shape.numel() < read && n->dtype == r_.dtype();
  }

  void note_early(const Node* n) {
    Early e{{.op = n->op, .i = n->attrs.i, .dtype = n->dtype, .shape = n->shape}, n->attrs.f, {}};
    for (uint32_t k = 0; k < n->inputs; ++k) e.in.push_back(forward_.at(n->in[k]));
    early.push_back(std::move(e));
  }

  void read() {
    std::vector<Node*> nodes;
    for (Node* n : tape_.pending()) {
      if (n) nodes.push_back(n);
    }
    find_twins(nodes);
    std::unordered_map<const Node*, bool> needed;
    for (const Tensor& sum : sums_) {
      if (sum.defined()) needed[seen(sum.node())] = true;
    }
    std::vector<std::pair<Node*, From>> leaves;
    const auto leaf = [&](Node* n, From from) {
      if (std::none_of(leaves.begin(), leaves.end(), [&](const auto& l) { return l.first == n; }))
        leaves.emplace_back(n, from);
    };
    const auto kept = [&](const Node* n) {
      const auto at = forward_.find(n);
      return at != forward_.end() && !again(n, at->second);
    };
    std::vector<Node*> made;
    for (size_t k = nodes.size(); k-- > 0;) {
      Node* n = nodes[k];
      if (!needed.contains(n) || kept(n) || from_.contains(n) || is_column(n)) continue;
      if (better_early(n)) {
        note_early(n);
        continue;
      }
      made.push_back(n);
      for (uint32_t i = 0; i < n->inputs; ++i) needed[seen(n->in[i])] = true;
    }
    for (const Tensor& column : columns_) {  // which anything may read
      if (!needed.contains(column.node())) continue;
      made.push_back(column.node());
      needed[column.node()->in[0]] = true;
    }
    std::reverse(made.begin(), made.end());
    for (const auto& [n, from] : from_) {
      if (needed.contains(n)) leaf(const_cast<Node*>(n), from);
    }
    for (Node* n : nodes) {
      if (!needed.contains(n) || !kept(n)) continue;
      const Id id = forward_.at(n);
      const auto at = std::find(r_.body.outputs.begin(), r_.body.outputs.end(), id);
      if (at == r_.body.outputs.end()) missing.push_back(id);
      leaf(n, {From::kept, static_cast<size_t>(at - r_.body.outputs.begin())});
    }
    if (!missing.empty() || !early.empty()) return;
    std::sort(leaves.begin(), leaves.end(), [](const auto& a, const auto& b) {
      return std::tuple(a.second.what, a.second.index, a.second.slot) <
             std::tuple(b.second.what, b.second.index, b.second.slot);
    });
    fill(leaves, made);
  }

  // A call in the gradient's body; equal ones are one (a gate's two products have the same cotangent).
  Id made_of(const Node* n, std::span<const Id> in) {
    Body& body = gradient_->body;
    const auto list = n->list ? std::span<const int64_t>(*n->list) : std::span<const int64_t>();
    const auto floats_of = [&](const GraphNode& g) {
      return g.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(g.floats)];
    };
    for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
      const GraphNode& known = body.graph.nodes[k];
      if (known.op == n->op && known.i == n->attrs.i && known.dtype == n->dtype && known.shape == n->shape &&
          floats_of(known) == n->attrs.f && std::ranges::equal(body.graph.in(known), in) &&
          std::ranges::equal(body.graph.list_of(known), list))
        return body.graph.id_of(k);
    }
    return add_call(body, *n, in, false);
  }

  void fill(const std::vector<std::pair<Node*, From>>& leaves, const std::vector<Node*>& made) {
    Body& body = gradient_->body;
    std::unordered_map<const Node*, Id> id_of;
    for (const auto& [n, from] : leaves) {
      id_of[n] = static_cast<Id>(body.graph.leaves.size());
      body.graph.leaves.push_back({n->dtype, n->shape, row_major(n->shape)});
      body.leaf_grads.push_back(false);
      body.arguments += from.what != From::shared;
      gradient_->leaves.push_back(from);
    }
    std::vector<Id> in;
    for (const Node* n : made) {
      in.clear();
      for (uint32_t k = 0; k < n->inputs; ++k) in.push_back(id_of.at(seen(n->in[k])));
      id_of[n] = made_of(n, in);
    }
    for (size_t k = 0; k < graph().leaves.size(); ++k) {
      auto& of = k < r_.rows             ? gradient_->of_rows
                 : k < r_.body.arguments ? gradient_->of_reads
                                         : gradient_->of_shared;
      of.push_back(sums_[k].defined() ? id_of.at(seen(sums_[k].node())) : -1);
    }
  }

  void cut() {
    std::vector<Argument> arguments;
    for (size_t k = 0; k < gradient_->body.arguments; ++k) {
      const From::What what = gradient_->leaves[k].what;
      arguments.push_back(what == From::reader  ? Argument::read
                          : what == From::given ? Argument::given
                                                : Argument::row);
    }
    std::vector<Id> states, wanted;
    for (Id id : gradient_->of_reads) {
      if (id >= 0) states.push_back(id);
    }
    for (const auto* of : {&gradient_->of_rows, &gradient_->of_shared}) {
      for (Id id : *of) {
        if (id >= 0) wanted.push_back(id);
      }
    }
    if (states.empty()) return;
    gradient_->split = split(gradient_->body, arguments, states, wanted, true);
    if (!gradient_->split) return;
    const Split& s = *gradient_->split;
    Body inner = inner_body(gradient_->body, s);
    const bool one_type = std::all_of(inner.outputs.begin(), inner.outputs.end(), [&](Id id) {
      return inner.graph.dtype(id) == inner.graph.dtype(inner.outputs[0]);
    });
    if (one_type)
      gradient_->inner = intern(std::move(inner), s.rows.size(), s.reads.size(), s.outputs.size());
  }

  const Recurrence& r_;
  Tape& tape_;
  const KeepGradMode mode_;
  const Tape::Aside aside_;
  std::unique_ptr<Gradient> gradient_;
  Tensors values_, extra_, sums_;
  std::vector<bool> shared_;                       // of the body's nodes
  std::unordered_map<const Node*, From> from_;     // placeholders
  std::unordered_map<const Node*, Id> forward_;    // what the forward pass made
  Tensors columns_;                                // of what is kept
  std::unordered_map<const Node*, Node*> column_;  // .. that hold what the forward pass made
};

// Of what is kept, the first values that together are as wide as an input become one, which can then lie
// where that input lies.
void join_columns(const Recurrence& plain, Body& body) {
  const auto columns = [&](Id id) {
    const Shape& shape = body.graph.shape(id);
    return shape.rank() == 2 ? shape[1] : 0;
  };
  const auto first = body.outputs.begin() + static_cast<ptrdiff_t>(plain.own);
  for (size_t k = 0; k < plain.rows; ++k) {
    int64_t width = 0;
    auto end = first;
    while (end != body.outputs.end() && columns(*end) > 0 && width < columns(static_cast<Id>(k)))
      width += columns(*end++);
    if (end - first < 2 || width != columns(static_cast<Id>(k))) continue;
    const std::vector<Id> parts(first, end);
    GraphNode all{.op = &concat_op, .i = {1}, .dtype = body.graph.dtype(parts[0])};
    all.shape = {body.graph.shape(parts[0])[0], width};
    body.outputs.erase(first, end);
    body.outputs.insert(body.outputs.begin() + static_cast<ptrdiff_t>(plain.own), body.graph.add(all, parts));
    body.requires_grad.push_back(false);
    return;
  }
}

}  // namespace

const Gradient& gradient_of(const Recurrence& r, const Gradient::Key& key) {
  for (const auto& g : r.gradients) {
    if (g->key == key) return *g;
  }
  r.gradients.push_back(Tracing(r, key).run());
  return *r.gradients.back();
}

const Recurrence* with_kept(const Recurrence& plain) {
  auto& kept = plain.kept[passes().recompute ? 0 : 1];
  if (kept) return *kept;
  kept = nullptr;
  Gradient::Key key{std::vector<bool>(plain.own, true), std::vector<int64_t>(plain.own, 1), {}};
  for (size_t k = 0; k < plain.body.graph.leaves.size(); ++k) {
    if (k < plain.rows || k >= plain.body.arguments) key.needs.push_back(plain.body.leaf_grads[k]);
  }
  const Recurrence* r = &plain;
  Tracing first(plain, key);
  std::unique_ptr<Gradient> gradient = first.run();
  if (!first.missing.empty() || !first.early.empty()) {
    Body body = plain.body;
    body.words.clear();
    body.outputs.insert(body.outputs.end(), first.missing.begin(), first.missing.end());
    for (Tracing::Early& e : first.early) {
      e.node.floats = static_cast<int32_t>(body.floats.size());
      body.floats.push_back(e.floats);
      e.node.shape[0] = body.graph.shape(e.in[0])[0];
      body.outputs.push_back(body.graph.add(e.node, e.in));
      body.requires_grad.push_back(false);
    }
    join_columns(plain, body);
    identify(body);
    r = intern(std::move(body), plain.rows, plain.reads, plain.own);
    if (!r) return nullptr;
    gradient = Tracing(*r, key).run();
  }
  if (gradient->inner) kept = r;
  return *kept;
}

}  // namespace reel::plan
