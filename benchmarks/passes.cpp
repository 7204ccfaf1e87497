#include "benchmarks/passes.h"

#include "core/tensor.h"

namespace reel::bench {

namespace {

class Without : public Stepper {
 public:
  Without(std::string pass, std::unique_ptr<Stepper> planned)
      : pass_(std::move(pass)), planned_(std::move(planned)) {}
  double step(int64_t k) override {
    set_plan_passes("-" + pass_);
    const double loss = planned_->step(k);
    set_plan_passes("");
    return loss;
  }
  Weights gradients() const override { return planned_->gradients(); }

 private:
  const std::string pass_;
  const std::unique_ptr<Stepper> planned_;
};

}  // namespace

const std::vector<std::string>& switchable_passes() {
  static const std::vector<std::string> names{"prune",      "commute", "batch", "roll",  "recur",
                                              "accumulate", "fuse",    "pack",  "place", "split",
                                              "recompute",  "loss",    "lookup"};
  return names;
}

std::vector<Variant> with_ablations(const Workload& workload) {
  std::vector<Variant> variants;
  for (const Variant& variant : workload.variants) {
    variants.push_back(variant);
    if (variant.name != "planned") continue;
    for (const std::string& pass : switchable_passes()) {
      const auto make = [pass, planned = variant.make](const Weights& weights) -> std::unique_ptr<Stepper> {
        return std::make_unique<Without>(pass, planned(weights));
      };
      variants.push_back({"planned-" + pass, make});
    }
  }
  return variants;
}

}  // namespace reel::bench
