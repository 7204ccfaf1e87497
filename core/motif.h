// Motifs: stretches of calls that a program records again and again, as a cell written op by op does.
// Wherever one is recorded, it becomes a call of a template (fold.cpp). plan/motifs.cpp finds them.
#pragma once

#include <span>
#include <vector>

#include "core/op.h"
#include "core/tape.h"

namespace reel {

struct Motif {
  enum class From : uint8_t { inside, argument, captured };
  struct Input {
    From from;
    uint32_t number;  // inside: of the step that made it; else of the call's inputs
  };
  struct Step {
    const Op* op;
    Attrs attrs;
    Shape shape;
    DType dtype;
    bool requires_grad;
    uint32_t first, inputs;  // of Motif::inputs
    uint32_t readers = 0;    // inside
    int32_t output = -1;     // which of the call's it is
  };
  // What a call reads.
  struct Outside {
    DType dtype;
    Shape shape;
  };

  static constexpr size_t kMostBetween = 4;  // other calls, between the first and the last

  std::vector<Step> steps;  // in the order of the tape
  std::vector<Input> inputs;
  std::vector<Outside> outside;  // arguments, then what all calls share
  size_t arguments = 0;
  size_t call = 0;         // the step whose place on the tape the call takes
  const Op* op = nullptr;  // the template
  Shape shape;             // of a call

  std::span<const Input> in(const Step& s) const { return std::span(inputs).subspan(s.first, s.inputs); }
};

// How long and how frequent a stretch must be, and what must be pending, to be worth looking for; how many
// calls are recorded between two looks at them, few enough to be in the cache; how many structures with as
// many products and no motif may go by between two searches. Tests find cells in small programs.
struct MotifLimits {
  size_t steps = 5, times = 8, pending = 64, often = 64;
  uint64_t patience = 256;
};

namespace plan {
MotifLimits& motif_limits();  // of this thread
}  // namespace plan

// Where a tape has the calls of a motif.
class Occurrence {
 public:
  // unfinished: the tape ends too early; held: a value inside that is no output is asked for from outside.
  enum class Fit : uint8_t { none, unfinished, held, whole };
  // Of pending calls, with gaps, from this one on.
  Fit find(const Motif& motif, std::span<Node* const> pending, size_t at);
  const Motif& motif() const { return *motif_; }
  std::span<Node* const> nodes() const { return nodes_; }      // of the steps
  std::span<Node* const> outside() const { return outside_; }  // what the call will read
  size_t end() const { return end_; }
  // Whether a step's value is asked for from outside.
  bool needed(size_t step) const {
    const Node* n = nodes_[step];
    return n->handles > 0 || n->readers != motif_->steps[step].readers;
  }

 private:
  bool fits(const Motif::Step& step, const Node* node);
  bool fits_outside(Motif::Input input, Node* node);
  bool comes_after_what_it_reads() const;

  const Motif* motif_ = nullptr;
  size_t end_ = 0;
  std::vector<Node*> nodes_, outside_;
};

}  // namespace reel
