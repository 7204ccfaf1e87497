#include "benchmarks/runner/contestant.h"

#include <algorithm>
#include <chrono>

#include "benchmarks/hand/onednn.h"
#include "benchmarks/hand/team.h"

namespace reel::bench {

namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

class Local : public Contestant {
 public:
  Local(const Workload& workload, const Variant& variant, int threads)
      : Contestant(name_and_dtype(variant.name).first, name_and_dtype(variant.name).second),
        workload_(workload),
        threads_(threads) {
    set_num_threads(threads_);
    stepper_ = variant.make(workload.weights());
    if (!workload.tokens) return;
    constexpr int64_t kBatches = 1000;
    for (int64_t k = 0; k < kBatches; ++k) average_ += workload.tokens(k) / kBatches;
  }

  std::vector<double> run(int64_t steps) override {
    set_num_threads(threads_);
    std::vector<double> times;
    for (int64_t i = 0; i < steps; ++i, ++next_) {
      const auto begin = Clock::now();
      stepper_->step(next_);
      times.push_back(ms_since(begin) * (workload_.tokens ? average_ / workload_.tokens(next_) : 1));
    }
    return times;
  }

 private:
  const Workload& workload_;
  const int threads_;
  std::unique_ptr<Stepper> stepper_;
  int64_t next_ = 0;
  double average_ = 0;  // tokens of a batch
};

// The better of two shapes, its rows split among the threads.
class Peak : public Contestant {
 public:
  explicit Peak(int threads) : Contestant("peak", "f32"), threads_(threads) {
    for (const hand::Sizes s : {hand::Sizes{1024, 1024, 1024}, hand::Sizes{2048, 2048, 512}}) {
      Shape& shape = shapes_.emplace_back(
          Shape{s, hand::Packed(s, {s.n}), {}, hand::Floats(s.m * s.k), hand::Floats(s.m * s.n)});
      const hand::Floats b(s.k * s.n);
      shape.b.pack(b.data());
    }
    for (Shape& shape : shapes_) {
      const hand::Sizes& s = shape.sizes;
      for (int m = 0; m < threads; ++m) {
        const int64_t rows = hand::share_of(s.m, m, threads).size();
        shape.products.emplace_back(hand::Sizes{rows, s.n, s.k}, hand::Layout{s.k}, shape.b, s.n);
      }
    }
  }

  std::vector<double> run(int64_t steps) override {
    std::vector<double> times;
    for (int64_t i = 0; i < steps; ++i) {
      double best = 1e30;
      for (Shape& shape : shapes_) {
        const hand::Sizes& s = shape.sizes;
        const double gflop = 2e-9 * static_cast<double>(s.m * s.n * s.k);
        hand::together(threads_, [&](const hand::Member& me) {
          me.wait();  // until all have woken
          const auto begin = Clock::now();
          const int64_t first = me.share(s.m).begin;
          shape.products[static_cast<size_t>(me.index)](shape.a.data() + first * s.k,
                                                        shape.c.data() + first * s.n);
          me.wait();
          if (me.index == 0) best = std::min(best, ms_since(begin) / gflop);
        });
      }
      times.push_back(best);
    }
    return times;
  }

 private:
  struct Shape {
    hand::Sizes sizes;
    hand::Packed b;
    std::vector<hand::Product> products;  // by member
    hand::Floats a, c;
  };
  const int threads_;
  std::vector<Shape> shapes_;
};

}  // namespace

std::pair<std::string, std::string> name_and_dtype(const std::string& variant) {
  const std::string suffix = "-bf16";
  if (!variant.ends_with(suffix)) return {variant, "f32"};
  return {variant.substr(0, variant.size() - suffix.size()), "bf16"};
}

std::unique_ptr<Contestant> contestant(const Workload& workload, const Variant& variant, int threads) {
  return std::make_unique<Local>(workload, variant, threads);
}

std::unique_ptr<Contestant> peak(int threads) { return std::make_unique<Peak>(threads); }

}  // namespace reel::bench
