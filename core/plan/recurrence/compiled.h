// A recurrence's body made ready to run: steps for as many rows as a level has at most.
#pragma once

#include "core/plan/plan.h"
#include "core/plan/recurrence/recurrence.h"

namespace reel::plan {

struct Recurrence::Compiled {
  enum class Base : uint8_t {
    row,      // an input, from the level's first row on
    read,     // a read: wherever the level finds it
    shared,   // an input, the same for all
    output,   // of the recurrence, from the level's first row on
    scratch,  // a thread's own
    kept,     // scratch that holds what all levels share
    total     // a sum over all rows, which a step adds to
  };
  struct RootBase {
    Base base;
    size_t index = 0;
    int64_t row_bytes = 0;  // row, output
  };

  int64_t capacity = 0;  // rows
  uint64_t passes = 0;
  std::unique_ptr<Plan> plan;
  std::vector<RootBase> bases;  // of the plan's roots
  std::vector<bool> by_rows;    // of the plan's operands: whether their first axis is rows
  std::vector<size_t> once;     // steps made once
  struct AtEveryLevel {
    size_t step;
    int64_t row_sum;  // floats in a row that the step adds to a total; 0: it does something else
    // Of a product: the read that is its left side, and the output that it makes and nothing else; -1:
    // others.
    int32_t left = -1, output = -1;
  };
  std::vector<AtEveryLevel> level;
  std::vector<int64_t> read_bytes;  // of reads: a row's
  // Operands whose memory differs from level to level.
  struct Moving {
    uint32_t operand;
    RootBase base;
    int64_t offset;
    bool described;  // its step wants to know more than the address
  };
  std::vector<Moving> moving;
  // Sums over the rows of a level, to be added up: an output and the plan's value. `added`: the step that
  // makes it adds it up.
  struct Total {
    size_t output;
    Id value;
    bool added;
  };
  std::vector<Total> totals;
  // An input's rows that an output's rows may lie over: each is read before anything is written there.
  struct Overlay {
    size_t row, output;
  };
  std::vector<Overlay> overlays;
};

std::unique_ptr<Recurrence::Compiled> compile(const Recurrence& r, int64_t capacity);
// For levels of at most so many rows: made before, or now.
const Recurrence::Compiled& compiled_for(const Recurrence& r, int64_t rows);

// carried.cpp
void find_carried(Graph& graph);
bool is_carried(const Exec& e, size_t output);  // whether nobody but later levels reads it
int64_t rows_carried(const Exec& e, const Schedule& schedule, size_t output);

}  // namespace reel::plan
