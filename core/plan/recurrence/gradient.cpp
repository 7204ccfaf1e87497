// The gradient of a recurrence is a recurrence: the body's gradient rules are asked once, for rows whose
// number is left open, and its levels run backwards. Gradients of what all rows share are sums over all rows,
// made once at the end.
#include "core/plan/recurrence/gradient.h"

#include <algorithm>
#include <utility>

#include "core/plan/counted.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

using Gradient = Recurrence::Gradient;
using From = Gradient::From;
using Run = Schedule::Run;

// In the order of their rows, and as they came where these are the same.
void sort_by_row(std::vector<Run>& runs, int64_t rows) {
  if (std::ranges::is_sorted(runs, {}, &Run::to)) return;
  if (static_cast<int64_t>(runs.size()) * 8 < rows) {
    std::ranges::stable_sort(runs, {}, &Run::to);
    return;
  }
  runs = counted(runs, rows, [](const Run& run) { return run.to; });
}

class Backward {
 public:
  explicit Backward(Vjp& g)
      : g_(g), r_(*g.op().recurrence), schedule_(g.list()), sources_(r_.rows + r_.shared()) {}

  void run() {
    find_cotangents();
    find_readers();
    Gradient::Key key{{}, {}, {}};
    for (size_t j = 0; j < r_.own; ++j) {
      key.given.push_back(cotangents_[j].defined());
      key.readers.push_back(static_cast<int64_t>(readers_[j].size()));
    }
    for (size_t k = 0; k < sources_; ++k) key.needs.push_back(g_.needs(k));
    const Gradient& gradient = gradient_of(r_, key);
    values_.resize(gradient.body.graph.leaves.size() + gradient.body.graph.nodes.size());
    if (!gradient.inner) fail("[recurrence] a gradient that is no recurrence, though one was expected");
    levels(gradient);
    hand_out(gradient);
  }

 private:
  Tensor part(size_t output) {
    return stretch(g_.y(), r_.offset(output, schedule_.rows), r_.shape(output, schedule_.rows));
  }

  // The cotangents of the outputs, which come as slices of the flat result's.
  void find_cotangents() {
    cotangents_.resize(r_.own);
    const Node* sum = g_.dy.node();
    for (size_t j = 0; j < r_.own; ++j) {
      const Shape shape = r_.shape(j, schedule_.rows);
      const int64_t begin = r_.offset(j, schedule_.rows), size = shape.numel();
      if (sum->op != &accumulate_op) {
        cotangents_[j] = stretch(g_.dy, begin, shape);
        continue;
      }
      for (uint32_t p = 0; p < sum->inputs; ++p) {
        if (place_of(*sum->list, p).begin != begin || sum->in[p]->shape.numel() != size) continue;
        Node* value = sum->in[p];
        cotangents_[j] = value->op == &reshape_op && value->in[0]->shape == shape
                             ? Tensor(value->in[0])
                             : reshaped(Tensor(value), shape);
      }
    }
  }

  // For each row of an output, which rows read it: as many lists as one row has readers at most.
  void find_readers() {
    readers_.resize(r_.own);
    for (size_t j = 0; j < r_.own; ++j) {
      std::vector<Run> all;  // `source`: the read
      for (size_t p = 0; p < r_.reads; ++p) {
        for (const Run& run : schedule_.reads[p]) {
          if (run.source == static_cast<int64_t>(j))
            all.push_back({run.from, static_cast<int64_t>(p), run.to, run.count});
        }
      }
      sort_by_row(all, schedule_.rows);
      for (const Run& run : all) {
        auto& slots = readers_[j];
        auto slot = std::find_if(slots.begin(), slots.end(), [&](const auto& runs) {
          return runs.back().to + runs.back().count <= run.to;
        });
        if (slot == slots.end()) slot = slots.insert(slot, std::vector<Run>());
        slot->push_back(run);
      }
    }
  }

  // What read p holds, as one matrix.
  Tensor given(size_t p) {
    const auto& runs = schedule_.reads[p];
    std::vector<Arg> in;
    Tensors parts;
    for (const Run& run : runs) {
      if (runs.size() > 4) break;
      parts.push_back(run.source == Schedule::kNothing
                          ? full(rows_like(p, run.count), 0, r_.dtype())
                          : slice(source(run.source), 0, run.from, run.from + run.count));
    }
    if (parts.size() == 1) return parts[0];
    for (const Tensor& part : parts) in.emplace_back(part);
    if (!parts.empty()) return record(concat_op, in, {.attrs = {.i = {0}, .f = {}}, .shape = {}, .list = {}});
    std::vector<int64_t> list, known;
    for (const Run& run : runs) {
      const auto at = std::find(known.begin(), known.end(), run.source);
      list.insert(list.end(), {at - known.begin(), run.from, run.count});
      if (at != known.end()) continue;
      known.push_back(run.source);
      parts.push_back(run.source == Schedule::kNothing ? full(rows_like(p, schedule_.rows), 0, r_.dtype())
                                                       : source(run.source));
    }
    for (const Tensor& part : parts) in.emplace_back(part);
    return record(pick_rows_op, in,
                  {.attrs = {},
                   .shape = rows_like(p, schedule_.rows),
                   .dtype = parts[0].dtype(),
                   .list = std::move(list)});
  }
  Shape rows_like(size_t read, int64_t rows) const {
    Shape shape = r_.body.graph.leaves[r_.rows + read].shape;
    shape[0] = rows;
    return shape;
  }

  // Of a read: its only run of rows that are not zero.
  const Run* one_run(size_t p) const {
    const Run* only = nullptr;
    for (const Run& run : schedule_.reads[p]) {
      if (run.source == Schedule::kNothing) continue;
      if (only) return nullptr;
      only = &run;
    }
    return only;
  }
  Tensor rows_of(const Run& run) { return slice(source(run.source), 0, run.from, run.from + run.count); }

  // Whether all that reads a value outside sums its rows' products with other rows, so that zeros need not be
  // there.
  static bool summed_alone(const Gradient& gradient, Id id) {
    const Graph& graph = gradient.body.graph;
    for (size_t k = 0; k < graph.nodes.size(); ++k) {
      const auto in = graph.in(graph.nodes[k]);
      if (gradient.split->outside[k] == Split::Outside::no || std::ranges::find(in, id) == in.end()) continue;
      if (!sums_products(graph.nodes[k]) || in[0] == in[1]) return false;
      const Id other = in[in[0] == id];
      if (is_given(gradient, other)) return false;
    }
    return true;
  }
  static bool sums_products(const GraphNode& n) {
    return n.op->kind == Kind::matmul && n.i[0] == 1 && n.i[1] == 0 && n.shape.rank() == 2;
  }
  static bool is_given(const Gradient& gradient, Id id) {
    return !gradient.body.graph.is_node(id) && gradient.leaves[static_cast<size_t>(id)].what == From::given;
  }

  // What a read of the forward pass reads from.
  Tensor source(int64_t number) {
    const auto outputs = static_cast<int64_t>(r_.body.outputs.size());
    return number < outputs ? part(static_cast<size_t>(number))
                            : g_.x(sources_ + static_cast<size_t>(number - outputs));
  }

  Tensor value_of(const Gradient& gradient, const From& from, Id id) {
    switch (from.what) {
      case From::row: return g_.x(from.index);
      case From::kept: return part(from.index);
      case From::cotangent: return cotangents_[from.index];
      case From::shared: return g_.x(r_.rows + from.index);
      case From::given:
        if (!read_outside(gradient.body, *gradient.split, id)) return {};
        return summed_alone(gradient, id) && one_run(from.index) ? rows_of(*one_run(from.index))
                                                                 : given(from.index);
      case From::reader: break;
    }
    return {};
  }

  void levels(const Gradient& gradient) {
    const Body& body = gradient.body;
    const Split& split = *gradient.split;
    const Recurrence& inner = *gradient.inner;
    for (size_t k = 0; k < body.graph.leaves.size(); ++k) {
      values_[k] = value_of(gradient, gradient.leaves[k], static_cast<Id>(k));
    }
    const auto make = [&](size_t k, const Tensors& in) {
      const GraphNode& n = body.graph.nodes[k];
      const auto list = body.graph.list_of(n);
      Call call{.attrs = {n.i, n.floats < 0 ? Floats{} : body.floats[static_cast<size_t>(n.floats)]},
                .shape = n.shape,
                .dtype = n.dtype,
                .list = {list.begin(), list.end()}};
      if (call.shape.rank() > 0 && call.shape[0] == kTracedRows) call.shape[0] = schedule_.rows;
      Tensors arguments = in;
      for (size_t j = 0; j < n.inputs && sums_products(n); ++j) {
        const Id id = body.graph.in(n)[j];
        if (!is_given(gradient, id) || in[j].size(0) == schedule_.rows) continue;
        const Run& run = *one_run(gradient.leaves[static_cast<size_t>(id)].index);
        arguments[1 - j] = slice(in[1 - j], 0, run.to, run.to + run.count);
      }
      return record(*n.op, std::vector<Arg>(arguments.begin(), arguments.end()), std::move(call));
    };
    write(body, split, Split::Outside::before, values_, make);

    Schedule backwards;
    backwards.rows = schedule_.rows;
    backwards.levels.assign(schedule_.levels.rbegin(), schedule_.levels.rend());
    std::vector<Arg> in;
    for (Id id : split.rows) in.emplace_back(values_[static_cast<size_t>(id)]);
    for (Id id : split.shared) in.emplace_back(values_[static_cast<size_t>(id)]);
    std::vector<int64_t> known;  // sources of the forward pass that are sources here
    const auto outputs = static_cast<int64_t>(inner.body.outputs.size());
    std::vector<int64_t> made_by;  // of reads: the output that is its gradient
    for (Id id : gradient.of_reads) {
      made_by.push_back(id < 0 ? Schedule::kNothing
                               : std::ranges::find(split.outputs, id) - split.outputs.begin());
    }
    Tensors held;
    for (Id id : split.reads) {
      const From& from = gradient.leaves[static_cast<size_t>(id)];
      auto& runs = backwards.reads.emplace_back();
      if (from.what == From::reader) {
        const auto& readers = readers_[from.index][from.slot];
        runs.reserve(2 * readers.size() + 1);
        for (const Run& run : readers) {
          nothing_until(runs, run.to);
          const int64_t made = made_by[static_cast<size_t>(run.source)];
          append(runs, {run.to, made, made == Schedule::kNothing ? 0 : run.from, run.count});
        }
        nothing_until(runs, schedule_.rows);
        continue;
      }
      for (Run run : schedule_.reads[from.index]) {
        if (run.source != Schedule::kNothing) {
          auto at = std::find(known.begin(), known.end(), run.source);
          if (at == known.end()) {
            held.push_back(source(run.source));
            at = known.insert(at, run.source);
          }
          run.source = outputs + (at - known.begin());
        }
        append(runs, run);
      }
    }
    for (const Tensor& t : held) in.emplace_back(t);
    const Tensor flat = record(inner.op, in,
                               {.attrs = {},
                                .shape = {inner.size(schedule_.rows)},
                                .dtype = inner.dtype(),
                                .list = backwards.words()});
    for (size_t j = 0; j < split.outputs.size(); ++j) {
      values_[static_cast<size_t>(split.outputs[j])] =
          stretch(flat, inner.offset(j, schedule_.rows), inner.shape(j, schedule_.rows));
    }
    write(body, split, Split::Outside::after, values_, make);
  }

  static void nothing_until(std::vector<Run>& runs, int64_t row) {
    const int64_t from = runs.empty() ? 0 : runs.back().to + runs.back().count;
    if (from < row) append(runs, {from, Schedule::kNothing, 0, row - from});
  }

  void hand_out(const Gradient& gradient) {
    const auto value = [&](Id id) { return id < 0 ? Tensor() : values_[static_cast<size_t>(id)]; };
    for (size_t k = 0; k < r_.rows; ++k) {
      if (g_.needs(k)) g_[k] = value(gradient.of_rows[k]);
    }
    for (size_t k = 0; k < r_.shared(); ++k) {
      if (g_.needs(r_.rows + k)) g_[r_.rows + k] = value(gradient.of_shared[k]);
    }
    for (size_t k = sources_; k < g_.inputs(); ++k) {
      if (g_.needs(k)) g_[k] = of_source(gradient, k);
    }
  }

  // The gradient of a source of rows: where each row was read once, it is rows of what its readers have for
  // it; else that is added up.
  Tensor of_source(const Gradient& gradient, size_t k) {
    const int64_t number = static_cast<int64_t>(r_.body.outputs.size() + k - sources_);
    const Shape& shape = g_.x(k).shape();
    std::vector<Run> all;  // of the source's rows: `source` is what its reader has for them
    Tensors in;
    for (size_t p = 0; p < r_.reads; ++p) {
      const Id dy = gradient.of_reads[p];
      if (dy < 0) continue;
      const size_t before = all.size();
      for (const Run& run : schedule_.reads[p]) {
        if (run.source == number)
          all.push_back({run.from, static_cast<int64_t>(in.size()), run.to, run.count});
      }
      if (all.size() > before) in.push_back(values_[static_cast<size_t>(dy)]);
    }
    if (all.empty()) return {};
    sort_by_row(all, shape[0]);
    int64_t row = 0;
    const bool once = std::ranges::all_of(
        all, [&](const Run& run) { return std::exchange(row, run.to + run.count) == run.to; });
    if (!once || row != shape[0]) return added_up(in, all, shape);
    if (all.size() == 1) return slice(in[0], 0, all[0].from, all[0].from + row);
    std::vector<int64_t> list;
    for (const Run& run : all) list.insert(list.end(), {run.source, run.from, run.count});
    return record(pick_rows_op, std::vector<Arg>(in.begin(), in.end()),
                  {.attrs = {}, .shape = shape, .dtype = r_.dtype(), .list = std::move(list)});
  }
  Tensor added_up(const Tensors& in, const std::vector<Run>& all, const Shape& shape) const {
    std::vector<Contribution> parts;
    for (size_t p = 0; p < in.size(); ++p) {
      std::vector<int64_t> list;
      for (const Run& run : all) {
        if (run.source == static_cast<int64_t>(p)) list.insert(list.end(), {run.from, run.to, run.count});
      }
      const bool whole = list.size() == 3 && list[1] == 0 && list[2] == shape[0];
      parts.push_back({whole ? slice(in[p], 0, list[0], list[0] + list[2])
                             : record(put_rows_op, {{Arg(in[p])}},
                                      {.attrs = {}, .shape = shape, .dtype = r_.dtype(), .list = list}),
                       {},
                       {}});
    }
    return parts.size() == 1 ? parts[0].value : accumulate(parts, shape, r_.dtype());
  }

  Vjp& g_;
  const Recurrence& r_;
  const Schedule schedule_;
  const size_t sources_;                                // the first input that is one
  Tensors cotangents_;                                  // of own outputs, from outside
  std::vector<std::vector<std::vector<Run>>> readers_;  // of own outputs, by slot; `source`: the read
  Tensors values_;                                      // of the gradient's body
};

}  // namespace

void recurrence_vjp(Vjp& g) { Backward(g).run(); }

}  // namespace reel::plan
