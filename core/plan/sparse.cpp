// Results that are zeros but for some rows: gradients of embeddings. Their memory is cleared where it was
// written the last time (core/buffer.h), not from end to end.
#include "core/plan/plan.h"

namespace reel::plan {

// Memory of its own that is zeroed as a whole and then receives rows at ids, and nothing else.
void find_sparse(Plan& plan) {
  const auto at = [](int32_t k) { return static_cast<size_t>(k); };
  const auto whole = [&](const PlannedValue& v, const Root& root) {
    return v.offset == 0 && is_contiguous(v.shape, v.strides) &&
           v.shape.numel() * static_cast<int64_t>(size_of(v.dtype)) == root.bytes;
  };
  std::vector<bool> otherwise(plan.roots.size(), false);
  for (const Step& step : plan.steps) {
    for (uint32_t k = 0; k < step.outputs; ++k) {
      const PlannedValue& v = plan.values[at(plan.operands[step.first + step.inputs + k])];
      Root& root = plan.roots[at(v.root)];
      const bool rows =
          step.what == Do::put && step.add && step.place.at == Place::At::rows && step.place.axis == 0;
      if (step.what == Do::zero && root.home == Home::own && !root.by_rows && whole(v, root)) {
        root.by_rows = true;
      } else if (!rows || !root.by_rows || !whole(v, root)) {
        otherwise[at(v.root)] = true;
      }
    }
  }
  for (size_t r = 0; r < plan.roots.size(); ++r)
    plan.roots[r].by_rows = plan.roots[r].by_rows && !otherwise[r];
}

}  // namespace reel::plan
