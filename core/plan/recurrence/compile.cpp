#include <algorithm>

#include "core/plan/grouping.h"
#include "core/plan/recurrence/compiled.h"
#include "core/structural.h"

namespace reel::plan {

namespace {

using Compiled = Recurrence::Compiled;

// The body over so many rows.
Graph widened(const Recurrence& r, int64_t rows) {
  Grouping grouping(r.body);
  grouping.find_ways();
  Graph graph = r.body.graph;
  graph.floats = r.body.floats;
  for (size_t k = 0; k < r.body.arguments; ++k) {
    graph.leaves[k].shape[0] = rows;
    graph.leaves[k].strides = row_major(graph.leaves[k].shape);
  }
  for (size_t k = 0; k < graph.nodes.size(); ++k) {
    if (grouping.way(k) == Way::light || grouping.way(k) == Way::heavy) graph.nodes[k].shape[0] = rows;
  }
  for (size_t j = 0; j < r.body.outputs.size(); ++j) {
    graph.results.push_back({static_cast<int32_t>(j), r.body.outputs[j]});
    graph.nodes[graph.node_of(r.body.outputs[j])].stays = true;
  }
  graph.repeats = 16;
  return graph;
}

Graph rewritten(Graph graph) {
  if (passes().prune) graph = prune(graph);
  if (passes().accumulate) graph = join_sums(std::move(graph));
  if (passes().fuse) {
    graph = sink(std::move(graph));
    if (passes().prune) graph = prune(graph);
    fuse(graph);
  }
  return graph;
}

class Compiling {
 public:
  Compiling(const Recurrence& r, int64_t capacity) : r_(r), made_(std::make_unique<Compiled>()) {
    made_->capacity = capacity;
    made_->passes = passes().bits();
  }

  std::unique_ptr<Compiled> run() {
    Graph graph = rewritten(widened(r_, made_->capacity));
    const std::vector<Result> results = std::move(graph.results);
    graph.results.clear();  // they get memory of the caller's
    made_->plan = lower(graph);
    for (size_t k = 0; k < r_.reads; ++k) {
      const Shape& shape = graph.leaves[r_.rows + k].shape;
      made_->read_bytes.push_back(row_bytes(shape, graph.leaves[r_.rows + k].dtype));
    }
    find_bases(graph);
    for (const Result& result : results) hand_out(result, results);
    find_rows(graph);
    keep_what_is_shared();
    lay_out(*made_->plan);
    find_moving();
    find_overlays();
    return std::move(made_);
  }

 private:
  using Base = Compiled::Base;

  static int64_t row_bytes(const Shape& shape, DType dtype) {
    return shape.numel() / shape[0] * static_cast<int64_t>(size_of(dtype));
  }
  Plan& plan() { return *made_->plan; }

  void find_bases(const Graph& graph) {
    made_->bases.assign(plan().roots.size(), {Base::scratch});
    for (size_t k = 0; k < plan().roots.size(); ++k) {
      const Root& root = plan().roots[k];
      if (root.home != Home::leaf) continue;
      const auto leaf = static_cast<size_t>(root.leaf);
      if (leaf < r_.rows) {
        made_->bases[k] = {Base::row, leaf, row_bytes(graph.leaves[leaf].shape, graph.leaves[leaf].dtype)};
      } else if (leaf < r_.body.arguments) {
        made_->bases[k] = {Base::read, leaf - r_.rows};
      } else {
        made_->bases[k] = {Base::shared, leaf - r_.body.arguments};
      }
    }
  }

  // An output lies where the caller wants it, or is copied there.
  void hand_out(const Result& result, std::span<const Result> all) {
    const auto output = static_cast<size_t>(result.pending);
    if (r_.total(output)) {
      const auto total = static_cast<size_t>(plan().values[static_cast<size_t>(result.id)].root);
      const bool added = adds_up(result.id, all);
      if (added) made_->bases[total] = {Base::total, made_->totals.size()};
      plan().roots[total].lasts = true;
      made_->totals.push_back({output, result.id, added});
      return;
    }
    const PlannedValue v = plan().values[static_cast<size_t>(result.id)];
    auto root = static_cast<size_t>(v.root);
    const int64_t bytes = v.shape.numel() * static_cast<int64_t>(size_of(v.dtype));
    const bool whole = made_->bases[root].base == Base::scratch && plan().roots[root].bytes == bytes &&
                       v.offset == 0 && is_contiguous(v.shape, v.strides);
    if (!whole) {
      plan().roots.push_back({.home = Home::scratch, .bytes = bytes});
      root = plan().roots.size() - 1;
      made_->bases.push_back({Base::scratch});
      plan().values.push_back({v.dtype, v.shape, row_major(v.shape), static_cast<int32_t>(root), 0});
      const Id copy = static_cast<Id>(plan().values.size() - 1);
      plan().steps.push_back({.what = Do::copy,
                              .first = static_cast<uint32_t>(plan().operands.size()),
                              .inputs = 1,
                              .outputs = 1});
      for (Id id : {result.id, copy}) {
        const PlannedValue& value = plan().values[static_cast<size_t>(id)];
        plan().operands.push_back(id);
        plan().arrays.push_back({nullptr, value.dtype, value.shape, value.strides});
        plan().addresses.push_back(nullptr);
      }
    }
    made_->bases[root] = {Base::output, output, row_bytes(v.shape, v.dtype)};
    plan().roots[root].home = Home::own;
  }

  // Lets the step that makes a total add to what is there, where it can and nothing else needs its memory.
  bool adds_up(Id id, std::span<const Result> all) {
    const auto root_of = [&](Id other) { return plan().values[static_cast<size_t>(other)].root; };
    const PlannedValue& v = plan().values[static_cast<size_t>(id)];
    if (v.offset != 0 || made_->bases[static_cast<size_t>(v.root)].base != Base::scratch) return false;
    if (std::ranges::count_if(all, [&](const Result& r) { return root_of(r.id) == v.root; }) > 1)
      return false;
    std::vector<size_t> makers;
    for (size_t s = 0; s < plan().steps.size(); ++s) {
      const Step& step = plan().steps[s];
      for (uint32_t k = 0; k < step.inputs + step.outputs; ++k) {
        if (root_of(plan().operands[step.first + k]) != v.root) continue;
        if (k < step.inputs) return false;
        makers.push_back(s);
      }
    }
    if (makers.empty()) return false;
    Step& first = plan().steps[makers[0]];
    if (makers.size() == 2 && first.what == Do::zero && plan().steps[makers[1]].add) {
      plan().steps.erase(plan().steps.begin() + static_cast<std::ptrdiff_t>(makers[0]));
      return true;
    }
    if (makers.size() > 1 || first.what != Do::call) return false;
    return first.add = plan().nodes[static_cast<size_t>(first.node)].op->accumulates;
  }

  // Whether each operand has a row for each row of the level.
  void find_rows(const Graph& graph) {
    std::vector<bool> rows(plan().values.size(), false);
    for (size_t k = 0; k < graph.leaves.size(); ++k) rows[k] = k < r_.body.arguments;
    for (size_t k = 0; k < graph.nodes.size(); ++k) {
      const GraphNode& n = graph.nodes[k];
      if (n.shape.rank() == 0 || n.shape[0] != made_->capacity) continue;
      for (Id id : graph.in(n)) {
        if (rows[static_cast<size_t>(id)]) rows[static_cast<size_t>(graph.id_of(k))] = true;
      }
    }
    for (const Compiled::Total& total : made_->totals) rows[static_cast<size_t>(total.value)] = false;
    const size_t known = graph.leaves.size() + graph.nodes.size();
    made_->by_rows.assign(plan().operands.size(), false);
    for (size_t s = 0; s < plan().steps.size(); ++s) {
      const Step& step = plan().steps[s];
      bool any = false;
      for (uint32_t k = 0; k < step.inputs; ++k)
        any = any || rows[static_cast<size_t>(plan().operands[step.first + k])];
      for (uint32_t k = 0; k < step.inputs + step.outputs; ++k) {
        const auto id = static_cast<size_t>(plan().operands[step.first + k]);
        if (k >= step.inputs && (id >= known || step.inputs == 0)) rows[id] = rows[id] || any;
        made_->by_rows[step.first + k] = rows[id];
        any = any || rows[id];
      }
      if (any || step.what == Do::zero) {
        made_->level.push_back({s, row_sum(step)});
        if (step.what == Do::product) describe_product(step, made_->level.back());
      } else {
        made_->once.push_back(s);
      }
    }
  }

  // What lets a level leave a product out: rows of its left side that are zero, a result that nobody reads.
  void describe_product(const Step& product, Compiled::AtEveryLevel& at) {
    const auto root_of = [&](uint32_t operand) {
      return static_cast<size_t>(plan().values[static_cast<size_t>(plan().operands[operand])].root);
    };
    const size_t left = root_of(product.first), out = root_of(product.first + product.inputs);
    if (made_->bases[left].base == Base::read) at.left = static_cast<int32_t>(made_->bases[left].index);
    const bool read = std::ranges::any_of(plan().steps, [&](const Step& step) {
      for (uint32_t k = 0; k < step.inputs; ++k) {
        if (root_of(step.first + k) == out) return true;
      }
      return false;
    });
    if (made_->bases[out].base == Base::output && !read)
      at.output = static_cast<int32_t>(made_->bases[out].index);
  }

  // A sum over the rows of a level, onto what is there.
  int64_t row_sum(const Step& step) {
    if (step.what != Do::call || !step.add || plan().nodes[static_cast<size_t>(step.node)].op != &sum_to_op)
      return 0;
    const auto operand = [&](uint32_t k) {
      return plan().values[static_cast<size_t>(plan().operands[step.first + k])];
    };
    const PlannedValue from = operand(0), to = operand(1);
    const bool rows = from.shape.rank() == 2 && from.strides[1] == 1 && to.shape.numel() == from.shape[1] &&
                      is_contiguous(to.shape, to.strides) && from.dtype == DType::f32;
    return rows ? from.shape[1] : 0;
  }

  void keep_what_is_shared() {
    for (size_t s : made_->once) {
      const Step& step = plan().steps[s];
      for (uint32_t k = 0; k < step.outputs; ++k) {
        const Id id = plan().operands[step.first + step.inputs + k];
        const auto root = static_cast<size_t>(plan().values[static_cast<size_t>(id)].root);
        if (made_->bases[root].base != Base::scratch) continue;
        made_->bases[root].base = Base::kept;
        plan().roots[root].lasts = true;
      }
    }
  }

  void find_moving() {
    std::vector<bool> described(plan().operands.size(), true);
    for (const Step& step : plan().steps) {
      if (step.what != Do::fused && step.what != Do::product) continue;
      std::fill_n(described.begin() + step.first, step.inputs + step.outputs, false);
    }
    for (size_t k = 0; k < plan().operands.size(); ++k) {
      const PlannedValue& v = plan().values[static_cast<size_t>(plan().operands[k])];
      const Compiled::RootBase& base = made_->bases[static_cast<size_t>(v.root)];
      if (base.base == Base::row || base.base == Base::read || base.base == Base::output)
        made_->moving.push_back({static_cast<uint32_t>(k), base, v.offset, described[k]});
    }
  }

  void find_overlays() {
    for (size_t in = 0; in < plan().roots.size(); ++in) {
      for (size_t out = 0; out < plan().roots.size(); ++out) {
        const Compiled::RootBase &from = made_->bases[in], &to = made_->bases[out];
        if (from.base == Base::row && to.base == Base::output && from.row_bytes == to.row_bytes &&
            read_before_written(static_cast<int32_t>(in), static_cast<int32_t>(out)))
          made_->overlays.push_back({from.index, to.index});
      }
    }
  }

  bool read_before_written(int32_t in, int32_t out) {
    bool written = false;
    for (const auto& at : made_->level) {
      const Step& step = plan().steps[at.step];
      const auto value = [&](uint32_t k) {
        return plan().values[static_cast<size_t>(plan().operands[step.first + k])];
      };
      bool writes = false;
      for (uint32_t k = step.inputs; k < step.inputs + step.outputs; ++k)
        writes = writes || value(k).root == out;
      for (uint32_t k = 0; k < step.inputs; ++k) {
        if (value(k).root != in) continue;
        if (written || (writes && step.what != Do::fused)) return false;
        for (uint32_t j = step.inputs; writes && j < step.inputs + step.outputs; ++j) {
          if (value(j).root == out && !same_or_other_columns(value(k), value(j))) return false;
        }
      }
      written = written || writes;
    }
    return written;
  }

  // A pointwise kernel may write what it reads, element for element.
  static bool same_or_other_columns(const PlannedValue& a, const PlannedValue& b) {
    if (a.shape != b.shape || a.shape.rank() != 2 || a.strides != b.strides || a.strides[1] != 1)
      return false;
    const int64_t apart = std::abs(a.offset - b.offset) / static_cast<int64_t>(size_of(a.dtype));
    return a.dtype == b.dtype && (apart == 0 || (apart >= a.shape[1] && apart < a.strides[0]));
  }

  const Recurrence& r_;
  std::unique_ptr<Compiled> made_;
};

}  // namespace

std::unique_ptr<Recurrence::Compiled> compile(const Recurrence& r, int64_t capacity) {
  return Compiling(r, capacity).run();
}

const Compiled& compiled_for(const Recurrence& r, int64_t rows) {
  int64_t capacity = 1;
  while (capacity < rows) capacity *= 2;
  capacity = rows <= 64 ? rows : capacity;
  for (const auto& c : r.compiled) {
    if (c->capacity == capacity && c->passes == passes().bits()) return *c;
  }
  r.compiled.push_back(compile(r, capacity));
  return *r.compiled.back();
}

}  // namespace reel::plan
