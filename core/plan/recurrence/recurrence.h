// A recurrence: one body over many rows, level by level, where each level reads rows that earlier levels
// made. The planner makes one of all the calls of a template that read each other's results: a sequence, a
// batch of them, a forest. It is planned once, however long the sequence and whatever the trees.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/plan/graph.h"

namespace reel::plan {

// Which rows run when, and which rows they read.
struct Schedule {
  struct Level {
    int64_t begin, end;
  };
  // Rows [to, to + count) read rows [from, from + count) of a source: kNothing (zeros), an output of the
  // recurrence, or (numbered after the outputs) an input that holds rows.
  struct Run {
    int64_t to, source, from, count;
  };
  static constexpr int64_t kNothing = -1;

  int64_t rows = 0;
  std::vector<Level> levels;            // in the order of time; they tile the rows
  std::vector<std::vector<Run>> reads;  // of each read, in the order of `to`

  int64_t most_rows() const;           // of a level
  std::vector<int64_t> words() const;  // as a call's constants
  explicit Schedule(std::span<const int64_t> words, bool with_reads = true);
  Schedule() = default;
};
// What a level costs however few its rows are, in rows (measured: 1 to 2 on a Tree-LSTM of 150 units).
inline constexpr int64_t kRowsALevel = 2;
// Joined with the last if it goes on.
inline void append(std::vector<Schedule::Run>& runs, const Schedule::Run& run) {
  if (!runs.empty()) {
    Schedule::Run& last = runs.back();
    if (last.to + last.count == run.to && last.source == run.source &&
        (run.source == Schedule::kNothing || last.from + last.count == run.from)) {
      last.count += run.count;
      return;
    }
  }
  runs.push_back(run);
}

// Inputs of a call: values with one row for each row of the recurrence, values that all rows share, sources
// of rows. Its result is flat: the outputs one after another, [rows, ..] each or a sum over all rows.
struct Recurrence {
  Body body;  // leaves: rows, then reads, then what is shared
  size_t rows = 0, reads = 0;
  std::vector<bool> totals;  // of outputs: summed over all rows
  size_t own = 0;  // of the outputs: those that were asked for; what follows is kept for the gradient
  // Of outputs: how they lie. What is kept comes first, the widest of the own ones last, so that one end of
  // the result can lie over an input (place.cpp).
  std::vector<size_t> order;
  Op op;

  struct Gradient;
  struct Compiled;
  mutable std::vector<std::unique_ptr<Gradient>> gradients;  // by which cotangents there are
  mutable std::vector<std::unique_ptr<Compiled>> compiled;   // by how many rows a level has at most
  // With what its gradient needs, when some of that is made again, and when not; null: impossible.
  mutable std::array<std::optional<const Recurrence*>, 2> kept;

  size_t shared() const { return body.graph.leaves.size() - rows - reads; }
  bool total(size_t output) const { return totals[output]; }
  Shape shape(size_t output, int64_t row_count) const;
  int64_t offset(size_t output, int64_t row_count) const;  // in elements of the result
  int64_t size(int64_t row_count) const { return offset(body.outputs.size(), row_count); }
  DType dtype() const { return body.graph.dtype(body.outputs[0]); }
  ~Recurrence();
};

// How many rows a body has on paper, so that it is the same for all batches: no other axis is likely to be so
// long.
inline constexpr int64_t kTracedRows = 977;

// Equal ones are one. Null where there are too many.
const Recurrence* intern(Body body, size_t rows, size_t reads, size_t own);
// The same with outputs for all that its gradient reads; null where the gradient is no recurrence.
const Recurrence* with_kept(const Recurrence& plain);
// At most so many rows read one row of an output; as many reads hand back its cotangent.
inline constexpr int64_t kMostReaders = 2;

void recurrence_vjp(Vjp& g);
void run_recurrence(const Exec& e);

// ---- What of a body has to run level by level ----

enum class Argument : uint8_t {
  row,        // one row for each row of the recurrence
  looked_up,  // likewise; from a table of fewer rows
  given,      // rows of values that are there from the beginning
  read,       // rows that earlier levels make
};

// A body cut in three: what can be done over all rows before, what has to be done level by level, and what
// can be done over all rows afterwards.
struct Split {
  enum class Outside : uint8_t { no, before, after };
  std::vector<Outside> outside;         // of nodes: whether they are made over all rows; and when
  std::vector<bool> inside;             // of nodes: whether they are made level by level
  std::vector<Id> rows, reads, shared;  // of the body: what the inner body reads, in this order
  std::vector<Id> outputs;              // of the body: what the inner body hands out
};

// `states`: what reads read; `wanted`: all that is asked for. With `sums`, rows may be summed in the end, as
// gradients of weights are. Nothing where rows depend on each other in other ways.
std::optional<Split> split(const Body& body, std::span<const Argument> arguments, std::span<const Id> states,
                           std::span<const Id> wanted, bool sums);
Body inner_body(const Body& body, const Split& split);  // of kTracedRows
// Whether a value is read by what runs over all rows.
bool read_outside(const Body& body, const Split& split, Id id);

// Makes the nodes that are outside, before or after: values[id] = make(node, values of its inputs).
template <class Value, class Make>
void write(const Body& body, const Split& split, Split::Outside when, std::vector<Value>& values,
           const Make& make) {
  std::vector<Value> in;
  for (size_t k = 0; k < body.graph.nodes.size(); ++k) {
    if (split.outside[k] != when) continue;
    in.clear();
    for (Id id : body.graph.in(body.graph.nodes[k])) in.push_back(values[static_cast<size_t>(id)]);
    values[static_cast<size_t>(body.graph.id_of(k))] = make(k, in);
  }
}

}  // namespace reel::plan
