// The body of a template, read from what a function recorded.
#include <bit>
#include <unordered_map>
#include <utility>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

bool read_body(const std::vector<Node*>& nodes, const Tensors& arguments, const Tensors& outputs, Body& body,
               std::vector<Node*>& captured) {
  if (outputs.empty()) return false;
  for (const Tensor& y : outputs) {
    if (y.dim() != 2 || y.size(0) != outputs[0].size(0) || y.dtype() != outputs[0].dtype()) return false;
  }
  std::unordered_map<const Node*, Id> id_of;
  for (const Tensor& x : arguments) {
    id_of[x.node()] = static_cast<Id>(body.graph.leaves.size());
    body.graph.leaves.push_back({x.dtype(), x.shape(), row_major(x.shape())});
  }
  body.arguments = arguments.size();
  // What is read and was not recorded here was captured; its number comes after the arguments'.
  std::unordered_map<const Node*, bool> own;
  for (const Node* n : nodes) own[n] = true;
  const auto capture = [&](Node* n) {
    if (own.contains(n) || id_of.contains(n)) return;
    id_of[n] = static_cast<Id>(body.graph.leaves.size());
    const Strides strides = n->value ? n->value->strides : row_major(n->shape);
    body.graph.leaves.push_back({n->dtype, n->shape, strides});
    captured.push_back(n);
  };
  for (const Node* n : nodes) {
    if (n->op->kind == Kind::source && n->op != &full_op) return false;  // each call draws its own
    if (n->op->body) return false;
    for (uint32_t k = 0; k < n->inputs; ++k) capture(n->in[k]);
  }
  std::vector<Id> in;
  for (const Node* n : nodes) {
    in.clear();
    for (uint32_t k = 0; k < n->inputs; ++k) in.push_back(id_of.at(n->in[k]));
    GraphNode node{.op = n->op, .i = n->attrs.i, .dtype = n->dtype, .shape = n->shape};
    if (n->attrs.f[0] != 0 || n->attrs.f[1] != 0) {
      node.floats = static_cast<int32_t>(body.floats.size());
      body.floats.push_back(n->attrs.f);
    }
    id_of[n] =
        body.graph.add(node, in, n->list ? std::span<const int64_t>(*n->list) : std::span<const int64_t>());
  }
  for (const Tensor& y : outputs) {
    const auto at = id_of.find(y.node());
    if (at == id_of.end() || !body.graph.is_node(at->second)) return false;  // an input handed through
    body.outputs.push_back(at->second);
  }
  for (const Tensor& x : arguments) body.leaf_grads.push_back(x.node()->requires_grad);
  for (const Node* n : captured) body.leaf_grads.push_back(n->requires_grad);
  for (const Node* n : nodes) body.requires_grad.push_back(n->requires_grad);
  if (passes().batch) stack(body);
  identify(body);
  return true;
}

void rewrite(Body& body, const std::function<std::optional<Graph>(const Body&)>& pass) {
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) body.graph.nodes[k].cut = !body.requires_grad[k];
  for (Id id : body.outputs) body.graph.results.push_back({-1, id});
  if (std::optional<Graph> rewritten = pass(body)) body.graph = std::move(*rewritten);
  body.outputs.clear();
  for (const Result& r : std::exchange(body.graph.results, {})) body.outputs.push_back(r.id);
  body.requires_grad.clear();
  for (GraphNode& n : body.graph.nodes) {
    body.requires_grad.push_back(!n.cut);
    n.cut = n.stays = false;
  }
}

void identify(Body& body) {
  const Graph& graph = body.graph;
  auto& words = body.words;
  words = {body.arguments, graph.leaves.size(), graph.nodes.size()};
  const auto shape_words = [&](const Shape& shape) {
    words.push_back(static_cast<uint64_t>(shape.rank()));
    for (int64_t d : shape) words.push_back(static_cast<uint64_t>(d));
  };
  for (size_t k = 0; k < graph.leaves.size(); ++k) {
    words.push_back(static_cast<uint64_t>(graph.leaves[k].dtype) << 1 |
                    static_cast<uint64_t>(body.leaf_grads[k]));
    shape_words(graph.leaves[k].shape);
  }
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    const GraphNode& n = graph.nodes[k];
    words.push_back(reinterpret_cast<uintptr_t>(n.op));
    words.push_back(static_cast<uint64_t>(n.dtype) << 1 | static_cast<uint64_t>(body.requires_grad[k]));
    for (int64_t i : n.i) words.push_back(static_cast<uint64_t>(i));
    for (double f : n.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(n.floats)]) {
      words.push_back(std::bit_cast<uint64_t>(f));
    }
    shape_words(n.shape);
    words.push_back(n.inputs);
    for (Id id : graph.in(n)) words.push_back(static_cast<uint64_t>(id));
    words.push_back(n.list_size);
    for (int64_t i : graph.list_of(n)) words.push_back(static_cast<uint64_t>(i));
  }
  for (Id id : body.outputs) words.push_back(static_cast<uint64_t>(id));
}

Tensors written_out(const Body& body, Tensors values) {
  Tape& tape = Tape::current();
  const bool before = tape.grad_enabled;
  std::vector<Arg> in;
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
    const GraphNode& n = body.graph.nodes[k];
    const auto list = body.graph.list_of(n);
    in.clear();
    for (Id id : body.graph.in(n)) in.emplace_back(values[static_cast<size_t>(id)]);
    tape.grad_enabled = body.requires_grad[k];
    values.push_back(
        record(*n.op, in,
               {.attrs = {n.i, n.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {list.begin(), list.end()}}));
  }
  tape.grad_enabled = before;
  return values;
}

}  // namespace reel::plan
