// From a graph to a plan: all passes, in order.
#include "core/plan/explain.h"
#include "core/plan/plan.h"

namespace reel::plan {

std::unique_ptr<Plan> make_plan(const Graph& pending, bool rewritten) {
  const explain::Scope scope(explain::Phase::plan);
  Graph graph = batch(pending, rewritten);
  if (passes().prune) graph = prune(graph);
  if (passes().commute && !rewritten) graph = prune(commute(graph));
  if (passes().accumulate) graph = join_sums(graph);
  if (passes().fuse) {
    graph = sink(graph);
    if (passes().prune) graph = prune(graph);
    fuse(graph);
  }
  std::unique_ptr<Plan> plan = lower(graph);
  lay_out(*plan);
  return plan;
}

}  // namespace reel::plan
