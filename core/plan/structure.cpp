// Reads the pending nodes of a tape: which stay, and the words that identify their structure.
#include <bit>

#include "core/plan/plan.h"

namespace reel::plan {

namespace {

bool holds_inputs(const Node* n) { return n->requires_grad && !n->released; }

uint64_t mix(uint64_t h, uint64_t word) {
  h = (h ^ word) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 32);
}

void shape_words(const Shape& shape, std::vector<uint64_t>& words) {
  for (int64_t d : shape) words.push_back(static_cast<uint64_t>(d));
}

void leaf_words(const Node* n, std::vector<uint64_t>& words) {
  const bool plain = is_contiguous(n->shape, n->value->strides);
  words.push_back(uint64_t{1} << 63 | static_cast<uint64_t>(n->dtype) << 8 |
                  static_cast<uint64_t>(n->shape.rank()) << 1 | static_cast<uint64_t>(plain));
  shape_words(n->shape, words);
  if (plain) return;
  for (int i = 0; i < n->shape.rank(); ++i) {
    words.push_back(static_cast<uint64_t>(n->value->strides[static_cast<size_t>(i)]));
  }
}

void node_words(const Node* n, bool stays, std::vector<uint64_t>& words) {
  const Op& op = *n->op;
  const bool integers = op.kind != Kind::source && (n->attrs.i[0] | n->attrs.i[1] | n->attrs.i[2]) != 0;
  words.push_back(std::bit_cast<uint64_t>(n->op));
  // The dtype is not always the inputs': integers divide into the default one.
  words.push_back(static_cast<uint64_t>(n->inputs) << 16 | static_cast<uint64_t>(n->dtype) << 8 |
                  static_cast<uint64_t>(n->list != nullptr) << 3 | static_cast<uint64_t>(integers) << 2 |
                  static_cast<uint64_t>(stays) << 1);
  if (integers) {
    for (int64_t i : n->attrs.i) words.push_back(static_cast<uint64_t>(i));
  }
  if (op.shape_is_argument) {
    words.push_back(static_cast<uint64_t>(n->dtype) << 8 | static_cast<uint64_t>(n->shape.rank()));
    shape_words(n->shape, words);
  }
  if (n->list) {
    words.push_back(n->list->size());
    for (int64_t i : *n->list) words.push_back(static_cast<uint64_t>(i));
  }
}

}  // namespace

void read_structure(const std::vector<Node*>& pending, Pending& out) {
  out.words.clear();
  out.leaves.clear();
  out.nodes.clear();
  for (Node* n : pending) {
    if (!n) continue;
    n->index = static_cast<int64_t>(out.nodes.size());
    out.nodes.push_back(n);
  }
  // A value stays where a handle holds it, or a later call that stays and may still be differentiated.
  out.stays.assign(out.nodes.size(), false);
  for (size_t k = out.nodes.size(); k-- > 0;) {
    const Node* n = out.nodes[k];
    if (n->handles > 0) out.stays[k] = true;
    if (!out.stays[k] || !holds_inputs(n)) continue;
    for (uint32_t i = 0; i < n->inputs; ++i) {
      if (n->in[i]->state == State::pending) out.stays[static_cast<size_t>(n->in[i]->index)] = true;
    }
  }
  for (size_t k = 0; k < out.nodes.size(); ++k) {
    const Node* n = out.nodes[k];
    node_words(n, out.stays[k], out.words);
    for (uint32_t i = 0; i < n->inputs; ++i) {
      Node* input = n->in[i];
      if (input->state == State::pending) {
        out.words.push_back(static_cast<uint64_t>(input->index) << 1);
        continue;
      }
      // A leaf is numbered where it is first met; `index` says which number, if it is one of this run.
      const auto known = static_cast<size_t>(input->index);
      if (input->index < 0 || known >= out.leaves.size() || out.leaves[known] != input) {
        input->index = static_cast<int64_t>(out.leaves.size());
        out.leaves.push_back(input);
        leaf_words(input, out.words);
      }
      out.words.push_back(static_cast<uint64_t>(input->index) << 1 | 1);
    }
  }
  uint64_t h = out.words.size();
  for (uint64_t word : out.words) h = mix(h, word);
  out.hash = h;
}

Graph graph_of(const Pending& pending) {
  Graph graph;
  for (const Node* n : pending.leaves) graph.leaves.push_back({n->dtype, n->shape, n->value->strides});
  graph.nodes.reserve(pending.nodes.size());
  for (size_t k = 0; k < pending.nodes.size(); ++k) {
    const Node* n = pending.nodes[k];
    GraphNode node{.op = n->op,
                   .attrs = n->attrs,
                   .list = {},
                   .in = {},
                   .dtype = n->dtype,
                   .shape = n->shape,
                   .stays = pending.stays[k]};
    if (n->list) node.list = *n->list;
    for (uint32_t i = 0; i < n->inputs; ++i) {
      const Node* input = n->in[i];
      node.in.push_back(input->state == State::pending ? graph.id_of(static_cast<size_t>(input->index))
                                                       : static_cast<Id>(input->index));
    }
    graph.nodes.push_back(std::move(node));
  }
  return graph;
}

}  // namespace reel::plan
