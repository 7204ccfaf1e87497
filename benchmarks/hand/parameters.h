// The weights of a hand-written model and their gradients, by name.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/hand/gemm.h"
#include "benchmarks/hand/rows.h"
#include "benchmarks/workload.h"
#include "core/error.h"

namespace reel::bench::expert {

struct Parameter {
  std::string name;
  Shape shape;
  Floats value, gradient;
};

class Parameters {
 public:
  explicit Parameters(const Weights& weights) {
    for (const Weight& w : weights) {
      const auto count = static_cast<int64_t>(w.values.size());
      all_.push_back({w.name, w.shape, Floats(count), Floats(count)});
      std::copy(w.values.begin(), w.values.end(), all_.back().value.data());
    }
  }
  Parameter& operator[](std::string_view name) {
    for (Parameter& p : all_) {
      if (p.name == name) return p;
    }
    fail("no weight {}", name);
  }
  Weights gradients() const {
    Weights out;
    for (const Parameter& p : all_) {
      out.push_back({p.name, p.shape, {p.gradient.data(), p.gradient.data() + p.shape.numel()}});
    }
    return out;
  }

 private:
  std::vector<Parameter> all_;
};

// An embedding's gradient: dense, but only rows that were touched are ever cleared.
class Rows {
 public:
  explicit Rows(Parameter& table) : table_(table), width_(table.shape[1]) {}

  void gather(const std::vector<int64_t>& ids, float* to, int64_t stride) const {
    for (size_t r = 0; r < ids.size(); ++r) {
      const float* row = table_.value.data() + ids[r] * width_;
      std::copy(row, row + width_, to + static_cast<int64_t>(r) * stride);
    }
  }
  void clear() {
    for (int64_t id : touched_) std::fill_n(table_.gradient.data() + id * width_, width_, 0.f);
  }
  // gradient[ids[r]] += rows[r]
  void scatter(const std::vector<int64_t>& ids, const float* rows) {
    for (size_t r = 0; r < ids.size(); ++r) {
      add(table_.gradient.data() + ids[r] * width_, rows + static_cast<int64_t>(r) * width_, width_);
    }
    touched_ = ids;
  }

 private:
  Parameter& table_;
  int64_t width_;
  std::vector<int64_t> touched_;
};

}  // namespace reel::bench::expert
