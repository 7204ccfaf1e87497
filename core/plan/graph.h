// What is pending, as data: a graph that passes rewrite, and the structure that identifies it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tape.h"

namespace reel::plan {

// Values are numbered: 0 .. leaves-1 are leaves, then one for each node. Inputs come before their readers.
using Id = int32_t;

struct Leaf {
  DType dtype;
  Shape shape;
  Strides strides;
};

using Floats = std::array<double, 2>;

struct GraphNode {
  const Op* op = nullptr;
  std::array<int64_t, 3> i{};  // the call's integers (of a source: those of `origin`, when the plan runs)
  int32_t floats = -1;         // which of the run's Floats it reads; -1 where all are 0
  int32_t origin = -1;         // the pending node it comes from: its place in the caller's source
  int32_t kernel = -1;         // the fused kernel that computes it
  DType dtype = DType::f32;
  bool stays = false;  // its value outlives the run
  bool cut =
      false;  // recorded under NoGrad: no gradient passes, where one could; asked before differentiating
  Shape shape = {};
  uint32_t first_in = 0, inputs = 0;
  uint32_t first_list = 0, list_size = 0;
};

// Several pointwise nodes that run as one program over `space`; those of their results that others read are
// written.
struct Fused {
  lanes::Program program;
  Shape space;
  std::vector<Id> in;
  std::vector<Id> out;  // in the order of program.outputs
  std::vector<std::pair<int32_t, uint8_t>>
      scalars;  // (which floats, which of the two), as the program counts
};

// A value that outlives the run, and the pending node whose value it is.
struct Result {
  int32_t pending;
  Id id;
};

struct Graph {
  std::vector<Leaf> leaves;
  std::vector<GraphNode> nodes;
  std::vector<Fused> kernels;
  std::vector<Result> results;
  std::vector<Id> inputs;  // of nodes, one after another
  // Their constants; kept where they are, and only added to, by all graphs that were made from one another.
  std::shared_ptr<std::vector<int64_t>> list = std::make_shared<std::vector<int64_t>>();
  std::vector<Floats> floats;  // the constants that nodes read by number
  std::vector<int64_t> order;  // of nodes: when they run; empty: one after another
  int64_t repeats = 1;         // how often it runs on the same weights

  Id id_of(size_t node) const { return static_cast<Id>(leaves.size() + node); }
  bool is_node(Id id) const { return id >= static_cast<Id>(leaves.size()); }
  size_t node_of(Id id) const { return static_cast<size_t>(id) - leaves.size(); }
  const GraphNode& node(Id id) const { return nodes[node_of(id)]; }
  const Shape& shape(Id id) const {
    return is_node(id) ? node(id).shape : leaves[static_cast<size_t>(id)].shape;
  }
  DType dtype(Id id) const { return is_node(id) ? node(id).dtype : leaves[static_cast<size_t>(id)].dtype; }
  std::span<const Id> in(const GraphNode& n) const { return {inputs.data() + n.first_in, n.inputs}; }
  std::span<const int64_t> list_of(const GraphNode& n) const {
    return {list->data() + n.first_list, n.list_size};
  }
  // Appends a node over these inputs and constants; the inputs are not in this graph's own vector.
  Id add(const GraphNode& node, std::span<const Id> in, std::span<const int64_t> list = {});
  // How often each node is read by other nodes.
  std::vector<uint32_t> readers() const;
};

// What was found pending: the structure in words (equal words, equal plan) and the tape's nodes that it
// stands for.
struct Pending {
  std::vector<uint64_t> words;
  std::shared_ptr<std::vector<int64_t>> lists;  // the calls' lists, one behind another: structure too
  uint64_t hash = 0;
  std::vector<Node*> leaves;
  std::vector<Node*> nodes;
  std::vector<bool> stays;         // of nodes
  std::vector<bool> passed;        // of nodes: the backward() to come passes through it
  std::vector<Floats> floats;      // the different ones among the calls' constants
  std::vector<int32_t> floats_of;  // of nodes: which; -1 where all are 0
  bool open = false;               // a computed value is read whose history still waits for a backward()
};
void read_structure(std::span<Node* const> pending, Pending& out, const Node* loss = nullptr);
uint64_t hash_of(const Pending& pending);
Graph graph_of(const Pending& pending);
void read_graph(const Pending& pending, Graph& graph);  // into the memory that is there

// The body of a template: what a function recorded (core/once.h). Leaves are its arguments, then what it
// captured.
struct Body {
  Graph graph;
  size_t arguments = 0;
  std::vector<Floats> floats;
  std::vector<Id> outputs;
  std::vector<bool> requires_grad;  // of nodes
  std::vector<bool> leaf_grads;     // of leaves
  std::vector<uint64_t> words;      // equal words, equal body
};
void identify(Body& body);  // finds its words
// Appends a call of the tape, over these values of the body.
Id add_call(Body& body, const Node& call, std::span<const Id> in, bool requires_grad);
// Its graph by a pass that moves no gradient; as it was where there is nothing to rewrite.
void rewrite(Body& body, const std::function<std::optional<Graph>(const Body&)>& pass);
// The op whose calls it is: one for equal bodies. Takes a body that is new. Null where there are too many, or
// where it is not to be made.
const Op* template_op(Body& body, bool make = true);
void stack(Body& body);  // its products of one value with several weights become one
inline size_t output_read(const GraphNode& n, size_t p) { return n.op->body ? reel::output_read(n.i, p) : 0; }
// The shape of what a template's call reads as input p: an output of another call, or all of the input.
const Shape& shape_read(const Graph& graph, const GraphNode& call, size_t p);
// Whether this is a call of a template whose outputs are slices of it, not the call itself.
inline bool has_columns(const GraphNode& n) { return n.op->body && n.op->body->outputs.size() > 1; }
// Its calls recorded over these values of its leaves: the values of leaves and nodes. No gradient passes
// where none passed in the function.
Tensors written_out(const Body& body, Tensors values);
// False where the function cannot be a template. `nodes`: what it recorded. `leaves`: the arguments, then
// what it captured. Both are read into the memory that is there.
bool read_body(std::span<Node* const> nodes, const Tensors& arguments, const Tensors& outputs, Body& body,
               std::vector<Node*>& leaves);

// ---- The passes: each a file, from graph to graph. What stays is kept. ----

struct Passes {
  bool prune = true, commute = true, batch = true, roll = true, recur = true, accumulate = true, fuse = true,
       pack = true, place = true, split = true, recompute = true, loss = true, lookup = true;
  uint64_t bits() const;
  bool find_cells() const { return roll && recur && batch; }
};
// Those that are on: all but the ones that REEL_PLAN=-fuse,-batch or set_plan_passes() switched off.
const Passes& passes();

Graph prune(const Graph& graph);  // equal nodes become one, dead ones none
// The same done to different rows becomes one call: `products_only` where small calls were joined before.
// `differentiated`: a gradient will be asked for.
Graph batch(const Graph& graph, bool products_only = false, bool differentiated = false);
Graph commute(Graph graph);  // what is made of rows looked up is rows of what is made of the table
// Rows of a small table are looked up by the recurrence that reads them, where it has several threads.
Graph look_up_inside(Graph graph);
// Below that the rows stay in a cache, and a call at every level costs more than one for all; tests set it.
int64_t& least_bytes_looked_up();
// Whether a node looks up rows in a table so small that it is better to work on the table.
bool is_look_up(const Graph& graph, const GraphNode& n);
// Whether a node makes each of its rows of one row of `rows` and of what all share.
bool works_on_rows(const Graph& graph, const GraphNode& n, Id rows);
Graph loss(Graph graph);       // cross-entropy and its gradient become one pass over the logits
Graph sink(Graph graph);       // a slice of a pointwise result becomes a pointwise result of slices
Graph join_sums(Graph graph);  // a sum of products becomes one product of joined rows
void fuse(Graph& graph);       // pointwise nodes become kernels

// A graph built beside the old one, and where each old value went.
class Rewrite {
 public:
  explicit Rewrite(const Graph& from);
  Id now(Id old) const { return now_[static_cast<size_t>(old)]; }
  void set(Id old, Id now) { now_[static_cast<size_t>(old)] = now; }
  // The k-th node as it was, over its inputs as they are now.
  Id keep(size_t k);
  Graph done();

  Graph to;

 private:
  const Graph& from_;
  std::vector<Id> now_;
  std::vector<Id> room_;
};

}  // namespace reel::plan
