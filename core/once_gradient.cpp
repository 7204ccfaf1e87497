// The gradient of a template's call on the recorded way, where rules run over the tape's own nodes (second
// order, a loss that was looked at before backward()). What it does row by row is a call of a template again:
// so the gradient of a recurrence is a recurrence, and can be differentiated like one.
#include <algorithm>
#include <list>
#include <unordered_map>

#include "core/grad.h"
#include "core/hash.h"
#include "core/once.h"
#include "core/plan/grouping.h"
#include "core/structural.h"

namespace reel {

namespace {

using plan::Body;
using plan::Id;
using plan::Way;

constexpr size_t kMostTraced = 1024;

// A cotangent of some columns of a call's result.
struct Part {
  int64_t begin;
  Tensor value;
};

// Whether a sum's terms are all whole, or all columns.
bool has_terms(const Tensor& sum, Place::At at) {
  const Node* n = sum.node();
  if (n->op != &accumulate_op || n->state != State::pending) return false;
  for (uint32_t p = 0; p < n->inputs; ++p) {
    const Place place = place_of(*n->list, p);
    if (place.at != at || (at == Place::At::slice && place.axis != 1) || n->in[p]->dtype != n->dtype)
      return false;
  }
  return n->list->size() == n->inputs * kPlaceWords;
}

// The call's cotangent as its outputs' readers have it, before it was added up: another call's gradient is
// then read as it is.
std::vector<Part> parts_of(const Tensor& dy, const Body& body) {
  std::vector<Part> parts;
  const auto add = [&](int64_t begin, const Tensor& value) {
    if (!has_terms(value, Place::At::whole)) return parts.push_back({begin, value});
    for (uint32_t p = 0; p < value.node()->inputs; ++p) parts.push_back({begin, Tensor(value.node()->in[p])});
  };
  // Of the only output, terms may be any columns; of several, each is all of one.
  const bool columns = body.outputs.size() > 1 && has_terms(dy, Place::At::slice);
  int64_t column = 0;
  for (Id id : body.outputs) {
    const int64_t width = body.graph.shape(id)[1];
    const size_t before = parts.size();
    for (uint32_t p = 0; columns && p < dy.node()->inputs; ++p) {
      if (place_of(*dy.node()->list, p).begin == column && dy.node()->in[p]->shape[1] == width)
        add(column, Tensor(dy.node()->in[p]));
    }
    if (parts.size() == before && width == dy.size(1)) add(column, dy);
    if (parts.size() == before && !columns) parts.push_back({column, slice(dy, 1, column, column + width)});
    column += width;
  }
  return parts;
}

// The gradient of a body for cotangents of these columns, traced once.
struct Traced {
  const Body* body = nullptr;
  std::vector<bool> needs;
  std::vector<std::pair<int64_t, int64_t>> columns;  // of the parts: begin, width
  bool create_graph = false;

  // Leaves are the call's inputs, then the parts; results one for each input, -1 where there is none.
  Body all;
  std::vector<Id> results;
  std::vector<bool> afterwards;  // of nodes: recorded one by one after the call
  const Op* op = nullptr;        // of the call; null where nothing can be one
  bool possible = true;          // false: a rule reads more than the call's inputs and cotangent
  std::vector<Id> in, out;       // of `all`: what the call reads, and what it hands out
  Shape shape;
};

// Records a body's gradient aside, and cuts it in what is a template's and what comes afterwards.
class Tracing {
 public:
  explicit Tracing(Traced& t) : t_(t), tape_(Tape::current()), mode_(tape_), aside_(tape_) {}

  void run() {
    try {
      record();
    } catch (const LooksAtValue&) {
      t_.possible = false;
    }
    t_.possible = t_.possible && read();
    if (t_.possible) cut();
  }

 private:
  const Body& body() const { return *t_.body; }

  Tensor placeholder(DType dtype, const Shape& shape, bool requires_grad) {
    Tensor x(tape_.placeholder(dtype, shape));
    x.node()->requires_grad = requires_grad && is_float(dtype);
    id_of_[x.node()] = static_cast<Id>(t_.all.graph.leaves.size());
    t_.all.graph.leaves.push_back({dtype, shape, row_major(shape)});
    t_.all.leaf_grads.push_back(x.node()->requires_grad);
    held_.push_back(x);
    return x;
  }

  void record() {
    tape_.grad_enabled = true;
    Tensors in;
    for (size_t k = 0; k < body().graph.leaves.size(); ++k) {
      const plan::Leaf& leaf = body().graph.leaves[k];
      const Tensor x = placeholder(leaf.dtype, leaf.shape, t_.needs[k]);
      in.push_back(t_.needs[k] ? reel::record(alias_op, {x}) : x);
      id_of_[in.back().node()] = id_of_[x.node()];
    }
    const Tensors values = plan::written_out(body(), in);
    Tensors out, parts;
    for (Id id : body().outputs) out.push_back(values[static_cast<size_t>(id)]);
    for (const auto& [begin, width] : t_.columns)
      parts.push_back(placeholder(out[0].dtype(), {out[0].size(0), width}, t_.create_graph));
    tape_.grad_enabled = t_.create_graph;
    Tensors outputs, cotangents;
    int64_t column = 0;
    for (const Tensor& y : out) {
      std::vector<Contribution> mine;
      for (size_t p = 0; p < parts.size(); ++p) {
        if (t_.columns[p].first == column) mine.push_back({parts[p], {}, {}});
      }
      column += y.size(1);
      if (mine.empty()) continue;
      outputs.push_back(y);
      cotangents.push_back(mine.size() == 1 ? mine[0].value : accumulate(mine, y.shape(), y.dtype()));
    }
    sums_ = gradients_within(outputs, cotangents, in);
    held_.insert(held_.end(), values.begin(), values.end());
  }

  // What the sums are made of. False where that is not all here.
  bool read() {
    std::unordered_map<const Node*, bool> needed;
    for (const Tensor& sum : sums_) {
      if (sum.defined()) needed[sum.node()] = true;
    }
    std::vector<const Node*> made;
    const auto pending = tape_.pending();
    for (size_t k = pending.size(); k-- > 0;) {
      const Node* n = pending[k];
      if (!n || !needed.contains(n) || id_of_.contains(n)) continue;
      made.push_back(n);
      for (uint32_t i = 0; i < n->inputs; ++i) needed[n->in[i]] = true;
    }
    std::reverse(made.begin(), made.end());
    std::vector<Id> in;
    for (const Node* n : made) {
      in.clear();
      for (uint32_t i = 0; i < n->inputs; ++i) {
        const auto at = id_of_.find(n->in[i]);
        if (at == id_of_.end()) return false;
        in.push_back(at->second);
      }
      id_of_[n] = add_call(t_.all, *n, in, t_.create_graph && n->requires_grad);
    }
    for (const Tensor& sum : sums_) {
      const auto at = sum.defined() ? id_of_.find(sum.node()) : id_of_.end();
      if (sum.defined() && at == id_of_.end()) return false;
      t_.results.push_back(sum.defined() ? at->second : -1);
    }
    return true;
  }

  // Rows, to the template, are the call's arguments and the parts: they come first in a body of its own.
  void cut() {
    const plan::Graph& all = t_.all.graph;
    const size_t arguments = body().arguments, inputs = body().graph.leaves.size();
    std::vector<Id> now(all.leaves.size() + all.nodes.size(), -1);
    Body rows;
    const auto add_leaf = [&](size_t k) {
      now[k] = static_cast<Id>(rows.graph.leaves.size());
      rows.graph.leaves.push_back(all.leaves[k]);
      rows.leaf_grads.push_back(t_.all.leaf_grads[k]);
      t_.in.push_back(static_cast<Id>(k));
    };
    for (size_t k = 0; k < arguments; ++k) add_leaf(k);
    for (size_t k = inputs; k < all.leaves.size(); ++k) add_leaf(k);
    rows.arguments = rows.graph.leaves.size();
    for (size_t k = arguments; k < inputs; ++k) add_leaf(k);
    copy_nodes(rows, now);
    plan::Grouping grouping(rows);
    grouping.find_ways();
    std::vector<Way> way(all.nodes.size());
    for (size_t k = 0; k < all.nodes.size(); ++k)
      way[k] = grouping.way(rows.graph.node_of(now[static_cast<size_t>(all.id_of(k))]));
    find_afterwards(way);
    take(std::move(rows), now, way);
  }
  void copy_nodes(Body& rows, std::vector<Id>& now) const {
    const plan::Graph& all = t_.all.graph;
    rows.floats = t_.all.floats;
    rows.requires_grad = t_.all.requires_grad;
    std::vector<Id> in;
    for (size_t k = 0; k < all.nodes.size(); ++k) {
      in.clear();
      for (Id id : all.in(all.nodes[k])) in.push_back(now[static_cast<size_t>(id)]);
      now[static_cast<size_t>(all.id_of(k))] = rows.graph.add(all.nodes[k], in, all.list_of(all.nodes[k]));
    }
  }

  // What is not made row by row, what is made of that, and of what all calls share as much as those read.
  void find_afterwards(const std::vector<Way>& way) {
    const plan::Graph& all = t_.all.graph;
    t_.afterwards.assign(all.nodes.size(), false);
    for (size_t k = 0; k < all.nodes.size(); ++k) {
      if (way[k] == Way::constant) continue;
      t_.afterwards[k] = way[k] == Way::alone || std::ranges::any_of(all.in(all.nodes[k]), [&](Id id) {
                           return all.is_node(id) && t_.afterwards[all.node_of(id)];
                         });
    }
    const auto mark = [&](Id id) {
      if (all.is_node(id) && way[all.node_of(id)] == Way::constant) t_.afterwards[all.node_of(id)] = true;
    };
    for (Id id : t_.results) {
      if (id >= 0) mark(id);
    }
    for (size_t k = all.nodes.size(); k-- > 0;) {
      if (t_.afterwards[k]) std::ranges::for_each(all.in(all.nodes[k]), mark);
    }
  }

  void take(Body rows, const std::vector<Id>& now, const std::vector<Way>& way) {
    const plan::Graph& all = t_.all.graph;
    std::vector<bool> read(all.nodes.size(), false);
    for (Id id : t_.results) {
      if (id >= 0 && all.is_node(id)) read[all.node_of(id)] = true;
    }
    for (size_t k = 0; k < all.nodes.size(); ++k) {
      if (!t_.afterwards[k]) continue;
      for (Id id : all.in(all.nodes[k])) {
        if (all.is_node(id)) read[all.node_of(id)] = true;
      }
    }
    for (size_t k = 0; k < all.nodes.size(); ++k) {
      if (!read[k] || t_.afterwards[k] || way[k] == Way::constant) continue;
      const plan::GraphNode& n = all.nodes[k];
      const bool matrix = n.shape.rank() == 2 && n.shape[0] == body().graph.shape(body().outputs[0])[0];
      if (!matrix || n.dtype != body().graph.dtype(body().outputs[0])) return nothing_is_rows();
      t_.out.push_back(all.id_of(k));
      rows.outputs.push_back(now[static_cast<size_t>(all.id_of(k))]);
    }
    if (t_.out.empty()) return nothing_is_rows();
    t_.shape = {body().graph.shape(body().outputs[0])[0], 0};
    for (Id id : t_.out) t_.shape[1] += all.shape(id)[1];
    rewrite(rows, [](const Body& b) { return std::optional(plan::prune(b.graph)); });
    if (plan::passes().batch) stack(rows);
    identify(rows);
    t_.op = plan::template_op(rows);
    if (!t_.op) nothing_is_rows();
  }
  void nothing_is_rows() {
    t_.out.clear();
    t_.afterwards.assign(t_.all.graph.nodes.size(), true);
  }

  Traced& t_;
  Tape& tape_;
  const KeepGradMode mode_;
  const Tape::Aside aside_;
  Tensors held_, sums_;
  std::unordered_map<const Node*, Id> id_of_;
};

const Traced& traced(const Vjp& g, const std::vector<Part>& parts) {
  static thread_local auto* all = new Interned<Traced>(kMostTraced);
  Traced t;
  t.body = g.op().body;
  t.create_graph = Tape::current().grad_enabled;
  uint64_t hash = mix(reinterpret_cast<uintptr_t>(t.body), t.create_graph);
  for (size_t k = 0; k < g.inputs(); ++k) {
    t.needs.push_back(g.needs(k));
    hash = mix(hash, g.needs(k));
  }
  for (const Part& part : parts) {
    t.columns.emplace_back(part.begin, part.value.size(1));
    hash = mix(mix(hash, static_cast<uint64_t>(part.begin)), static_cast<uint64_t>(part.value.size(1)));
  }
  const auto same = [&](const Traced& other) {
    return other.body == t.body && other.needs == t.needs && other.columns == t.columns &&
           other.create_graph == t.create_graph;
  };
  if (const Traced* known = all->find(hash, same)) return *known;
  Tracing(t).run();
  if (Traced* kept = all->add(hash)) return *kept = std::move(t);
  static thread_local Traced last;  // read before the next one is traced: its nodes' rules are not asked
  return last = std::move(t);
}

// The values of `all`: what the call gives, then what comes afterwards.
Tensors made(const Traced& t, Tensors values, DType dtype) {
  Tape& tape = Tape::current();
  const plan::Graph& all = t.all.graph;
  if (t.op) {
    TemplateCall next;
    for (Id id : t.in) next.add(values[static_cast<size_t>(id)], {});
    const Tensor call = next.record(*t.op, t.shape, dtype, {});
    for (size_t k = 0; k < t.out.size(); ++k) values[static_cast<size_t>(t.out[k])] = output_of_call(call, k);
  }
  const KeepGradMode mode(tape);
  for (size_t k = 0; k < all.nodes.size(); ++k) {
    if (!t.afterwards[k]) continue;
    const plan::GraphNode& n = all.nodes[k];
    const auto list = all.list_of(n);
    tape.grad_enabled = mode.before() && t.all.requires_grad[k];
    std::vector<Arg> in;
    for (Id id : all.in(n)) in.emplace_back(values[static_cast<size_t>(id)]);
    values[static_cast<size_t>(all.id_of(k))] =
        record(*n.op, in,
               {.attrs = {n.i, n.floats < 0 ? plan::Floats{} : t.all.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {list.begin(), list.end()}});
  }
  return values;
}

// The contribution to input k: to the columns of it that the call reads.
void give(Vjp& g, size_t k, Tensor value) {
  const Tensor::Output read = g.x(k).output();
  if (!read.call) {
    g[k] = std::move(value);
  } else {
    g.slice(k, std::move(value), 1, read.call->output_begin(read.number));
  }
}

// The body recorded over the call's inputs, and differentiated there.
void written_out_vjp(Vjp& g) {
  const Body& body = *g.op().body;
  Tape& tape = Tape::current();
  Tensors in, out, cotangents;
  {
    const KeepGradMode mode(tape);
    tape.grad_enabled = true;
    for (size_t k = 0; k < g.inputs(); ++k) in.push_back(g.needs(k) ? record(alias_op, {g.x(k)}) : g.x(k));
    const Tensors values = plan::written_out(body, in);
    for (Id id : body.outputs) out.push_back(values[static_cast<size_t>(id)]);
  }
  int64_t column = 0;
  for (const Tensor& y : out) {
    cotangents.push_back(slice(g.dy, 1, column, column + y.size(1)));
    column += y.size(1);
  }
  Tensors sums = gradients_within(out, cotangents, in);
  for (size_t k = 0; k < g.inputs(); ++k) {
    if (g.needs(k) && sums[k].defined()) give(g, k, std::move(sums[k]));
  }
}

}  // namespace

void template_vjp(Vjp& g) {
  if (Tape::current().eager) return written_out_vjp(g);
  const std::vector<Part> parts = parts_of(g.dy, *g.op().body);
  const Traced& t = traced(g, parts);
  if (!t.possible) return written_out_vjp(g);
  Tensors values(t.all.graph.leaves.size() + t.all.graph.nodes.size());
  for (size_t k = 0; k < g.inputs(); ++k) values[k] = g.x(k);
  for (size_t p = 0; p < parts.size(); ++p) values[g.inputs() + p] = parts[p].value;
  values = made(t, std::move(values), g.dy.dtype());
  for (size_t k = 0; k < g.inputs(); ++k) {
    if (g.needs(k) && t.results[k] >= 0) give(g, k, values[static_cast<size_t>(t.results[k])]);
  }
}

}  // namespace reel
