// From a graph to a plan: all passes, in order.
#include "core/kernels/parallel.h"
#include "core/plan/explain.h"
#include "core/plan/plan.h"
#include "core/plan/recurrence/compiled.h"

namespace reel::plan {

std::unique_ptr<Plan> make_plan(Graph graph, bool rewritten) {
  const explain::Scope scope(explain::Phase::plan);
  graph = batch(graph, rewritten);
  if (passes().prune) graph = prune(graph);
  if (passes().commute && !rewritten) graph = commute(std::move(graph));
  if (passes().accumulate) graph = join_sums(std::move(graph));
  if (passes().loss) graph = loss(std::move(graph));
  if (passes().fuse) {
    graph = sink(std::move(graph));
    if (passes().prune) graph = prune(graph);
    fuse(graph);
  }
  if (passes().place) find_carried(graph);
  std::unique_ptr<Plan> plan = lower(graph);
  rouse_threads();
  find_sparse(*plan);
  lay_out(*plan);
  return plan;
}

}  // namespace reel::plan
