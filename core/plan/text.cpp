// A plan as text: a line a step, to read, to compare, and to show a change of the planner in review.
#include "core/plan/plan.h"

namespace reel::plan {

namespace {

std::string name(const Plan& plan, Id id) {
  const auto k = static_cast<size_t>(id);
  if (k < plan.leaves) return fmt::format("leaf{}", k);
  const size_t node = k - plan.leaves;
  return node < plan.nodes.size() ? fmt::format("%{}", node)
                                  : fmt::format("copy{}", node - plan.nodes.size());
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

std::string what_of(const Plan& plan, const Step& step) {
  switch (step.what) {
    case Do::call: {
      const PlannedNode& node = plan.nodes[static_cast<size_t>(step.node)];
      const bool narrow = node.op->kind == Kind::matmul && node.attrs.i[2] != 0;
      return std::string(node.op->name) + (narrow ? " bf16" : "");
    }
    case Do::fused: {
      const Fused& kernel = plan.kernels[static_cast<size_t>(step.kernel)];
      return fmt::format("fused {} instructions over {},", kernel.program.code.size(), kernel.space);
    }
    case Do::product: {
      const Product& p = plan.products[static_cast<size_t>(step.kernel)];
      return fmt::format("matmul{}{}{}{}", p.precision == Precision::bf16 ? " bf16" : "",
                         p.a_col == 1 ? "" : " a^T", p.b_col == 1 ? "" : " b^T",
                         p.packed < 0 ? "" : " packed");
    }
    case Do::pack: return "pack";
    case Do::copy: return "copy";
    case Do::zero: return "zero";
    case Do::put:
      return step.place.at == Place::At::slice
                 ? fmt::format("at {} of axis {}", step.place.begin, step.place.axis)
             : step.place.at == Place::At::rows ? "rows"
                                                : "whole";
  }
  return {};
}

std::string text_of(const Plan& plan, const Step& step) {
  std::string out = what_of(plan, step);
  for (uint32_t k = 0; k < step.inputs + step.outputs; ++k) {
    if (k == 5 && step.inputs > 6) {
      out += " ..";
      k = step.inputs - 1;
      continue;
    }
    const PlannedValue& v = plan.values[static_cast<size_t>(plan.operands[step.first + k])];
    out += fmt::format("{}{}", k == step.inputs ? " -> " : " ", v.shape);
  }
  return out;
}

double flops_of(const Plan& plan, const Step& step) {
  if (step.what == Do::product) {
    const Product& p = plan.products[static_cast<size_t>(step.kernel)];
    return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  }
  if (step.what != Do::call || plan.nodes[static_cast<size_t>(step.node)].op->kind != Kind::matmul) return 0;
  const PlannedNode& node = plan.nodes[static_cast<size_t>(step.node)];
  const auto shape = [&](uint32_t k) -> const Shape& {
    return plan.values[static_cast<size_t>(plan.operands[step.first + k])].shape;
  };
  const Shape& a = shape(0);
  return 2.0 * static_cast<double>(shape(step.inputs).numel()) *
         static_cast<double>(a[a.rank() - (node.attrs.i[0] ? 2 : 1)]);
}

std::string text(const Plan& plan) {
  std::string out = fmt::format("plan: {} leaves, {} nodes, {} steps, arena {} bytes\n", plan.leaves,
                                plan.nodes.size(), plan.steps.size(), plan.arena_bytes);
  for (const Step& step : plan.steps) {
    std::string left, right, places;
    for (uint32_t k = 0; k < step.outputs; ++k) {
      const Id id = plan.operands[step.first + step.inputs + k];
      const PlannedValue& v = plan.values[static_cast<size_t>(id)];
      left += fmt::format("{}{} {} {}", k ? ", " : "", name(plan, id), name_of(v.dtype), v.shape);
      places += fmt::format("{}{}", k ? ", " : "  ", place(plan, id));
    }
    for (uint32_t k = 0; k < step.inputs; ++k)
      right += fmt::format(" {}", name(plan, plan.operands[step.first + k]));
    out += fmt::format("{} {} {}{}{}\n", left, step.add ? "+=" : "=", what_of(plan, step), right, places);
  }
  return out;
}

}  // namespace reel::plan
