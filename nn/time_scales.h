// Cells that remember longer, made of any cell: leaky units, groups of units with clocks of their own, and
// skip connections through time. Each is a cell again: Leaky<GRUCell>, Clocked<Leaky<RNNCell>>; options come
// in the order of the names.
#pragma once

#include "nn/cells.h"
#include "nn/unroll.h"

namespace reel::nn {

// ---- Leaky units ----

struct LeakOptions {
  std::vector<double> alpha = {0.9};  // how much of the past stays: of all units, or of each
  bool learned = false;               // then alpha, which starts here, is sigmoid of the parameter "leak"
};

// The values of "leak": alpha for each unit, or log(alpha / (1 - alpha)) where it is learned.
Tensor initial_leak(const LeakOptions& leak, int64_t units);

// h' = alpha h + (1 - alpha) cell(x, h), each unit with its own alpha (Mozer 1992; Jaeger et al. 2007). Of a
// state with several parts the first one leaks.
template <class Cell>
class Leaky : public Module {
 public:
  using State = typename Cell::State;
  template <class... More>
  Leaky(Member at, int64_t in, int64_t hidden, const CellOptions& options = {}, const LeakOptions& leak = {},
        const More&... more)
      : Module(std::move(at)), cell_({this, ""}, in, hidden, options, more...), learned_(leak.learned) {
    const Tensor value = initial_leak(leak, shown(cell_.initial(1)).size(1));
    const std::string name = "leak" + options.suffix;
    leak_ =
        learned_ ? parameter(name, value.shape(), [&](const Shape&) { return value; }) : buffer(name, value);
  }

  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const {
    State next = step(cell_, x, s, drop);
    Tensor& h = *parts(next)[0];
    h = h + alpha() * (shown(s) - h);
    return next;
  }
  State initial(int64_t batch) const { return cell_.initial(batch); }
  Tensor alpha() const { return learned_ ? sigmoid(leak_) : leak_; }  // [hidden]

 private:
  Cell cell_;
  bool learned_;
  Tensor leak_;
};

// ---- Several time scales ----

struct ClockOptions {
  std::vector<int64_t> periods = {1, 2, 4};  // of the groups of units, which are of one size
};

// The period of each unit.
Tensor unit_periods(const ClockOptions& clock, int64_t units);

template <class Inner>
struct ClockedState {
  Inner inner;
  Tensor phase;  // [batch, hidden]: steps since the unit was due
  std::vector<Tensor*> parts() {
    const auto own = nn::parts(inner);
    std::vector<Tensor*> all(own.begin(), own.end());
    all.push_back(&phase);
    return all;
  }
  auto learnable() { return nn::learnable(inner); }
};

// Units of the k-th group take the cell's new state every periods[k]-th step, from the first one on, and keep
// what they have in between; so do all parts of the state. (Koutnik et al. 2014, with W_hh whole.)
template <class Cell>
class Clocked : public Module {
 public:
  using State = ClockedState<typename Cell::State>;
  template <class... More>
  Clocked(Member at, int64_t in, int64_t hidden, const CellOptions& options = {},
          const ClockOptions& clock = {}, const More&... more)
      : Module(std::move(at)),
        cell_({this, ""}, in, hidden, options, more...),
        periods_(unit_periods(clock, hidden)) {
    auto state = cell_.initial(1);
    for (const Tensor* part : parts(state)) {
      if (part->size(1) != hidden)
        fail("[Clocked] a state {} of {} units: want as many", part->shape(), hidden);
    }
  }

  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const {
    const Tensor due = less(s.phase, 0.5), after = s.phase + 1.0;
    State next{choose(due, step(cell_, x, s.inner, drop), s.inner), where(less(after, periods_), after, 0.0)};
    return next;
  }
  State initial(int64_t batch) const {
    return {cell_.initial(batch), full({batch, periods_.size(0)}, 0, periods_.dtype())};
  }

 private:
  Cell cell_;
  Tensor periods_;  // [hidden]
};

// ---- Skip connections through time ----

struct SkipOptions {
  int64_t steps = 2;  // how far back
};

template <class Inner>
struct SkipState {
  Inner inner;
  std::vector<Tensor> past;  // h of `steps` steps ago, of one less, .., of two steps ago
  std::vector<Tensor*> parts() {
    const auto own = nn::parts(inner);
    std::vector<Tensor*> all(own.begin(), own.end());
    for (Tensor& h : past) all.push_back(&h);
    return all;
  }
  auto learnable() { return nn::learnable(inner); }
};

// The cell also sees what it showed `steps` steps ago, beside x: s_t = cell([x_t, h_{t - steps}], s_{t-1}), h
// = 0 before the start (Lin et al. 1996). The columns of weight_ih that are hidden's are the connection's
// weights.
template <class Cell>
class SkipThroughTime : public Module {
 public:
  using State = SkipState<typename Cell::State>;
  template <class... More>
  SkipThroughTime(Member at, int64_t in, int64_t hidden, const CellOptions& options = {},
                  const SkipOptions& skip = {}, const More&... more)
      : Module(std::move(at)), cell_({this, ""}, in + hidden, hidden, options, more...), steps_(skip.steps) {
    if (steps_ < 1) fail("[SkipThroughTime] {} steps back: want at least 1", steps_);
    const Tensor h = shown(cell_.initial(1));
    if (h.size(1) != hidden)
      fail("[SkipThroughTime] a cell that shows {} of {} units: want all", h.size(1), hidden);
  }

  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const {
    std::vector<Tensor> seen = s.past;
    seen.push_back(shown(s.inner));
    State next{step(cell_, concat({x, seen.front()}, -1), s.inner, drop), {}};
    next.past.assign(seen.begin() + 1, seen.end());
    return next;
  }
  State initial(int64_t batch) const {
    auto inner = cell_.initial(batch);
    const Tensor h = shown(inner);
    return {std::move(inner), std::vector<Tensor>(static_cast<size_t>(steps_ - 1), h)};
  }

 private:
  Cell cell_;
  int64_t steps_;
};

}  // namespace reel::nn
