// Which calls of a graph go together: the half of batch that looks and changes nothing.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "core/plan/graph.h"

namespace reel::plan {

// How a call can be joined with others.
enum class Way : uint8_t {
  alone,    // not at all
  column,   // an output of a template's call
  heavy,    // a product with a weight, a look-up in a table, a template's call
  light,    // what is done to each row by itself
  constant  // a view of a leaf, a number: the same wherever it is written down
};

// Which calls go together follows from ops, constants and shapes alone. Products and look-ups that read the
// same weight form a class. Classes that feed each other (a recurrence) are walked in step: a call's depth is
// the number of calls of its own cycle before it, and calls of one class and depth go together, so that what
// enters a cycle is hoisted and what leaves it waits. Calls of a template that read each other's results as
// they are, and nothing else that depends on them, are one group: a recurrence. Everything else goes with
// those whose latest input comes from the same group.
class Grouping {
 public:
  struct Group {
    uint32_t first;       // node
    int64_t time;         // groups can run in this order
    int32_t latest = -1;  // the group of its latest input
    uint32_t size = 0;
    uint32_t begin = 0;      // of the members
    bool recurrent = false;  // the members read each other's results
    int32_t column = -1;     // of calls of a template: a group of their outputs
    int32_t next_column = -1;
  };

  explicit Grouping(const Graph& graph);
  explicit Grouping(const Body& body);  // whose arguments are rows, and all else that it reads constant

  // Whether there is anything to join, or a template to be written out. Finds the groups, if so.
  bool find(bool joining);

  Way way(size_t node) const { return way_[node]; }
  const std::vector<Group>& groups() const { return groups_; }
  std::span<uint32_t> members(const Group& g) { return {members_.data() + g.begin, g.size}; }
  // The first of the values that are known to be equal to this one.
  Id canon(Id id) const { return canon_[static_cast<size_t>(id)]; }
  // Whether operand p is one for all calls of the node's group.
  bool shared(const GraphNode& n, std::span<const Id> in, size_t p) const;
  void find_ways();
  // Of a body: whether it makes each row of its outputs of the arguments' rows alone.
  bool works_by_rows(const Body& body);

 private:
  bool is_constant(Id id) const {
    return graph_.is_node(id) ? way_[graph_.node_of(id)] == Way::constant : id >= arguments_;
  }
  Way way_of(const GraphNode& n) const;
  Way sum_way(const GraphNode& n) const;
  Way template_way(const GraphNode& n) const;
  bool has_rows(std::span<const Id> in) const;
  std::span<const Id> shared_operands(const GraphNode& n) const;
  bool same_operands(std::span<const Id> a, std::span<const Id> b) const;
  bool same_call(const GraphNode& a, const GraphNode& b) const;
  bool same_group(const GraphNode& a, const GraphNode& b) const;
  uint64_t call_hash(const GraphNode& n) const;
  void find_depths(bool recurring);
  bool recurs(size_t node, std::span<const uint64_t> before) const;
  void make_groups();
  // The group of a call's output: one for each output of a group of calls.
  int32_t column_group(size_t node);
  bool known_class(size_t node) const;
  uint64_t group_hash(size_t node, int64_t time, int32_t latest, size_t position) const;
  void list_members();

  const Graph& graph_;
  const size_t count_;
  Id arguments_ = 0;                // of a body: leaves before this one are rows
  mutable bool templates_ = false;  // there are calls of some
  mutable std::unordered_map<const Body*, bool> by_rows_;
  std::vector<Id> canon_;
  std::vector<Way> way_;
  std::vector<int32_t> class_, group_;
  std::vector<int64_t> level_;
  std::vector<bool> recurrent_;  // of classes
  std::vector<Group> groups_;
  std::vector<uint32_t> members_;
};

}  // namespace reel::plan
