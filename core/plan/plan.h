// Planning: what is pending becomes a graph, the graph becomes steps over laid-out memory, and the steps are
// kept under the structure they came from. Everything here but run.cpp is pure: a plan can be made, printed
// and compared without running it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tape.h"

namespace reel::plan {

// ---- The pending part of a tape as data ----

// Values are numbered: 0 .. leaves-1 are leaves, then one for each node in tape order.
using Id = int32_t;

struct Leaf {
  DType dtype;
  Shape shape;
  Strides strides;
};

struct GraphNode {
  const Op* op;
  Attrs attrs;  // the floats, and the integers of sources, are not part of the structure
  std::vector<int64_t> list;
  std::vector<Id> in;
  DType dtype;
  Shape shape;
  bool stays;  // its value outlives the run
};

struct Graph {
  std::vector<Leaf> leaves;
  std::vector<GraphNode> nodes;
  Id id_of(size_t node) const { return static_cast<Id>(leaves.size() + node); }
};

// What was found pending: the structure in words (equal words, equal plan) and the tape's nodes that it
// stands for.
struct Pending {
  std::vector<uint64_t> words;
  uint64_t hash = 0;
  std::vector<Node*> leaves;
  std::vector<Node*> nodes;
  std::vector<bool> stays;  // of nodes
};
void read_structure(const std::vector<Node*>& pending, Pending& out);
Graph graph_of(const Pending& pending);

// ---- A plan ----

enum class Home : uint8_t { leaf, own, scratch };

// Memory that one or several values live in.
struct Root {
  Home home;
  int32_t leaf = -1;  // leaf: which
  int64_t bytes = 0;
  int64_t offset = 0;           // scratch: where in the arena
  int32_t first = 0, last = 0;  // steps between which it is needed
};

struct PlannedValue {
  DType dtype;
  Shape shape;
  Strides strides{};
  int32_t root = -1;
  int64_t offset = 0;  // bytes from the root's start
};

enum class Do : uint8_t {
  call,  // the op's kernel
  copy,  // in[0] made contiguous
  zero,  // out = 0
  put,   // in[0] to its place in out (accumulate), in[1] its ids if any
};

struct Step {
  Do what;
  bool add = false;   // onto what is there
  int32_t node = -1;  // whose op, attributes and place in the caller's source
  int32_t part = -1;  // put: which part of the node's list
  uint32_t first_in = 0, inputs = 0;
  Id out = -1;
};

struct Plan {
  std::vector<uint64_t> words;
  uint64_t hash = 0;
  size_t leaves = 0;
  std::vector<const Op*> ops;        // of nodes
  std::vector<bool> stays;           // of nodes
  std::vector<PlannedValue> values;  // leaves, nodes, then copies
  std::vector<Root> roots;
  std::vector<Step> steps;
  std::vector<Id> inputs;  // of steps, one after another
  int64_t arena_bytes = 0;

  size_t bytes() const;  // roughly what the plan itself occupies
};

// Passes; each is one file.
std::unique_ptr<Plan> lower(const Graph& graph);  // graph to steps: views, copies, sums in place
void lay_out(Plan& plan);                         // lifetimes and memory
std::string text(const Plan& plan);               // a line a step

// ---- Running ----

void run(const Plan& plan, const Pending& pending);

// Computes these pending nodes, by a plan seen before or a new one. Where a kernel throws, the call that
// failed and those that need it are marked failed, the others are pending again.
void run_pending(Tape& tape, const std::vector<Node*>& pending);
std::string pending_text(const std::vector<Node*>& pending);
TapeStats cache_stats();

}  // namespace reel::plan
