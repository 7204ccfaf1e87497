// A plan as text: a line a step, to read, to compare, and to show a change of the planner in review.
#include "core/plan/plan.h"

namespace reel::plan {

namespace {

std::string name(const Plan& plan, Id id) {
  const auto k = static_cast<size_t>(id);
  if (k < plan.leaves) return fmt::format("leaf{}", k);
  const size_t node = k - plan.leaves;
  return node < plan.ops.size() ? fmt::format("%{}", node) : fmt::format("copy{}", node - plan.ops.size());
}

std::string place(const Plan& plan, Id id) {
  const PlannedValue& v = plan.values[static_cast<size_t>(id)];
  const Root& root = plan.roots[static_cast<size_t>(v.root)];
  switch (root.home) {
    case Home::leaf: return fmt::format("in leaf{}", root.leaf);
    case Home::own: return "stays";
    case Home::scratch: return fmt::format("@{}", root.offset + v.offset);
  }
  return {};
}

}  // namespace

std::string text(const Plan& plan) {
  std::string out = fmt::format("plan: {} leaves, {} nodes, {} steps, arena {} bytes\n", plan.leaves,
                                plan.ops.size(), plan.steps.size(), plan.arena_bytes);
  for (const Step& step : plan.steps) {
    const PlannedValue& v = plan.values[static_cast<size_t>(step.out)];
    std::string line = fmt::format("{} {} {}", name(plan, step.out), name_of(v.dtype), v.shape);
    line += step.add ? " += " : " = ";
    switch (step.what) {
      case Do::call: line += plan.ops[static_cast<size_t>(step.node)]->name; break;
      case Do::copy: line += "copy"; break;
      case Do::zero: line += "zero"; break;
      case Do::put: line += fmt::format("part {}", step.part); break;
    }
    for (uint32_t k = 0; k < step.inputs; ++k)
      line += fmt::format(" {}", name(plan, plan.inputs[step.first_in + k]));
    out += fmt::format("{}  {}\n", line, place(plan, step.out));
  }
  return out;
}

}  // namespace reel::plan
