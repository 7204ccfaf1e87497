// The gradient of a recurrence's body, by which cotangents there are.
#pragma once

#include "core/plan/recurrence/recurrence.h"

namespace reel::plan {

struct Recurrence::Gradient {
  // Which cotangents there are, and whose gradient is wanted.
  struct Key {
    std::vector<bool> given;       // of own outputs: a cotangent from outside
    std::vector<int64_t> readers;  // of own outputs: how many rows at most read one of theirs
    std::vector<bool> needs;       // of leaves: rows and what is shared
    bool operator==(const Key&) const = default;
  };
  // What a leaf of the gradient's body is.
  struct From {
    enum What : uint8_t { row, kept, cotangent, given, reader, shared } what;
    size_t index;     // row, given, shared: of the leaf among its like; else the output
    size_t slot = 0;  // reader: which of them
  };

  Key key;
  Body body;
  std::vector<From> leaves;
  std::vector<Id> of_rows, of_reads, of_shared;  // gradients; -1: none
  std::optional<Split> split;
  const Recurrence* inner = nullptr;
};

// By these rules, found again or traced.
const Recurrence::Gradient& gradient_of(const Recurrence& r, const Recurrence::Gradient::Key& key);

}  // namespace reel::plan
