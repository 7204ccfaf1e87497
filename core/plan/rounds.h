// The rounds of a graph's cycles: what a recurrence written out op by op does at each of its steps.
#pragma once

#include <span>
#include <vector>

#include "core/hash.h"
#include "core/plan/grouping.h"

namespace reel::plan {

// The op of a cell that was found, not declared. A number that is another one at every step makes another
// template each time: there is an end to that, and null.
const Op* found_template(Body& body);

// A cycle is made of products with a weight that read, by way of others, products with the same weight. A
// round begins with such a product, h W, and what works on its rows follows it.
class Rounds {
 public:
  static constexpr size_t kLeast = 4;   // of a weight's products: fewer are no cycle worth the trouble
  static constexpr size_t kOften = 16;  // likewise where they are in no cycle
  static constexpr size_t kMostClasses = 64;

  // `fixed`: the numbers that calls read will be the same whenever the plan runs. Else calls that read some
  // are in no round.
  Rounds(const Graph& graph, bool fixed)
      : graph_(graph), fixed_(fixed), count_(graph.nodes.size()), grouping_(graph) {}
  // `repeated`: instead of cycles, what begins with products with the same weight that depend on none such.
  bool find(bool repeated = false);
  // The rest of the round's nodes follow it, as what is in no round.
  void shorten(size_t round, size_t size);

  size_t size() const { return rounds_.size(); }
  int64_t rows(size_t round) const { return rounds_[round].rows; }
  std::span<const uint32_t> nodes(size_t round) const {  // in the graph's order
    return std::span(members_).subspan(rounds_[round].begin, rounds_[round].size);
  }
  const GraphNode& node(size_t round, size_t position) const { return graph_.nodes[nodes(round)[position]]; }

  // Of a node: the round that it is in, or -1; its position there; the latest round that it is in or depends
  // on, or -1.
  int32_t of(size_t node) const { return round_[node]; }
  int32_t of_value(Id id) const { return graph_.is_node(id) ? round_[graph_.node_of(id)] : -1; }
  size_t position(size_t node) const { return position_[node]; }
  int32_t after(size_t node) const { return after_[node]; }

  bool is_constant(Id id) const {
    return !graph_.is_node(id) || grouping_.way(graph_.node_of(id)) == Way::constant;
  }
  // An input that all calls share: a weight, a bias. Others are rows.
  bool is_captured(const GraphNode& n, size_t p) const {
    const Id id = graph_.in(n)[p];
    if (!is_constant(id)) return false;
    if (n.op->kind == Kind::matmul && p == 1) return true;
    const Shape& s = graph_.shape(id);
    return s.rank() != 2 || s[0] != n.shape[0] || !is_float(graph_.dtype(id));
  }
  Id canon(Id id) const { return grouping_.canon(id); }
  uint64_t products_of(size_t round) const { return rounds_[round].classes; }  // a bit for each weight
  // Whether a node works on so many rows one by one.
  bool works_on_rows(size_t node, int64_t rows) const {
    const GraphNode& n = graph_.nodes[node];
    return n.shape.rank() == 2 && n.shape[0] == rows &&
           (is_product(node) || (follows(n) && reads_rows(n, rows)));
  }

 private:
  struct Round {
    int64_t rows;
    size_t cycle;
    uint64_t classes = 0;  // of its products
    uint32_t begin = 0, size = 0;
  };

  size_t products() const;
  bool is_product(size_t node) const;
  bool find_classes(bool repeated);
  int32_t class_of(size_t node, Table& table, std::vector<size_t>& sizes);
  void gather();
  void put(size_t node, int32_t round);
  int32_t latest(const GraphNode& n) const;
  void begin(size_t node);
  bool is_for_one(Id id, const Op& op, int64_t rows) const;
  void follow(size_t node);
  bool can_join(const GraphNode& n, int32_t round) const;
  bool follows(const GraphNode& n) const;
  bool reads_rows(const GraphNode& n, int64_t rows) const;
  void list_members();

  const Graph& graph_;
  const bool fixed_;
  const size_t count_;
  Grouping grouping_;
  std::vector<int32_t> class_;  // of products
  std::vector<size_t> cycle_;   // of classes: the first one of their cycle; kMostClasses where in none
  std::vector<int32_t> round_, after_;
  std::vector<int32_t> begun_by_;  // of values: the round that a product of theirs began
  std::vector<uint32_t> readers_;
  std::vector<Round> rounds_;
  std::vector<uint32_t> members_, position_;
};

}  // namespace reel::plan
