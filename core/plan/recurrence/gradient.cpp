// The gradient of a recurrence is a recurrence: the body's gradient rules are asked once, for rows whose
// number is left open, and its levels run backwards. Gradients of what all rows share are sums over all rows,
// made once at the end.
#include "core/plan/recurrence/gradient.h"

#include <algorithm>
#include <unordered_map>

#include "core/grad.h"
#include "core/plan/grouping.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

constexpr int64_t kRows = 977;  // of the traced body: no other axis is likely to be so long

using Gradient = Recurrence::Gradient;
using From = Gradient::From;

// Records the body and its gradient, and reads off what the gradient is made of.
class Tracing {
 public:
  Tracing(const Recurrence& r, const Gradient::Key& key)
      : r_(r), tape_(Tape::current()), before_(tape_.grad_enabled), aside_(tape_), gradient_(new Gradient) {
    gradient_->key = key;
  }
  ~Tracing() { tape_.grad_enabled = before_; }
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

  std::unique_ptr<Gradient> run() {
    record_forward();
    record_gradient();
    read();
    if (!missing.empty()) return std::move(gradient_);
    cut();
    return std::move(gradient_);
  }

  std::vector<Id> missing;  // of the body: read by the gradient, and no output

 private:
  const Graph& graph() const { return r_.body.graph; }

  Tensor placeholder(DType dtype, Shape shape, bool rows) {
    if (rows) shape[0] = kRows;
    return Tensor(tape_.placeholder(dtype, shape));
  }

  void record_forward() {
    tape_.grad_enabled = true;
    for (size_t k = 0; k < graph().leaves.size(); ++k) {
      const Leaf& leaf = graph().leaves[k];
      values_.push_back(placeholder(leaf.dtype, leaf.shape, k < r_.body.arguments));
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
    std::vector<Arg> in;
    for (size_t k = 0; k < graph().nodes.size(); ++k) {
      const GraphNode& n = graph().nodes[k];
      in.clear();
      for (Id id : graph().in(n)) in.emplace_back(values_[static_cast<size_t>(id)]);
      Call call{.attrs = {n.i, n.floats < 0 ? Floats{} : r_.body.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {graph().list_of(n).begin(), graph().list_of(n).end()}};
      shared_.push_back(grouping.way(k) == Way::constant);
      if (!shared_.back()) call.shape[0] = kRows;
      tape_.grad_enabled = r_.body.requires_grad[k];
      values_.push_back(record(*n.op, in, std::move(call)));
      forward_[values_.back().node()] = graph().id_of(k);
    }
  }

  void record_gradient() {
    tape_.grad_enabled = false;
    Tensors outputs, cotangents;
    for (size_t j = 0; j < r_.own; ++j) {
      const Tensor& y = values_[static_cast<size_t>(r_.body.outputs[j])];
      std::vector<Contribution> parts;
      const auto add = [&](From from) {
        extra_.push_back(placeholder(y.dtype(), y.shape(), false));
        from_[extra_.back().node()] = from;
        parts.push_back({extra_.back(), {}, {}});
      };
      if (gradient_->key.given[j]) add({From::cotangent, j});
      for (int64_t s = 0; s < gradient_->key.readers[j]; ++s) add({From::reader, j, static_cast<size_t>(s)});
      if (parts.empty()) continue;
      outputs.push_back(y);
      cotangents.push_back(parts.size() == 1 ? parts[0].value : accumulate(parts, y.shape(), y.dtype()));
    }
    const Tensors leaves(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(graph().leaves.size()));
    sums_ = gradients_within(outputs, cotangents, leaves);
    for (size_t k = r_.rows; k < r_.body.arguments; ++k) {
      // What the levels hand on is made by them, even where it is handed through.
      if (sums_[k].defined() && from_.contains(sums_[k].node()))
        sums_[k] = accumulate({{sums_[k], {}, {}}}, sums_[k].shape(), sums_[k].dtype());
    }
  }

  // Values of the forward pass that are not kept but made again.
  bool again(const Node* n, Id id) const {
    return n->op->view || shared_[graph().node_of(id)] || n->dtype != r_.dtype();
  }

  void read() {
    std::vector<Node*> nodes;
    for (Node* n : tape_.pending()) {
      if (n) nodes.push_back(n);
    }
    std::unordered_map<const Node*, bool> needed;
    for (const Tensor& sum : sums_) {
      if (sum.defined()) needed[sum.node()] = true;
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
      if (!needed.contains(n) || kept(n) || from_.contains(n)) continue;
      made.push_back(n);
      for (uint32_t i = 0; i < n->inputs; ++i) needed[n->in[i]] = true;
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
    if (!missing.empty()) return;
    std::sort(leaves.begin(), leaves.end(), [](const auto& a, const auto& b) {
      return std::tuple(a.second.what, a.second.index, a.second.slot) <
             std::tuple(b.second.what, b.second.index, b.second.slot);
    });
    fill(leaves, made);
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
      GraphNode node{.op = n->op, .i = n->attrs.i, .dtype = n->dtype, .shape = n->shape};
      if (n->attrs.f[0] != 0 || n->attrs.f[1] != 0) {
        node.floats = static_cast<int32_t>(body.floats.size());
        body.floats.push_back(n->attrs.f);
      }
      in.clear();
      for (uint32_t k = 0; k < n->inputs; ++k) in.push_back(id_of.at(n->in[k]));
      id_of[n] =
          body.graph.add(node, in, n->list ? std::span<const int64_t>(*n->list) : std::span<const int64_t>());
      body.requires_grad.push_back(false);
    }
    for (size_t k = 0; k < graph().leaves.size(); ++k) {
      auto& of = k < r_.rows             ? gradient_->of_rows
                 : k < r_.body.arguments ? gradient_->of_reads
                                         : gradient_->of_shared;
      of.push_back(sums_[k].defined() ? id_of.at(sums_[k].node()) : -1);
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
  const bool before_;
  const Tape::Aside aside_;
  std::unique_ptr<Gradient> gradient_;
  Tensors values_, extra_, sums_;
  std::vector<bool> shared_;                     // of the body's nodes
  std::unordered_map<const Node*, From> from_;   // placeholders
  std::unordered_map<const Node*, Id> forward_;  // what the forward pass made
};

const Gradient& gradient_of(const Recurrence& r, const Gradient::Key& key) {
  for (const auto& g : r.gradients) {
    if (g->key == key) return *g;
  }
  r.gradients.push_back(Tracing(r, key).run());
  return *r.gradients.back();
}

}  // namespace

bool Gradient::read_outside(Id id) const {
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
    const auto in = body.graph.in(body.graph.nodes[k]);
    if (split->outside[k] != Split::Outside::no && std::find(in.begin(), in.end(), id) != in.end())
      return true;
  }
  return false;
}

const Recurrence* with_kept(const Recurrence& plain) {
  if (plain.kept) return *plain.kept;
  plain.kept = nullptr;
  Gradient::Key key{std::vector<bool>(plain.own, true), std::vector<int64_t>(plain.own, 1), {}};
  for (size_t k = 0; k < plain.body.graph.leaves.size(); ++k) {
    if (k < plain.rows || k >= plain.body.arguments) key.needs.push_back(plain.body.leaf_grads[k]);
  }
  const Recurrence* r = &plain;
  Tracing first(plain, key);
  std::unique_ptr<Gradient> gradient = first.run();
  if (!first.missing.empty()) {
    Body body = plain.body;
    body.words.clear();
    body.outputs.insert(body.outputs.end(), first.missing.begin(), first.missing.end());
    identify(body);
    r = intern(std::move(body), plain.rows, plain.reads, plain.own);
    if (!r) return nullptr;
    gradient = Tracing(*r, key).run();
  }
  if (gradient->inner) plain.kept = r;
  return *plain.kept;
}

// ---- The gradient of a call ----

namespace {

class Backward {
 public:
  explicit Backward(Vjp& g)
      : g_(g), r_(*g.op().recurrence), schedule_(g.list()), sources_(r_.rows + r_.shared()) {}

  void run() {
    find_cotangents();
    find_readers();
    Gradient::Key key{{}, {}, {}};
    for (size_t j = 0; j < r_.own; ++j) {
      key.given.push_back(cotangents_[j].defined());
      key.readers.push_back(static_cast<int64_t>(readers_[j].size()));
    }
    for (size_t k = 0; k < sources_; ++k) key.needs.push_back(g_.needs(k));
    const Gradient& gradient = gradient_of(r_, key);
    values_.resize(gradient.body.graph.leaves.size() + gradient.body.graph.nodes.size());
    if (!gradient.inner) fail("[recurrence] a gradient that is no recurrence, though one was expected");
    levels(gradient);
    hand_out(gradient);
  }

 private:
  using Run = Schedule::Run;

  Tensor part(size_t output) {
    Shape shape = r_.body.graph.shape(r_.body.outputs[output]);
    shape[0] = schedule_.rows;
    const int64_t begin = r_.offset(output, schedule_.rows);
    return reshaped(slice(g_.y(), 0, begin, begin + shape.numel()), shape);
  }

  // The cotangents of the outputs, which come as slices of the flat result's.
  void find_cotangents() {
    cotangents_.resize(r_.own);
    const Node* sum = g_.dy.node();
    for (size_t j = 0; j < r_.own; ++j) {
      const int64_t begin = r_.offset(j, schedule_.rows), size = r_.width(j) * schedule_.rows;
      Shape shape = r_.body.graph.shape(r_.body.outputs[j]);
      shape[0] = schedule_.rows;
      if (sum->op != &accumulate_op) {
        cotangents_[j] = reshaped(slice(g_.dy, 0, begin, begin + size), shape);
        continue;
      }
      for (uint32_t p = 0; p < sum->inputs; ++p) {
        if (place_of(*sum->list, p).begin != begin || sum->in[p]->shape.numel() != size) continue;
        Node* value = sum->in[p];
        cotangents_[j] = value->op == &reshape_op && value->in[0]->shape == shape
                             ? Tensor(value->in[0])
                             : reshaped(Tensor(value), shape);
      }
    }
  }

  // For each row of an output, which rows read it: as many lists as one row has readers at most.
  void find_readers() {
    readers_.resize(r_.own);
    for (size_t j = 0; j < r_.own; ++j) {
      std::vector<Run> all;  // `source`: the read
      for (size_t p = 0; p < r_.reads; ++p) {
        for (const Run& run : schedule_.reads[p]) {
          if (run.source == static_cast<int64_t>(j))
            all.push_back({run.from, static_cast<int64_t>(p), run.to, run.count});
        }
      }
      std::sort(all.begin(), all.end(), [](const Run& a, const Run& b) {
        return std::tuple(a.to, a.source) < std::tuple(b.to, b.source);
      });
      for (const Run& run : all) {
        auto& slots = readers_[j];
        auto slot = std::find_if(slots.begin(), slots.end(), [&](const auto& runs) {
          return runs.back().to + runs.back().count <= run.to;
        });
        if (slot == slots.end()) slot = slots.insert(slot, std::vector<Run>());
        slot->push_back(run);
      }
    }
  }

  // What read p holds, as one matrix.
  Tensor given(size_t p) {
    const auto& runs = schedule_.reads[p];
    std::vector<Arg> in;
    Tensors parts;
    for (const Run& run : runs) {
      if (runs.size() > 4) break;
      parts.push_back(run.source == Schedule::kNothing
                          ? full(rows_like(p, run.count), 0, r_.dtype())
                          : slice(source(run.source), 0, run.from, run.from + run.count));
    }
    if (parts.size() == 1) return parts[0];
    for (const Tensor& part : parts) in.emplace_back(part);
    if (!parts.empty()) return record(concat_op, in, {.attrs = {.i = {0}, .f = {}}, .shape = {}, .list = {}});
    std::vector<int64_t> list, known;
    for (const Run& run : runs) {
      const auto at = std::find(known.begin(), known.end(), run.source);
      list.insert(list.end(), {at - known.begin(), run.from, run.count});
      if (at != known.end()) continue;
      known.push_back(run.source);
      parts.push_back(run.source == Schedule::kNothing ? full(rows_like(p, schedule_.rows), 0, r_.dtype())
                                                       : source(run.source));
    }
    for (const Tensor& part : parts) in.emplace_back(part);
    return record(pick_rows_op, in,
                  {.attrs = {},
                   .shape = rows_like(p, schedule_.rows),
                   .dtype = parts[0].dtype(),
                   .list = std::move(list)});
  }
  Shape rows_like(size_t read, int64_t rows) const {
    Shape shape = r_.body.graph.leaves[r_.rows + read].shape;
    shape[0] = rows;
    return shape;
  }

  // What a read of the forward pass reads from.
  Tensor source(int64_t number) {
    const auto outputs = static_cast<int64_t>(r_.body.outputs.size());
    return number < outputs ? part(static_cast<size_t>(number))
                            : g_.x(sources_ + static_cast<size_t>(number - outputs));
  }

  Tensor value_of(const Gradient& gradient, const From& from, Id id) {
    switch (from.what) {
      case From::row: return g_.x(from.index);
      case From::kept: return part(from.index);
      case From::cotangent: return cotangents_[from.index];
      case From::shared: return g_.x(r_.rows + from.index);
      case From::given: return gradient.read_outside(id) ? given(from.index) : Tensor();
      case From::reader: break;
    }
    return {};
  }

  void levels(const Gradient& gradient) {
    const Body& body = gradient.body;
    const Split& split = *gradient.split;
    const Recurrence& inner = *gradient.inner;
    for (size_t k = 0; k < body.graph.leaves.size(); ++k) {
      values_[k] = value_of(gradient, gradient.leaves[k], static_cast<Id>(k));
    }
    const auto make = [&](size_t k, const Tensors& in) {
      const GraphNode& n = body.graph.nodes[k];
      const auto list = body.graph.list_of(n);
      Call call{.attrs = {n.i, n.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {list.begin(), list.end()}};
      if (call.shape.rank() > 0 && call.shape[0] == kRows) call.shape[0] = schedule_.rows;
      return record(*n.op, std::vector<Arg>(in.begin(), in.end()), std::move(call));
    };
    write(body, split, Split::Outside::before, values_, make);

    Schedule backwards;
    backwards.rows = schedule_.rows;
    backwards.levels.assign(schedule_.levels.rbegin(), schedule_.levels.rend());
    std::vector<Arg> in;
    for (Id id : split.rows) in.emplace_back(values_[static_cast<size_t>(id)]);
    for (Id id : split.shared) in.emplace_back(values_[static_cast<size_t>(id)]);
    std::vector<int64_t> known;  // sources of the forward pass that are sources here
    const auto outputs = static_cast<int64_t>(inner.body.outputs.size());
    Tensors held;
    for (Id id : split.reads) {
      const From& from = gradient.leaves[static_cast<size_t>(id)];
      auto& runs = backwards.reads.emplace_back();
      if (from.what == From::reader) {
        for (const Run& run : readers_[from.index][from.slot]) {
          const Id made = gradient.of_reads[static_cast<size_t>(run.source)];
          const auto at = std::find(split.outputs.begin(), split.outputs.end(), made);
          nothing_until(runs, run.to);
          append(runs, made < 0 ? Run{run.to, Schedule::kNothing, 0, run.count}
                                : Run{run.to, at - split.outputs.begin(), run.from, run.count});
        }
        nothing_until(runs, schedule_.rows);
        continue;
      }
      for (Run run : schedule_.reads[from.index]) {
        if (run.source != Schedule::kNothing) {
          auto at = std::find(known.begin(), known.end(), run.source);
          if (at == known.end()) {
            held.push_back(source(run.source));
            at = known.insert(at, run.source);
          }
          run.source = outputs + (at - known.begin());
        }
        append(runs, run);
      }
    }
    for (const Tensor& t : held) in.emplace_back(t);
    int64_t columns = 0;
    for (size_t j = 0; j < inner.body.outputs.size(); ++j) columns += inner.width(j);
    const Tensor flat = record(inner.op, in,
                               {.attrs = {},
                                .shape = {columns * schedule_.rows},
                                .dtype = inner.dtype(),
                                .list = backwards.words()});
    for (size_t j = 0; j < split.outputs.size(); ++j) {
      Shape shape = body.graph.shape(split.outputs[j]);
      shape[0] = schedule_.rows;
      const int64_t begin = inner.offset(j, schedule_.rows);
      values_[static_cast<size_t>(split.outputs[j])] =
          reshaped(slice(flat, 0, begin, begin + shape.numel()), shape);
    }
    write(body, split, Split::Outside::after, values_, make);
  }

  static void nothing_until(std::vector<Run>& runs, int64_t row) {
    const int64_t from = runs.empty() ? 0 : runs.back().to + runs.back().count;
    if (from < row) append(runs, {from, Schedule::kNothing, 0, row - from});
  }

  void hand_out(const Gradient& gradient) {
    const auto value = [&](Id id) { return id < 0 ? Tensor() : values_[static_cast<size_t>(id)]; };
    for (size_t k = 0; k < r_.rows; ++k) {
      if (g_.needs(k)) g_[k] = value(gradient.of_rows[k]);
    }
    for (size_t k = 0; k < r_.shared(); ++k) {
      if (g_.needs(r_.rows + k)) g_[r_.rows + k] = value(gradient.of_shared[k]);
    }
    const auto outputs = static_cast<int64_t>(r_.body.outputs.size());
    for (size_t k = sources_; k < g_.inputs(); ++k) {
      if (!g_.needs(k)) continue;
      std::vector<Contribution> parts;
      for (size_t p = 0; p < r_.reads; ++p) {
        std::vector<int64_t> list;
        for (const Run& run : schedule_.reads[p]) {
          if (run.source == outputs + static_cast<int64_t>(k - sources_))
            list.insert(list.end(), {run.to, run.from, run.count});
        }
        const Tensor dy = value(gradient.of_reads[p]);
        if (list.empty() || !dy.defined()) continue;
        const Shape& shape = g_.x(k).shape();
        const bool all = list.size() == 3 && list[1] == 0 && list[2] == shape[0];
        parts.push_back({all ? slice(dy, 0, list[0], list[0] + list[2])
                             : record(put_rows_op, {{Arg(dy)}},
                                      {.attrs = {}, .shape = shape, .dtype = dy.dtype(), .list = list}),
                         {},
                         {}});
      }
      if (parts.size() == 1) g_[k] = parts[0].value;
      if (parts.size() > 1) g_[k] = accumulate(parts, g_.x(k).shape(), g_.x(k).dtype());
    }
  }

  Vjp& g_;
  const Recurrence& r_;
  const Schedule schedule_;
  const size_t sources_;                                // the first input that is one
  Tensors cotangents_;                                  // of own outputs, from outside
  std::vector<std::vector<std::vector<Run>>> readers_;  // of own outputs, by slot; `source`: the read
  Tensors values_;                                      // of the gradient's body
};

}  // namespace

void recurrence_vjp(Vjp& g) { Backward(g).run(); }

}  // namespace reel::plan
