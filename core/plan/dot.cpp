// A plan as a drawing for Graphviz: steps are boxes in the order they run, values the edges between them.
#include "core/plan/plan.h"

namespace reel::plan {

namespace {

// A stretch of memory, and the step that wrote it; leaves were written by nobody.
struct Written {
  int32_t root;
  int64_t begin, end;
  size_t step;
};

// From the first byte of a value to its last.
Written stretch_of(const PlannedValue& v, size_t step) {
  int64_t last = 0;
  for (int axis = 0; axis < v.shape.rank(); ++axis) {
    last += (v.shape[axis] - 1) * v.strides[static_cast<size_t>(axis)];
  }
  const auto width = static_cast<int64_t>(size_of(v.dtype));
  return {v.root, v.offset, v.shape.numel() == 0 ? v.offset : v.offset + (last + 1) * width, step};
}

class Drawing {
 public:
  explicit Drawing(const Plan& plan) : plan_(plan) {}

  std::string run() {
    out_ = "digraph plan {\n  node [shape=box];\n";
    for (size_t k = 0; k < plan_.leaves; ++k) {
      const PlannedValue& v = plan_.values[k];
      out_ +=
          fmt::format("  leaf{} [shape=ellipse, label=\"leaf{} {} {}\"];\n", k, k, name_of(v.dtype), v.shape);
    }
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const Step& step = plan_.steps[s];
      std::string what = what_of(plan_, step);
      if (what.ends_with(',')) what.pop_back();
      out_ += fmt::format("  step{} [label=\"{}{}\"];\n", s, step.add ? "+= " : "", what);
      for (uint32_t k = 0; k < step.inputs; ++k)
        edges(plan_.operands[step.first + k], fmt::format("step{}", s));
      if (step.add) edges(plan_.operands[step.first + step.inputs], fmt::format("step{}", s));
      for (uint32_t k = 0; k < step.outputs; ++k) {
        written_.push_back(stretch_of(value(plan_.operands[step.first + step.inputs + k]), s));
      }
    }
    for (const Result& r : plan_.results) {
      const std::string name = fmt::format("result{}", r.pending);
      out_ += fmt::format("  {} [shape=ellipse, label=\"result {}\"];\n", name, r.pending);
      edges(r.id, name);
    }
    return out_ + "}\n";
  }

 private:
  const PlannedValue& value(Id id) const { return plan_.values[static_cast<size_t>(id)]; }

  // From all that wrote some of this value. A step that wrote the same stretch again took the earlier ones
  // in.
  void edges(Id id, const std::string& to) {
    const PlannedValue& v = value(id);
    const Root& root = plan_.roots[static_cast<size_t>(v.root)];
    const std::string label = fmt::format("[label=\"{} {}\"]", name_of(v.dtype), v.shape);
    if (root.home == Home::leaf) {
      out_ += fmt::format("  leaf{} -> {} {};\n", root.leaf, to, label);
      return;
    }
    const Written read = stretch_of(v, 0);
    std::vector<Written> sources;
    for (const Written& w : written_) {
      if (w.root != read.root || w.begin >= read.end || read.begin >= w.end) continue;
      std::erase_if(sources, [&](const Written& old) {
        return old.step == w.step || (w.begin <= old.begin && old.end <= w.end && plan_.steps[w.step].add);
      });
      sources.push_back(w);
    }
    for (const Written& w : sources) out_ += fmt::format("  step{} -> {} {};\n", w.step, to, label);
  }

  const Plan& plan_;
  std::vector<Written> written_;
  std::string out_;
};

}  // namespace

std::string dot(const Plan& plan) { return Drawing(plan).run(); }

}  // namespace reel::plan
