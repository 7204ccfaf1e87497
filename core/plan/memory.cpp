// Memory: how long each value is needed, and where it lies in the arena meanwhile: large values are packed
// with all their lifetimes known, small ones above them as they come and go.
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

// Whether the k-th output of a step may be written over its j-th input, element for element.
bool may_replace(const Plan& plan, const Step& step, uint32_t j, uint32_t k) {
  if (step.what == Do::fused) return plan.prepared[static_cast<size_t>(step.kernel)].replaces(j, k);
  if (step.what != Do::call || step.add) return false;
  const Op& op = *plan.nodes[static_cast<size_t>(step.node)].op;
  return op.kind == Kind::pointwise || (op.in_place && j == 0);
}

// A result may take the place of an input that is read for the last time. The root of that; -1: none.
int32_t replaced_input(const Plan& plan, size_t s, int32_t root) {
  const Step& step = plan.steps[s];
  const auto value = [&](uint32_t k) -> const PlannedValue& {
    return plan.values[static_cast<size_t>(plan.operands[step.first + k])];
  };
  uint32_t k = 0;
  while (k < step.outputs && value(step.inputs + k).root != root) ++k;
  if (k == step.outputs) return -1;
  const PlannedValue& out = value(step.inputs + k);
  const auto fits = [&](const PlannedValue& v) {
    return v.dtype == out.dtype && v.shape == out.shape && v.offset == out.offset &&
           is_contiguous(v.shape, v.strides);
  };
  for (uint32_t j = 0; j < step.inputs; ++j) {
    const Root& in = plan.roots[static_cast<size_t>(value(j).root)];
    bool replaceable = in.home == Home::scratch && in.last == static_cast<int32_t>(s) && fits(value(j)) &&
                       fits(out) && in.bytes == plan.roots[static_cast<size_t>(root)].bytes;
    for (uint32_t i = 0; replaceable && i < step.inputs; ++i)
      replaceable = value(i).root != value(j).root || (fits(value(i)) && may_replace(plan, step, i, k));
    if (replaceable) return value(j).root;
  }
  return -1;
}

}  // namespace

namespace {

// Memory for one root, or for several of which each takes the place of the one before.
struct Block {
  int32_t first, last;
  int64_t bytes, offset = 0;
  int32_t replaced = -1;  // the step in which the last one took its place; no other may in that step
};

constexpr int64_t kLarge = int64_t{1} << 18;  // bytes
constexpr size_t kMostLarge = 512;

// The largest first, each as low as those that live at the same time let it. Returns where they end.
int64_t place_large(std::vector<Block>& blocks, std::vector<size_t> large) {
  std::stable_sort(large.begin(), large.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;  // by offset
  int64_t end = 0;
  for (size_t mine : large) {
    Block& block = blocks[mine];
    block.offset = 0;
    for (size_t k : placed) {
      const Block& other = blocks[k];
      if (other.first > block.last || other.last < block.first) continue;
      if (other.offset >= block.offset + block.bytes) break;
      block.offset = std::max(block.offset, other.offset + other.bytes);
    }
    placed.insert(std::upper_bound(placed.begin(), placed.end(), mine,
                                   [&](size_t a, size_t b) { return blocks[a].offset < blocks[b].offset; }),
                  mine);
    end = std::max(end, block.offset + block.bytes);
  }
  return end;
}

}  // namespace

void lay_out(Plan& plan) {
  find_lifetimes(plan);
  std::vector<std::vector<int32_t>> born(plan.steps.size());
  for (size_t r = 0; r < plan.roots.size(); ++r) {
    const Root& root = plan.roots[r];
    if (root.home == Home::scratch && root.first >= 0)
      born[static_cast<size_t>(root.first)].push_back(static_cast<int32_t>(r));
  }
  std::vector<Block> blocks;
  std::vector<int32_t> block_of(plan.roots.size(), -1);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    for (int32_t r : born[s]) {
      const Root& root = plan.roots[static_cast<size_t>(r)];
      const int32_t replaced = replaced_input(plan, s, r);
      const int32_t block = replaced < 0 ? -1 : block_of[static_cast<size_t>(replaced)];
      Block* at = block < 0 ? nullptr : &blocks[static_cast<size_t>(block)];
      if (at && at->last == static_cast<int32_t>(s) && at->replaced != static_cast<int32_t>(s)) {
        block_of[static_cast<size_t>(r)] = block;
        at->last = root.last;
        at->replaced = static_cast<int32_t>(s);
      } else {
        block_of[static_cast<size_t>(r)] = static_cast<int32_t>(blocks.size());
        blocks.push_back(
            {root.first, root.last, std::max((root.bytes + kAlign - 1) / kAlign * kAlign, kAlign)});
      }
    }
  }
  std::vector<size_t> large;
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (blocks[b].bytes >= kLarge) large.push_back(b);
  }
  if (large.size() > kMostLarge) large.clear();
  const int64_t above = place_large(blocks, large);
  std::vector<std::vector<size_t>> begins(plan.steps.size()), ends(plan.steps.size());
  std::vector<bool> done(blocks.size(), false);
  for (size_t b : large) done[b] = true;
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (done[b]) continue;
    begins[static_cast<size_t>(blocks[b].first)].push_back(b);
    ends[static_cast<size_t>(blocks[b].last)].push_back(b);
  }
  Arena arena;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    for (size_t b : begins[s]) blocks[b].offset = above + arena.take(blocks[b].bytes);
    for (size_t b : ends[s]) arena.give(blocks[b].offset - above, blocks[b].bytes);
  }
  for (size_t r = 0; r < plan.roots.size(); ++r) {
    if (block_of[r] >= 0) plan.roots[r].offset = blocks[static_cast<size_t>(block_of[r])].offset;
  }
  plan.arena_bytes = above + arena.end();
}

}  // namespace reel::plan
