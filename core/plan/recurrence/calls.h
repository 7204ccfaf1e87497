// The calls of a template that read each other's results, on their way to become one recurrence.
#pragma once

#include "core/plan/recurrence/recurrence.h"

namespace reel::plan {

// Which call reads which, level by level.
struct Calls {
  // Where a call's argument comes from: an output of another one of the calls, or elsewhere.
  struct From {
    int32_t call = -1;
    size_t output = 0;
  };

  Calls(const Graph& graph, std::span<const uint32_t> members);

  std::span<const From> from(size_t call) const { return {from_.data() + call * arguments, arguments}; }
  // Rows lie in this order of the calls, if each level's lie together; else level after level, families of
  // calls one behind another.
  void arrange(std::vector<uint32_t> order);
  Schedule schedule() const;  // without reads

  size_t arguments;
  std::vector<uint32_t> members;  // nodes, in tape order
  std::vector<int64_t> level;     // of calls
  int64_t levels = 0;
  std::vector<bool> reads;         // of arguments: some call takes it from another one
  std::vector<bool> looked_up;     // of arguments: rows of a table with fewer; to be filled in
  std::vector<bool> states;        // of outputs: some call reads it
  int64_t most_readers = 0;        // of one output of one call
  std::vector<uint32_t> order;     // of calls: as their rows lie
  std::vector<int64_t> row, rows;  // of calls: the first, how many
  int64_t all_rows = 0;

 private:
  // Calls that depend on each other one behind another, and such families so that the first ones cost as much
  // as the last ones: a thread takes whole families that lie together (run.cpp).
  std::vector<uint32_t> by_families() const;

  std::vector<From> from_;
};

// Which output of a template's call a slice of its result is.
size_t output_of(const Body& body, const GraphNode& slice);

// A template cut for a recurrence in which these arguments are read from other calls.
struct Cut {
  Body body;  // as it is cut
  Split split;
  const Recurrence* recurrence;  // null: impossible
};
// The body with products of joined columns cut where only some of the columns wait for other calls.
Body unjoined(const Body& body, const std::vector<bool>& reads);
const Cut& cut_template(const Body& body, const Calls& calls, bool differentiated);

}  // namespace reel::plan
