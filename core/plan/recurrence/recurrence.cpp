#include "core/plan/recurrence/recurrence.h"

#include <algorithm>
#include <numeric>

#include "core/hash.h"
#include "core/plan/grouping.h"
#include "core/plan/recurrence/compiled.h"
#include "core/plan/recurrence/gradient.h"
#include "core/structural.h"

namespace reel::plan {

namespace {
constexpr size_t kMost = 4096;
}

// ---- Schedules ----

int64_t Schedule::most_rows() const {
  int64_t most = 0;
  for (const Level& level : levels) most = std::max(most, level.end - level.begin);
  return most;
}

// A run as one word where all runs are small enough for it: a forest has thousands.
namespace {
constexpr int kRowBits = 22, kCountBits = 12;

uint64_t packed(const Schedule::Run& r) {
  return static_cast<uint64_t>(r.source + 1) << (2 * kRowBits + kCountBits) |
         static_cast<uint64_t>(r.to) << (kRowBits + kCountBits) |
         static_cast<uint64_t>(r.from) << kCountBits | static_cast<uint64_t>(r.count);
}
Schedule::Run unpacked(uint64_t word) {
  const auto bits = [&](int from, int count) {
    return static_cast<int64_t>(word >> from & ((uint64_t{1} << count) - 1));
  };
  return {bits(kRowBits + kCountBits, kRowBits), bits(2 * kRowBits + kCountBits, 8) - 1,
          bits(kCountBits, kRowBits), bits(0, kCountBits)};
}
bool fits(const Schedule::Run& r) {
  return r.source < 254 && r.to >> kRowBits == 0 && r.from >> kRowBits == 0 && r.count >> kCountBits == 0;
}
}  // namespace

std::vector<int64_t> Schedule::words() const {
  const bool small = std::all_of(reads.begin(), reads.end(), [](const std::vector<Run>& runs) {
    return std::all_of(runs.begin(), runs.end(), fits);
  });
  std::vector<int64_t> words{rows, static_cast<int64_t>(levels.size()), static_cast<int64_t>(reads.size()),
                             small};
  for (const Level& level : levels) words.insert(words.end(), {level.begin, level.end});
  for (const auto& runs : reads) {
    words.push_back(static_cast<int64_t>(runs.size()));
    words.reserve(words.size() + runs.size() * (small ? 1 : 4));
    for (const Run& r : runs) {
      if (small) {
        words.push_back(static_cast<int64_t>(packed(r)));
      } else {
        words.insert(words.end(), {r.to, r.source, r.from, r.count});
      }
    }
  }
  return words;
}

Schedule::Schedule(std::span<const int64_t> words, bool with_reads) {
  const int64_t* at = words.data();
  rows = *at++;
  levels.resize(static_cast<size_t>(*at++));
  reads.resize(static_cast<size_t>(*at++));
  const bool small = *at++ != 0;
  for (Level& level : levels) {
    level.begin = *at++;
    level.end = *at++;
  }
  if (!with_reads) return;
  for (auto& runs : reads) {
    runs.resize(static_cast<size_t>(*at++));
    for (Run& r : runs) {
      r = small ? unpacked(static_cast<uint64_t>(*at)) : Run{at[0], at[1], at[2], at[3]};
      at += small ? 1 : 4;
    }
  }
}

// ---- Recurrences: equal ones are one op ----

Recurrence::~Recurrence() = default;

Shape Recurrence::shape(size_t output, int64_t row_count) const {
  Shape shape = body.graph.shape(body.outputs[output]);
  if (!total(output)) shape[0] = row_count;
  return shape;
}

int64_t Recurrence::offset(size_t output, int64_t row_count) const {
  int64_t elements = 0;
  for (size_t k : order) {
    if (k == output) break;
    elements += shape(k, row_count).numel();
  }
  return elements;
}

const Recurrence* intern(Body body, size_t rows, size_t reads, size_t own) {
  // Ops outlive everything that was recorded with them.
  static thread_local auto* interned = new Interned<Recurrence>(kMost);
  const uint64_t hash = reel::hash_of(body.words);
  const Recurrence* known = interned->find(hash, [&](const Recurrence& r) {
    return r.rows == rows && r.reads == reads && r.own == own && r.body.words == body.words;
  });
  if (known) return known;
  Recurrence* added = interned->add(hash);
  if (!added) return nullptr;
  Recurrence& r = *added;
  r.body = std::move(body);
  r.rows = rows;
  r.reads = reads;
  r.own = own;
  Grouping grouping(r.body);
  grouping.find_ways();
  for (Id id : r.body.outputs) {
    r.totals.push_back(r.body.graph.is_node(id) && grouping.way(r.body.graph.node_of(id)) == Way::alone);
  }
  r.order.resize(r.body.outputs.size());
  std::iota(r.order.begin(), r.order.end(), size_t{0});
  std::stable_sort(r.order.begin(), r.order.end(), [&](size_t a, size_t b) {
    const auto place = [&](size_t k) {
      return k >= own ? std::pair(0, int64_t{0}) : std::pair(1, r.total(k) ? 0 : r.shape(k, 1).numel());
    };
    return place(a) < place(b);
  });
  r.op.name = "recurrence";
  r.op.doc = "a body over many rows, level by level; the outputs one after another; made by the planner";
  r.op.vjp = recurrence_vjp;
  r.op.f32 = r.op.f64 = run_recurrence;
  r.op.shape_is_argument = true;
  r.op.recurrence = &r;
  return &r;
}

}  // namespace reel::plan
