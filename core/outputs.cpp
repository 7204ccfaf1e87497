// The outputs of templates' calls. A handle names the call and the output's number; only where somebody asks
// for a node, or where handles are still there when the call is computed, does the output get one: a column
// of the call's result.
//
// A column that a call knows has a handle of the call's own as long as handles name the output.
#include <algorithm>

#include "core/plan/plan.h"
#include "core/structural.h"
#include "core/tape.h"

namespace reel {

const Shape& Node::output_shape(size_t k) const { return op->body->graph.shape(op->body->outputs[k]); }

int64_t Node::output_begin(size_t k) const {
  int64_t begin = 0;
  for (size_t j = 0; j < k; ++j) begin += output_shape(j)[1];
  return begin;
}

size_t output_of(const Node* node) {
  if (node->op != &slice_op || node->inputs == 0 || node->attrs.i[0] != 1) return Node::kMostOutputs;
  const Node* call = node->in[0];
  for (size_t k = 0; k < call->outputs; ++k) {
    if (call->output_begin(k) == node->attrs.i[1] && call->output_shape(k) == node->shape) return k;
  }
  return Node::kMostOutputs;
}

void Tape::retain_output(Node* call, size_t k) {
  retain(call);
  if (call->named[k]++ > 0) return;
  ++call->tape().named_outputs_;
  if (call->columns && (*call->columns)[k]) retain((*call->columns)[k]);
}

void Tape::release_output(Node* call, size_t k) {
  if (--call->named[k] == 0) {
    --call->tape().named_outputs_;
    Node* node = call->columns ? (*call->columns)[k] : nullptr;
    if (node && node->inputs == 0) (*call->columns)[k] = nullptr;
    if (node) release(node);
  }
  release(call);
}

void Tape::no_longer_column(Node* node) {
  if (node->op != &slice_op || node->inputs == 0 || !node->in[0]->columns) return;
  Node* call = node->in[0];
  const size_t k = output_of(node);
  if (k < call->outputs && call->named[k] == 0 && (*call->columns)[k] == node) (*call->columns)[k] = nullptr;
}

Node* Tape::column(Node* call, size_t k) {
  const int64_t begin = call->output_begin(k);
  Node* node = allocate();
  node->dtype = call->dtype;
  node->shape = call->output_shape(k);
  node->where = call->where;
  const KeepGradMode mode(*this);
  grad_enabled = true;  // the call knows whether it has a gradient
  connect(node, slice_op, {.i = {1, begin, begin + node->shape[1]}, .f = {}}, {&call, 1});
  // It belongs where the call does: before what was recorded aside since then.
  const auto since = std::ranges::find_if(
      asides_, [&](size_t from) { return !pending_.has(call) || pending_.position(call) < from; });
  if (since == asides_.end()) return node;
  pending_.move_up(node, *since);
  std::for_each(since, asides_.end(), [](size_t& from) { ++from; });
  return node;
}

Node* Tape::output(Node* call, size_t k) {
  if (!call->columns) call->columns = std::make_unique<std::array<Node*, Node::kMostOutputs>>();
  Node*& known = (*call->columns)[k];
  if (!known) {
    known = column(call, k);
    retain(known);
  }
  return known;
}

void Tape::name_outputs() {
  if (named_outputs_ == 0) return;
  const size_t count = pending_.size();
  for (size_t at = 0; at < count; ++at) {
    Node* node = pending_.from(0)[at];
    for (size_t k = 0; node && k < node->outputs; ++k) {
      if (node->named[k] > 0) output(node, k);
    }
  }
}

void Tape::read_by_name(Node* column) {
  const size_t k = output_of(column);
  if (k == Node::kMostOutputs) return;
  Node* call = column->in[0];
  for (NodeList* list : {&pending_, &history_}) {
    for (Node* reader : list->from(0)) {
      if (!reader || !reader->op->body) continue;
      for (uint32_t p = 0; p < reader->inputs; ++p) {
        if (reader->in[p] != call || output_read(*reader, p) != k + 1) continue;
        reader->in[p] = column;
        set_output_read(reader->attrs.i, p, 0);
        add_reader(column);
        --call->readers;
      }
    }
    if (list->has(column)) list->move_up(column, list->has(call) ? list->position(call) + 1 : 0);
  }
}

}  // namespace reel
