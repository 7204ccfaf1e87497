// REEL_VERIFY=1: what a plan computes is computed once more, one node at a time, and the first value that
// differs by more than rounding is named.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/plan/graph.h"

namespace reel::plan::verify {

bool& on();  // of this thread

// Pending nodes computed one at a time, beside the tape.
class OneByOne {
 public:
  // Inputs come before their readers, or have their values.
  void compute(const std::vector<Node*>& nodes);

  // Throws where `value` is not what this node's should be; `whose` stands in the sentence.
  void check(const Node* node, const Value& value, const std::string& whose) const;
  // How far it is off; nothing where it is right, or where its computation failed.
  std::string difference(const Node* node, const Value& value) const;

 private:
  const Value* value_of(const Node* node) const;
  double scale_of(const Node* node) const;
  std::unordered_map<const Node*, Value> values_;
};

std::string name_of(const Node* node);  // [op] of this shape and dtype (file:line)

// Values of results of a plan of `now`. Where one is wrong, an earlier node that a plan computes wrongly all
// by itself is named instead, if there is one.
void check(const Pending& now, const std::vector<Result>& results, const std::vector<Value>& values,
           const OneByOne& expected);

}  // namespace reel::plan::verify
