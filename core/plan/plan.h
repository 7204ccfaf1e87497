// A plan: steps over laid-out memory, kept under the structure they were made from. Everything here but
// run.cpp and cache.cpp is pure: a plan can be made, printed and compared without running it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/kernels/packed.h"
#include "core/kernels/pointwise.h"
#include "core/plan/graph.h"

namespace reel::plan {

enum class Home : uint8_t { leaf, own, scratch };

// Memory that one or several values live in.
struct Root {
  Home home;
  int32_t leaf = -1;  // leaf: which
  int64_t bytes = 0;
  int64_t offset = 0;           // scratch: where in the arena
  int32_t first = 0, last = 0;  // steps between which it is needed
  bool lasts = false;           // needed throughout
  bool by_rows = false;         // own: zeros but for the rows that are put into it
};

struct PlannedValue {
  DType dtype;
  Shape shape;
  Strides strides{};
  int32_t root = -1;
  int64_t offset = 0;  // bytes from the root's start
};

enum class Do : uint8_t {
  call,     // the op's kernel
  fused,    // the kernel of several nodes
  copy,     // in[0] made contiguous
  zero,     // out = 0
  put,      // in[0] to its place in out, in[1] its ids if any
  product,  // of two f32 matrices, in[2] the packed right one if any
  pack,     // in[0], the right side of several products, as they read it fastest
};

// A product as its routine wants it: strides in elements.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_col = 0, b_row = 0, b_col = 0, c_row = 0;
  int32_t packed = -1;  // which of Plan::packed
  Precision precision = Precision::f32;
};

struct Step {
  Do what;
  bool add = false;                             // onto what is there
  int32_t node = -1;                            // whose op and constants
  int32_t kernel = -1;                          // fused: which; product: which; pack: which
  Place place = {};                             // put: where
  uint32_t first = 0, inputs = 0, outputs = 0;  // of Plan::operands: inputs, then outputs
};

// What a step needs to know of a node.
struct PlannedNode {
  const Op* op;
  Attrs attrs;  // the floats are those of the run
  int32_t floats;
  int32_t origin;
  uint32_t first_list, list_size;
};

struct Plan {
  std::vector<uint64_t> words;
  std::shared_ptr<const std::vector<int64_t>> lists;  // of pending calls, then what passes added
  size_t pending_lists = 0;
  uint64_t hash = 0;
  size_t leaves = 0;
  std::vector<PlannedNode> nodes;
  std::vector<Fused> kernels;
  std::vector<PlannedValue> values;  // leaves, nodes, then copies
  std::vector<Root> roots;
  std::vector<Step> steps;
  std::vector<Id> operands;  // of steps, one after another
  std::vector<Result> results;
  std::vector<Floats> floats;                 // constants beyond those that a run brings
  mutable std::vector<Array> arrays;          // of operands; their memory is that of the last run
  mutable std::vector<std::byte*> addresses;  // of operands, likewise
  std::vector<PreparedPointwise> prepared;    // of kernels
  std::vector<Product> products;
  mutable std::vector<PackedMatrix> packed;  // in scratch memory
  int64_t arena_bytes = 0;

  std::span<const int64_t> list_of(const PlannedNode& n) const {
    return {lists->data() + n.first_list, n.list_size};
  }
  size_t bytes() const;  // roughly what the plan itself occupies
};

// Where each value of a graph lies: values that are read together lie next to each other in the first place.
struct Layout {
  std::vector<PlannedValue> values;  // leaves and nodes; root -1: has no memory yet
  std::vector<Root> roots;
  std::vector<bool> placed;  // of graph.inputs: this part of a join lies where the join wants it
  std::vector<int64_t>
      copied;  // of nodes: a view that cannot be one looks this far into a contiguous copy; or -1
};
Layout place(const Graph& graph);

// A product of f32 matrices; how it is read from such memory, false where its routines cannot; and whether
// the packed routine can, which wants rows of A and C that lie together.
bool is_product(const GraphNode& n);
bool describe(const GraphNode& n, const PlannedValue& a, const PlannedValue& b, const PlannedValue& c,
              Product& p);
bool packable(const Product& p);

std::unique_ptr<Plan> lower(const Graph& graph);          // graph to steps: views, copies, sums in place
void find_sparse(Plan& plan);                             // what is zeros but for some rows
void lay_out(Plan& plan);                                 // lifetimes and memory
std::string text(const Plan& plan);                       // a line a step
std::string dot(const Plan& plan);                        // for Graphviz: steps as boxes, values as edges
std::string what_of(const Plan& plan, const Step& step);  // its name
std::string text_of(const Plan& plan, const Step& step);  // what it does to which shapes
double flops_of(const Plan& plan, const Step& step);      // of its matrix product

// All passes, in order. `rewritten`: the graph comes from one that batch has been over, before it was
// differentiated.
std::unique_ptr<Plan> make_plan(Graph graph, bool rewritten = false);

// ---- Running ----

// What a plan is run on.
struct Run {
  std::span<Node* const> leaves;
  std::span<Node* const> nodes;           // pending: whose constants sources read
  std::span<const Floats> floats;         // the constants of this run
  std::span<const int32_t> origins = {};  // which of `nodes` is the plan's k-th pending node; empty: the k-th
  Node* node(int32_t origin) const;       // null where there is none
  const Floats& constants(const Plan& plan, int32_t number) const;
};
// Where a step finds its operands. rows: how many of those that were planned for; -1: all.
struct Operands {
  const Array* arrays;
  std::byte* const* addresses;
  int64_t rows = -1;
};
void run_step(const Plan& plan, const Step& step, const Run& run, const Operands& operands);
// The values of plan.results. Where a kernel throws, `failed` is the node whose call it was, if there is one.
std::vector<Value> run(const Plan& plan, const Run& run, Node** failed = nullptr);

// Computes these pending nodes, by a plan seen before or a new one. Where a kernel throws, the call that
// failed and those that need it are marked failed, the others are pending again.
void run_pending(Tape& tape, std::vector<Node*> pending);
// Computes all that is pending and adds d loss / d variable to the gradients, where none of it was computed
// before; false, and nothing done, where it cannot.
bool run_backward(Tape& tape, const Tensor& loss, Where where);
// Looks for motifs (core/motif.h) in what was taken from the tape and read. Where there are some, their calls
// become one each, and it is to be read again. `fixed`: the numbers that calls read belong to the structure.
bool fold_motifs(Tape& tape, const Pending& now, std::vector<Node*>& pending, bool fixed);
// The plan of what is pending, to look at.
std::unique_ptr<Plan> pending_plan(Tape& tape);
TapeStats cache_stats();

}  // namespace reel::plan
