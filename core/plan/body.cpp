// The body of a template, read from what a function recorded.
#include <bit>
#include <utility>

#include "core/plan/graph.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

void clear(Body& body) {
  body.graph.leaves.clear();
  body.graph.nodes.clear();
  body.graph.inputs.clear();
  if (!body.graph.list) body.graph.list = std::make_shared<std::vector<int64_t>>();
  body.graph.list->clear();
  body.floats.clear();
  body.outputs.clear();
  body.requires_grad.clear();
  body.leaf_grads.clear();
}

// Numbers the leaves and nodes of a body that is being read.
class Numbers {
 public:
  Numbers(std::span<Node* const> nodes, std::vector<Node*>& leaves) : nodes_(nodes), leaves_(leaves) {
    leaves_.clear();
    for (size_t k = 0; k < nodes.size(); ++k) nodes[k]->index = static_cast<int32_t>(k);
  }
  bool own(const Node* n) const { return is(nodes_, n); }
  bool leaf(const Node* n) const { return is(leaves_, n); }
  void add_leaf(Node* n) {
    n->index = static_cast<int32_t>(leaves_.size());
    leaves_.push_back(n);
  }
  // When all leaves are known.
  Id id_of(const Node* n) const { return n->index + (own(n) ? static_cast<Id>(leaves_.size()) : 0); }

 private:
  static bool is(std::span<Node* const> in, const Node* n) {
    return n->index >= 0 && static_cast<size_t>(n->index) < in.size() &&
           in[static_cast<size_t>(n->index)] == n;
  }
  std::span<Node* const> nodes_;
  std::vector<Node*>& leaves_;
};

}  // namespace

Id add_call(Body& body, const Node& call, std::span<const Id> in, bool requires_grad) {
  GraphNode node{.op = call.op, .i = call.attrs.i, .dtype = call.dtype, .shape = call.shape};
  if (call.attrs.f != Floats{}) {
    node.floats = static_cast<int32_t>(body.floats.size());
    body.floats.push_back(call.attrs.f);
  }
  body.requires_grad.push_back(requires_grad);
  return body.graph.add(node, in,
                        call.list ? std::span<const int64_t>(*call.list) : std::span<const int64_t>());
}

bool read_body(std::span<Node* const> nodes, const Tensors& arguments, const Tensors& outputs, Body& body,
               std::vector<Node*>& leaves) {
  clear(body);
  if (outputs.empty()) return false;
  for (const Tensor& y : outputs) {
    if (y.dim() != 2 || y.size(0) != outputs[0].size(0) || y.size(1) == 0 || y.dtype() != outputs[0].dtype())
      return false;
  }
  Numbers numbers(nodes, leaves);
  const auto add_leaf = [&](Node* n) {
    numbers.add_leaf(n);
    body.graph.leaves.push_back({n->dtype, n->shape, n->value ? n->value->strides : row_major(n->shape)});
    body.leaf_grads.push_back(n->requires_grad);
  };
  for (const Tensor& x : arguments) add_leaf(x.node());
  body.arguments = arguments.size();
  // What is read and was not recorded here was captured; its number comes after the arguments'.
  for (const Node* n : nodes) {
    if (n->op->kind == Kind::source && n->op != &full_op) return false;  // each call draws its own
    if (n->op->body) return false;
    for (uint32_t k = 0; k < n->inputs; ++k) {
      if (!numbers.own(n->in[k]) && !numbers.leaf(n->in[k])) add_leaf(n->in[k]);
    }
  }
  static thread_local std::vector<Id> in;
  for (const Node* n : nodes) {
    in.clear();
    for (uint32_t k = 0; k < n->inputs; ++k) in.push_back(numbers.id_of(n->in[k]));
    add_call(body, *n, in, n->requires_grad);
  }
  for (const Tensor& y : outputs) {
    if (!numbers.own(y.node())) return false;  // an input handed through
    body.outputs.push_back(numbers.id_of(y.node()));
  }
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
  words.clear();
  words.insert(words.end(), {body.arguments, graph.leaves.size(), graph.nodes.size()});
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
  const KeepGradMode mode(tape);
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
  return values;
}

}  // namespace reel::plan
