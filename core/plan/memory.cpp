// Memory: how long each value is needed, and where it lies in the arena meanwhile.
#include <algorithm>
#include <map>

#include "core/plan/plan.h"

namespace reel::plan {

namespace {

constexpr int64_t kAlign = 64;

// Free stretches of the arena by offset, joined with their neighbours.
class Arena {
 public:
  int64_t take(int64_t bytes) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < bytes) continue;
      const auto [offset, size] = *it;
      free_.erase(it);
      if (size > bytes) free_[offset + bytes] = size - bytes;
      return offset;
    }
    const int64_t offset = end_;
    end_ += bytes;
    return offset;
  }

  void give(int64_t offset, int64_t bytes) {
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    free_[offset] = bytes;
  }

  int64_t end() const { return end_; }

 private:
  std::map<int64_t, int64_t> free_;
  int64_t end_ = 0;
};

void find_lifetimes(Plan& plan) {
  for (Root& root : plan.roots) root.first = root.last = -1;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const Step& step = plan.steps[s];
    const auto use = [&](Id id) {
      Root& root = plan.roots[static_cast<size_t>(plan.values[static_cast<size_t>(id)].root)];
      if (root.first < 0) root.first = static_cast<int32_t>(s);
      root.last = static_cast<int32_t>(s);
    };
    for (uint32_t k = 0; k < step.inputs + step.outputs; ++k) use(plan.operands[step.first + k]);
  }
  for (Root& root : plan.roots) {
    if (!root.lasts) continue;
    root.first = 0;
    root.last = static_cast<int32_t>(plan.steps.size()) - 1;
  }
}

// A pointwise result may take the place of an input that is read for the last time, element for element.
int32_t replaced_input(const Plan& plan, size_t s) {
  const Step& step = plan.steps[s];
  if (step.what != Do::call || step.add ||
      plan.nodes[static_cast<size_t>(step.node)].op->kind != Kind::pointwise)
    return -1;
  const PlannedValue& out = plan.values[static_cast<size_t>(plan.operands[step.first + step.inputs])];
  if (plan.roots[static_cast<size_t>(out.root)].first != static_cast<int32_t>(s)) return -1;
  for (uint32_t k = 0; k < step.inputs; ++k) {
    const PlannedValue& in = plan.values[static_cast<size_t>(plan.operands[step.first + k])];
    const Root& root = plan.roots[static_cast<size_t>(in.root)];
    const auto fits = [&](const PlannedValue& v) {
      return v.dtype == out.dtype && v.shape == out.shape && v.offset == out.offset &&
             is_contiguous(v.shape, v.strides);
    };
    bool replaceable = root.home == Home::scratch && root.last == static_cast<int32_t>(s) && fits(in) &&
                       root.bytes == plan.roots[static_cast<size_t>(out.root)].bytes;
    for (uint32_t j = 0; replaceable && j < step.inputs; ++j) {
      const PlannedValue& other = plan.values[static_cast<size_t>(plan.operands[step.first + j])];
      replaceable = other.root != in.root || fits(other);
    }
    if (replaceable) return in.root;
  }
  return -1;
}

}  // namespace

void lay_out(Plan& plan) {
  find_lifetimes(plan);
  std::vector<std::vector<int32_t>> born(plan.steps.size()), dead(plan.steps.size());
  for (size_t r = 0; r < plan.roots.size(); ++r) {
    Root& root = plan.roots[r];
    if (root.home != Home::scratch || root.first < 0) continue;
    born[static_cast<size_t>(root.first)].push_back(static_cast<int32_t>(r));
    dead[static_cast<size_t>(root.last)].push_back(static_cast<int32_t>(r));
  }
  const auto room = [](const Root& root) {
    return std::max((root.bytes + kAlign - 1) / kAlign * kAlign, kAlign);
  };
  Arena arena;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    for (int32_t r : born[s]) {
      Root& root = plan.roots[static_cast<size_t>(r)];
      const Step& step = plan.steps[s];
      const int32_t out_root = plan.values[static_cast<size_t>(plan.operands[step.first + step.inputs])].root;
      const int32_t replaced = r == out_root ? replaced_input(plan, s) : -1;
      if (replaced >= 0) {
        root.offset = plan.roots[static_cast<size_t>(replaced)].offset;
        std::erase(dead[s], replaced);
      } else {
        root.offset = arena.take(room(root));
      }
    }
    for (int32_t r : dead[s])
      arena.give(plan.roots[static_cast<size_t>(r)].offset, room(plan.roots[static_cast<size_t>(r)]));
  }
  plan.arena_bytes = arena.end();
}

}  // namespace reel::plan
