// The state of the pass that joins calls (batch.cpp), rows (rows.cpp) and recurrences (recurrence/join.cpp).
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "core/plan/grouping.h"
#include "core/plan/recurrence/calls.h"

namespace reel::plan {

// A graph on its way to one in which what does the same to different rows is done at once.
class Batching {
  using Group = Grouping::Group;

 public:
  Batching(const Graph& graph, bool products_only, bool joining, bool differentiated)
      : graph_(graph),
        products_only_(products_only),
        joining_(joining),
        differentiated_(differentiated),
        grouping_(graph) {}

  // Nothing where there is nothing to join.
  std::optional<Graph> run();

 private:
  struct Spot {  // where a node's rows are in the new graph
    Id id = -1;
    int64_t row = 0;
    bool whole = true;
  };

  Way way(size_t k) const { return grouping_.way(k); }
  Id canon(Id id) const { return grouping_.canon(id); }
  bool shared(const GraphNode& n, std::span<const Id> in, size_t p) const;
  bool joins(const Group& group) const;
  // The value as a value of the new graph.
  Id whole(Id id);
  Id whole(const GraphNode& n, size_t p);  // what the call reads as input p
  Id rows_at(const Spot& s, int64_t rows);
  // All outputs of a template's call side by side, for a gradient that may be asked for later.
  Id packed(Id call, const Spot& s);
  void keep(size_t k);
  // What joins pieces of one value that lie there one behind another is a view of it; -1 where it is not so.
  Id rejoined(const GraphNode& n, std::span<const Id> parts);
  // What joins many stretches of rows of other values picks them; -1 where it is not so.
  Id picked(const GraphNode& n);
  // Where a value's elements lie one behind another: in which value of the new graph, from which element on.
  std::pair<Id, int64_t> elements_behind(Id id) const;
  // The element of its input from which on a view reads it, where it does so without gaps and lets gradients
  // pass.
  std::optional<int64_t> stretch_of(const GraphNode& n) const;
  void join(std::span<uint32_t> members);
  // The k-th node of the body as a node of the new graph, for this call.
  GraphNode written(const Body& body, size_t k, const GraphNode& call);
  // The body over the rows of these calls.
  void expand(std::span<uint32_t> members);
  // Calls that read each other's results: a recurrence, or level by level where it cannot be one.
  void recur(std::span<const uint32_t> members);
  void find_look_ups(Calls& calls) const;
  // The call of the recurrence itself, and its outputs.
  void levels_of(const Calls& calls, const Cut& cut, const GraphNode& call, std::vector<Id>& values);
  // Elements of a flat value from `begin` on, under this shape.
  bool is_zero(Id id) const;
  Id stretch(Id flat, int64_t begin, const Shape& shape, const GraphNode& call);
  // What calls take for an argument that no other call makes: a value, and the first row of each.
  struct Given {
    Id id = -1;
    std::vector<int64_t> rows;
  };
  // Of each of these arguments. Rows that lie in one value are read where they lie, if at least half of that
  // value's rows are read at all; others are picked first.
  std::vector<Given> given_rows(const Calls& calls, std::span<const Id> reads);
  // The calls in the order of the rows that their first own argument has, where these lie in one value.
  std::vector<uint32_t> as_rows_lie(const Calls& calls) const;
  // Level by level, as an unrolled recurrence.
  void in_levels(const Calls& calls);
  // Where a call is: its only output, or rows of an expansion.
  Spot spot_in(int32_t expansion, int64_t row, bool whole) const;
  // Where an output of a call is: the call's spot says which expansion, and which rows of it.
  Spot output_spot(Id call, size_t output) const;
  Spot column_of(const GraphNode& slice) const;
  // The number of these constants among the run's.
  int32_t floats_for(const Floats& f);
  // In the order in which the rows of the first operand that was joined lie.
  void sort_by_rows(std::span<uint32_t> members, const GraphNode& first) const;
  // Where a value's rows are: a stretch of rows of a matrix may come under other shapes, through views.
  Spot rows_behind(Id id) const;
  // Where the rows are that the call reads as input p.
  Spot rows_read(const GraphNode& n, size_t p) const;
  // Operand p of all members, one below another: a stretch of rows of one value, whole values, or rows picked
  // from several.
  Id rows_of(std::span<const uint32_t> members, uint32_t p);
  struct Run {
    Id id;
    int64_t row, rows;
  };
  void add_run(const Spot& s, int64_t rows);  // to runs_
  Id pick_runs(GraphNode all);

  const Graph& graph_;
  const bool products_only_, joining_, differentiated_;
  Grouping grouping_;
  std::vector<std::vector<Id>> expanded_;  // the outputs of templates' bodies in the new graph
  Graph to_;
  std::vector<Spot> spot_;
  std::vector<Run> runs_;
  std::vector<Id> room_;
};

// Products of one value with several weights as one; nothing where there are none.
std::optional<Graph> stack(const Graph& graph);
// Rounds of a cycle that are alike as calls of a template; nothing where there are none. `fixed`: the numbers
// that calls read will be the same whenever the plan runs.
std::optional<Graph> roll(const Graph& graph, bool fixed);

}  // namespace reel::plan
