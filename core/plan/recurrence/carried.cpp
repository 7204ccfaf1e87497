// carried: what a recurrence hands from level to level and to nobody else needs memory for two levels. So a
// gradient's states stay in the cache, where they would be written to as many rows as the sequence has.
#include <algorithm>
#include <cstdlib>

#include "core/plan/recurrence/compiled.h"
#include "core/structural.h"

namespace reel::plan {

namespace {
constexpr size_t kBits = 62;
}

// i[0] of a recurrence: a bit for each output that only its own levels read.
void find_carried(Graph& graph) {
  for (GraphNode& n : graph.nodes) {
    if (!n.op->recurrence || n.stays) continue;
    const Recurrence& r = *n.op->recurrence;
    const int64_t rows = Schedule(graph.list_of(n), false).rows;
    const Id id = graph.id_of(static_cast<size_t>(&n - graph.nodes.data()));
    std::vector<const GraphNode*> readers;
    for (const GraphNode& reader : graph.nodes) {
      if (std::ranges::find(graph.in(reader), id) != graph.in(reader).end()) readers.push_back(&reader);
    }
    int64_t carried = 0;
    for (size_t k = 0; k < std::min(kBits, r.body.outputs.size()); ++k) {
      const int64_t begin = r.offset(k, rows), end = begin + r.shape(k, rows).numel();
      const bool read = std::ranges::any_of(readers, [&](const GraphNode* reader) {
        return reader->op != &stretch_op ||
               (reader->i[0] < end && reader->i[0] + reader->shape.numel() > begin);
      });
      if (!read && !r.total(k)) carried |= int64_t{1} << k;
    }
    n.i[0] = carried;
  }
}

bool is_carried(const Exec& e, size_t output) { return output < kBits && (e.attrs.i[0] >> output & 1) != 0; }

// Of a carried output: how many rows it takes, after which the first are written again; 0: all of them, where
// levels differ in size, a level reads another than the one before it, or the rows lie over an input's.
int64_t rows_carried(const Exec& e, const Schedule& schedule, size_t output) {
  const Recurrence& r = *e.op.recurrence;
  if (!is_carried(e, output)) return 0;
  const auto width = static_cast<int64_t>(size_of(e.out.dtype));
  const std::byte* begin = e.out.data + r.offset(output, schedule.rows) * width;
  const std::byte* end = begin + r.shape(output, schedule.rows).numel() * width;
  for (size_t k = 0; k < r.rows; ++k) {
    const Array& in = e.in[k];
    if (in.data < end && begin < in.data + in.shape.numel() * static_cast<int64_t>(size_of(in.dtype)))
      return 0;
  }
  const auto& levels = schedule.levels;
  const int64_t size = schedule.most_rows();
  for (size_t k = 0; k < levels.size(); ++k) {
    if (levels[k].end - levels[k].begin != size || levels[k].begin % size != 0) return 0;
    const int64_t step = k == 0 ? size : levels[k].begin - levels[k - 1].begin;
    if (std::abs(step) != size || (k > 1 && step != levels[1].begin - levels[0].begin)) return 0;
  }
  for (const auto& runs : schedule.reads) {
    for (const Schedule::Run& run : runs) {
      if (run.source == static_cast<int64_t>(output) && std::abs(run.from - run.to) != size) return 0;
    }
  }
  return 2 * size;
}

}  // namespace reel::plan
