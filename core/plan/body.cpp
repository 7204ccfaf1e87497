// The body of a template, read from what a function recorded.
#include <bit>
#include <unordered_map>

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
  // The structure in words: equal words, equal body.
  auto& words = body.words;
  words = {body.arguments, body.graph.leaves.size(), nodes.size()};
  const auto shape_words = [&](const Shape& shape) {
    words.push_back(static_cast<uint64_t>(shape.rank()));
    for (int64_t d : shape) words.push_back(static_cast<uint64_t>(d));
  };
  for (const Leaf& leaf : body.graph.leaves) {
    words.push_back(static_cast<uint64_t>(leaf.dtype));
    shape_words(leaf.shape);
  }
  for (size_t k = 0; k < nodes.size(); ++k) {
    const GraphNode& n = body.graph.nodes[k];
    words.push_back(reinterpret_cast<uintptr_t>(n.op));
    words.push_back(static_cast<uint64_t>(n.dtype) << 1 | static_cast<uint64_t>(nodes[k]->requires_grad));
    for (int64_t i : n.i) words.push_back(static_cast<uint64_t>(i));
    for (double f : nodes[k]->attrs.f) words.push_back(std::bit_cast<uint64_t>(f));
    shape_words(n.shape);
    words.push_back(n.inputs);
    for (Id id : body.graph.in(n)) words.push_back(static_cast<uint64_t>(id));
    words.push_back(n.list_size);
    for (int64_t i : body.graph.list_of(n)) words.push_back(static_cast<uint64_t>(i));
    body.requires_grad.push_back(nodes[k]->requires_grad);
  }
  for (Id id : body.outputs) words.push_back(static_cast<uint64_t>(id));
  return true;
}

}  // namespace reel::plan
