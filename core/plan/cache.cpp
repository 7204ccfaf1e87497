// Plans are kept under the structure they were made for, and the least recently used go first.
#include <algorithm>
#include <optional>

#include "core/plan/cache.h"
#include "core/plan/recent.h"
#include "core/plan/run.h"
#include "core/plan/verify.h"

namespace reel::plan {

namespace {

constexpr size_t kMostPlans = 256;
constexpr size_t kMostBytes = size_t{128} << 20;

class Cache {
 public:
  // The plan for what is pending; made where its structure is new, whose words it then takes.
  std::shared_ptr<const Plan> find(Pending& pending, bool rewritten = false) {
    if (auto plan = known(pending)) return plan;
    ++stats_.plans_built;
    const size_t lists = pending.lists->size();
    std::unique_ptr<Plan> made = make(pending, rewritten);
    made->words = std::move(pending.words);
    made->pending_lists = lists;
    made->hash = pending.hash;
    bytes_ += made->bytes();
    const std::shared_ptr<const Plan> plan = plans_.keep(pending.hash, std::move(made));
    while (plans_.size() > 1 && (plans_.crowded() || bytes_ > kMostBytes)) drop_oldest();
    return plan;
  }

  // Null where there is none.
  std::shared_ptr<const Plan> known(const Pending& pending) {
    const auto* plan = plans_.find(pending.hash, [&](const auto& p) { return equal(*p, pending); });
    if (!plan) return nullptr;
    ++stats_.plans_found;
    return *plan;
  }

  // A plan larger than a cache should hold is not kept beyond its run.
  void trim() {
    if (bytes_ > kMostBytes) drop_oldest();
  }

  TapeStats stats() const {
    TapeStats stats = stats_;
    stats.plans_cached = plans_.size();
    stats.arena_bytes = static_cast<uint64_t>(scratch_bytes());
    return stats;
  }

  // It was used again.
  void found(const Plan& plan) {
    ++stats_.plans_found;
    plans_.find(plan.hash, [&](const auto& other) { return other.get() == &plan; });
  }

  static std::unique_ptr<Plan> make(const Pending& pending, bool rewritten) {
    return make_plan(graph_of(pending), rewritten);
  }

 private:
  static bool equal(const Plan& plan, const Pending& pending) {
    const std::span<const int64_t> lists = std::span(*plan.lists).first(plan.pending_lists);
    return plan.words == pending.words && std::ranges::equal(lists, *pending.lists);
  }

  void drop_oldest() {
    bytes_ -= plans_.oldest()->bytes();
    plans_.drop_oldest();
  }

  Recent<std::shared_ptr<const Plan>> plans_{kMostPlans};
  size_t bytes_ = 0;
  TapeStats stats_;
};

thread_local Cache cache;
thread_local Pending scratch;

// The call that failed takes those with it that need its value; the others wait for the next time.
void after_failure(Tape& tape, const std::vector<Node*>& nodes) {
  for (Node* n : nodes) {
    Tape::retain(n);
    for (uint32_t k = 0; k < n->inputs; ++k) {
      if (n->in[k]->state == State::failed) n->state = State::failed;
    }
  }
  for (Node* n : nodes) {
    if (n->state == State::pending) tape.add_pending(n);
  }
  for (Node* n : nodes) {
    if (n->state == State::failed) tape.drop_inputs(n);
  }
  for (Node* n : nodes) Tape::release(n);
}

}  // namespace

size_t Plan::bytes() const {
  return (words.size() + lists->size()) * 8 + values.size() * sizeof(PlannedValue) +
         roots.size() * sizeof(Root) + steps.size() * sizeof(Step) +
         operands.size() * (sizeof(Id) + sizeof(Array)) + nodes.size() * sizeof(PlannedNode);
}

std::shared_ptr<const Plan> find_plan(Pending& pending, bool rewritten) {
  return cache.find(pending, rewritten);
}
void plan_found(const Plan& plan) { cache.found(plan); }

// Nodes forget their inputs, unless a gradient may still be asked for, and those that do not stay die: the
// latest first, so that memory is walked through from end to end. What will be looked at is asked for in
// time, since a step's kernels have driven it out of the caches.
void release_history(Tape& tape, const Pending& now) {
  constexpr size_t kNear = 8, kFar = 16;
  for (size_t k = 0; k < now.leaves.size(); ++k) {
    if (k + kFar < now.leaves.size()) now.leaves[k + kFar]->prefetch();
    Tape::retain(now.leaves[k]);
  }
  for (size_t k = 0; k < now.nodes.size(); ++k) {
    if (now.stays[k]) Tape::retain(now.nodes[k]);
  }
  for (size_t k = now.nodes.size(); k-- > 0;) {
    if (k >= kFar) now.nodes[k - kFar]->prefetch();
    if (k >= kNear) {
      const Node* soon = now.nodes[k - kNear];
      for (uint32_t j = 0; j < soon->inputs; ++j) {
        __builtin_prefetch(soon->in[j], 1);
        __builtin_prefetch(&soon->in[j]->columns, 1);
      }
    }
    Node* n = now.nodes[k];
    if (!now.stays[k]) {
      tape.discard(n);
      continue;
    }
    if (now.passed[k]) n->released = true;
    if (!n->requires_grad || n->released) tape.let_go_of_inputs(n);
    Tape::release(n);
  }
  for (size_t k = now.leaves.size(); k-- > 0;) {
    if (k >= kFar) now.leaves[k - kFar]->prefetch_value();
    if (k >= kNear) now.leaves[k - kNear]->value->buffer.prefetch();
    Tape::release(now.leaves[k]);
  }
}

void run_pending(Tape& tape, std::vector<Node*> pending) {
  Pending run_now;
  std::swap(run_now, scratch);  // its vectors keep their memory from run to run
  std::shared_ptr<const Plan> plan;
  do {
    read_structure(pending, run_now);
    plan = cache.known(run_now);
  } while (!plan && fold_motifs(tape, run_now, pending, false));
  Node* failed = nullptr;
  try {
    if (!plan) plan = cache.find(run_now);
    std::optional<verify::OneByOne> expected;
    if (verify::on()) expected.emplace().compute(run_now.nodes);
    std::vector<Value> values = run(*plan, {run_now.leaves, run_now.nodes, run_now.floats}, &failed);
    if (expected) verify::check(run_now, plan->results, values, *expected);
    for (size_t r = 0; r < values.size(); ++r) {
      Node* node = run_now.nodes[static_cast<size_t>(plan->results[r].pending)];
      node->value = std::make_unique<Value>(std::move(values[r]));
      node->state = State::ready;
    }
    cache.trim();
  } catch (...) {
    if (failed) failed->state = State::failed;
    after_failure(tape, run_now.nodes);
    throw;
  }
  release_history(tape, run_now);
  if (run_now.words.capacity() < (size_t{1} << 20)) std::swap(run_now, scratch);
}

std::unique_ptr<Plan> pending_plan(Tape& tape) {
  tape.name_outputs();
  Pending now;
  read_structure(tape.pending(), now);
  return Cache::make(now, false);
}

TapeStats cache_stats() { return cache.stats(); }

}  // namespace reel::plan
