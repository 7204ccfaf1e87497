// What only a recurrence's own levels read takes memory for two levels, and only that does.
#include "core/plan/recurrence/compiled.h"
#include "tests/recurrence_programs.h"

namespace reel {
namespace {

using namespace tests;
using plan::Schedule;

[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

std::vector<Tensors> projections(Numbers& n, int64_t time, int64_t batch) {
  std::vector<Tensors> all;
  for (int64_t t = 0; t < time; ++t) all.push_back({n.parameter({batch, 16})});
  return all;
}

constexpr int64_t kTime = 6, kBatch = 2;

// The plan of an LSTM whose states h, and cells c if asked for, are summed; with its only recurrence as a
// call.
struct Planned {
  std::unique_ptr<plan::Plan> plan;
  const plan::PlannedNode* node = nullptr;
  std::vector<Array> in;
  Array out;
  Schedule schedule;

  explicit Planned(bool with_cells) {
    Numbers n{.dtype = DType::f32};
    const NoGrad none;
    const Tensor total = [&] {
      const Tensors first = {n.parameter({kBatch, 4}), n.parameter({kBatch, 4})};
      Tensors state = first;
      Tensor sum_of_all = n.parameter({});
      const auto cell = once(lstm(n.parameter({4, 16})));
      for (const Tensors& x : projections(n, kTime, kBatch)) {
        state = cell({x[0], state[0], state[1]});
        sum_of_all = sum_of_all + sum(with_cells ? state[0] + state[1] : state[0]);
      }
      return sum_of_all;
    }();
    plan = plan::pending_plan(Tape::current());
    for (const plan::Step& step : plan->steps) {
      if (step.node < 0 || !plan->nodes[static_cast<size_t>(step.node)].op->recurrence) continue;
      REQUIRE(!node);
      node = &plan->nodes[static_cast<size_t>(step.node)];
      const Array* operands = plan->arrays.data() + step.first;
      in.assign(operands, operands + step.inputs);
      out = operands[step.inputs];
    }
    REQUIRE(node);
    for (size_t k = 0; k < in.size(); ++k) in[k].data = reinterpret_cast<std::byte*>((k + 1) << 40);
    out.data = reinterpret_cast<std::byte*>(uintptr_t{1} << 50);
    schedule = Schedule(plan->list_of(*node));
  }

  // For each output, after how many rows the first are written again.
  std::vector<int64_t> carried() const {
    const std::vector<int64_t> words = schedule.words();
    const Exec call{*node->op, node->attrs, words, in, out};
    std::vector<int64_t> all;
    for (size_t k = 0; k < node->op->recurrence->body.outputs.size(); ++k)
      all.push_back(rows_carried(call, Schedule(words), k));
    return all;
  }
  int64_t most() const {
    const auto all = carried();
    return *std::max_element(all.begin(), all.end());
  }
};

TEST_CASE("carried: the cells that nobody reads afterwards, and not the states that somebody does") {
  const auto alone = Planned(false).carried();
  CHECK(std::count(alone.begin(), alone.end(), 2 * kBatch) == 1);
  CHECK(std::count(alone.begin(), alone.end(), 0) == static_cast<int64_t>(alone.size()) - 1);
  CHECK(Planned(true).most() == 0);
}

TEST_CASE("carried: not over an input's rows") {
  Planned p(false);
  p.out.data = p.in[0].data;
  const int64_t whole = p.in[0].shape.numel() * 4;
  CHECK(p.most() == 0);
  p.out.data = p.in[0].data + whole;
  CHECK(p.most() == 2 * kBatch);
}

TEST_CASE("carried: not where levels differ, run in another order, or read an older one") {
  Planned p(false);
  const Schedule good = p.schedule;
  p.schedule.levels.back().begin += 1;
  p.schedule.levels.insert(p.schedule.levels.end() - 1,
                           {good.levels.back().begin, good.levels.back().begin + 1});
  CHECK(p.most() == 0);
  p.schedule = good;
  std::swap(p.schedule.levels[1], p.schedule.levels[3]);
  CHECK(p.most() == 0);
  p.schedule = good;
  std::reverse(p.schedule.levels.begin(), p.schedule.levels.end());  // as a gradient's are
  CHECK(p.most() == 2 * kBatch);
  p.schedule = good;
  for (auto& runs : p.schedule.reads) {
    for (auto& run : runs) {
      if (run.source != Schedule::kNothing && run.count > kBatch) run.to += kBatch, run.count -= kBatch;
    }
  }
  CHECK(p.most() == 0);
}

TEST_CASE("carried: values and gradients are those of eager mode") {
  for (const int64_t batch : {1, 2, 96}) {
    same([=](Numbers& n) {
      const Tensor u = n.parameter({4, 16});
      return ending(
          chain(lstm(u), {n.parameter({batch, 4}), n.parameter({batch, 4})}, projections(n, 9, batch)));
    });
  }
}

}  // namespace
}  // namespace reel
