#include "core/plan/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/environment.h"
#include "core/plan/plan.h"
#include "core/plan/run.h"

namespace reel::plan::verify {

namespace {

Array array_of(const Node* node, const Value& value) {
  return {value.buffer.data() + value.offset * static_cast<int64_t>(size_of(node->dtype)), node->dtype,
          node->shape, value.strides};
}

std::vector<double> numbers(const Array& in) {
  std::vector<double> out(static_cast<size_t>(in.shape.numel()));
  copy(in, {reinterpret_cast<std::byte*>(out.data()), DType::f64, in.shape, row_major(in.shape)});
  return out;
}

double largest_of(const std::vector<double>& x) {
  double largest = 0;
  for (double v : x) {
    if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
  }
  return largest;
}

double tolerance(DType dtype) { return dtype == DType::f64 ? 1e-9 : dtype == DType::f32 ? 1e-3 : 0; }

// All that the node needs, in tape order, itself last.
std::vector<size_t> needed_by(const Graph& graph, Id last) {
  std::vector<bool> needed(graph.nodes.size());
  needed[graph.node_of(last)] = true;
  std::vector<size_t> out;
  for (size_t k = graph.nodes.size(); k-- > 0;) {
    if (!needed[k]) continue;
    out.push_back(k);
    for (Id id : graph.in(graph.nodes[k])) {
      if (graph.is_node(id)) needed[graph.node_of(id)] = true;
    }
  }
  std::reverse(out.begin(), out.end());
  return out;
}

// The columns of other calls' values that a template's call reads, in place of those.
std::vector<Value> columns_read(const Node& node, std::vector<const Value*>& in) {
  std::vector<Value> columns;
  columns.reserve(in.size());
  for (size_t p = 0; p < in.size(); ++p) {
    const size_t output = output_read(node, p);
    if (output == 0) continue;
    columns.push_back(*in[p]);
    columns.back().offset += node.in[p]->output_begin(output - 1) * columns.back().strides[1];
    in[p] = &columns.back();
  }
  return columns;
}

// A template's call by its body, one node at a time, whose outputs lie side by side.
Value compute_call(const Node& call, std::span<const Value* const> in) {
  const Body& body = *call.op->body;
  const size_t leaves = body.graph.leaves.size();
  std::vector<Node> nodes(leaves + body.graph.nodes.size());
  std::vector<Value> made(nodes.size());
  for (size_t k = 0; k < leaves; ++k) {
    nodes[k].dtype = call.in[k]->dtype;
    nodes[k].shape = body.graph.leaves[k].shape;
    made[k] = *in[k];
  }
  std::vector<Node*> inputs;
  std::vector<const Value*> values;
  for (size_t k = leaves; k < nodes.size(); ++k) {
    const GraphNode& n = body.graph.nodes[k - leaves];
    inputs.clear();
    values.clear();
    for (Id id : body.graph.in(n)) {
      inputs.push_back(&nodes[static_cast<size_t>(id)]);
      values.push_back(&made[static_cast<size_t>(id)]);
    }
    nodes[k].op = n.op;
    nodes[k].in = inputs.data();
    nodes[k].inputs = n.inputs;
    nodes[k].dtype = n.dtype;
    nodes[k].shape = n.shape;
    nodes[k].attrs = {n.i, n.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(n.floats)]};
    const auto list = body.graph.list_of(n);
    if (!list.empty()) nodes[k].list = std::make_unique<std::vector<int64_t>>(list.begin(), list.end());
    made[k] = compute_alone(nodes[k], values);
  }
  const Value all{Buffer(static_cast<size_t>(call.shape.numel()) * size_of(call.dtype)), 0,
                  row_major(call.shape)};
  std::byte* to = all.buffer.data();
  const size_t row = static_cast<size_t>(call.shape[1]) * size_of(call.dtype);
  for (Id id : body.outputs) {
    const Array from = array_of(&nodes[static_cast<size_t>(id)], made[static_cast<size_t>(id)]);
    const size_t bytes = static_cast<size_t>(from.shape[1]) * size_of(call.dtype);
    std::vector<std::byte> dense(static_cast<size_t>(from.shape[0]) * bytes);
    copy(from, {dense.data(), from.dtype, from.shape, row_major(from.shape)});
    for (size_t r = 0; r < static_cast<size_t>(from.shape[0]); ++r)
      std::memcpy(to + r * row, dense.data() + r * bytes, bytes);
    to += bytes;
  }
  return all;
}

}  // namespace

bool& on() {
  static thread_local bool on = switched_on("REEL_VERIFY");
  return on;
}

std::string name_of(const Node* node) {
  return fmt::format("[{}] of {} {}{}", node->op ? node->op->name : "leaf", reel::name_of(node->dtype),
                     node->shape, at(node->where));
}

const Value* OneByOne::value_of(const Node* node) const {
  if (node->state == State::ready) return node->value.get();
  const auto found = values_.find(node);
  return found == values_.end() ? nullptr : &found->second;
}

void OneByOne::compute(const std::vector<Node*>& nodes) {
  std::vector<const Value*> in;
  for (const Node* node : nodes) {
    in.clear();
    for (uint32_t k = 0; k < node->inputs; ++k) in.push_back(value_of(node->in[k]));
    if (std::find(in.begin(), in.end(), nullptr) != in.end()) continue;
    const std::vector<Value> columns = columns_read(*node, in);
    try {
      values_[node] = node->op->body ? compute_call(*node, in) : compute_alone(*node, in);
    } catch (const Error&) {  // the plan will meet the same
    }
  }
}

// What rounding is relative to: the largest element, or what it is a small difference of.
double OneByOne::scale_of(const Node* node) const {
  double scale = largest_of(numbers(array_of(node, *value_of(node))));
  for (uint32_t k = 0; k < node->inputs; ++k) {
    scale = std::max(scale, 1e-2 * largest_of(numbers(array_of(node->in[k], *value_of(node->in[k])))));
  }
  return scale;
}

std::string OneByOne::difference(const Node* node, const Value& value) const {
  const Value* right = value_of(node);
  if (!right) return {};
  const std::vector<double> want = numbers(array_of(node, *right)), got = numbers(array_of(node, value));
  const double bound = tolerance(node->dtype) * scale_of(node);
  for (size_t i = 0; i < want.size(); ++i) {
    if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) continue;
    if (std::fabs(got[i] - want[i]) <= bound) continue;
    return fmt::format("element {} is {:.9g}, want {:.9g} as computed one node at a time", i, got[i],
                       want[i]);
  }
  return {};
}

void OneByOne::check(const Node* node, const Value& value, const std::string& whose) const {
  const std::string wrong = difference(node, value);
  if (!wrong.empty()) fail("REEL_VERIFY: the plan computes {} wrongly: {}", whose, wrong);
}

void check(const Pending& now, const std::vector<Result>& results, const std::vector<Value>& values,
           const OneByOne& expected) {
  for (size_t r = 0; r < results.size(); ++r) {
    const Node* node = now.nodes[static_cast<size_t>(results[r].pending)];
    if (expected.difference(node, values[r]).empty()) continue;
    Graph graph = graph_of(now);
    for (size_t k : needed_by(graph, graph.id_of(static_cast<size_t>(results[r].pending)))) {
      for (GraphNode& n : graph.nodes) n.stays = false;
      graph.nodes[k].stays = true;
      graph.results = {{static_cast<int32_t>(k), graph.id_of(k)}};
      const auto alone = run(*make_plan(graph), {now.leaves, now.nodes, now.floats});
      expected.check(now.nodes[k], alone[0], name_of(now.nodes[k]));
    }
    expected.check(node, values[r], name_of(node));
  }
}

}  // namespace reel::plan::verify
