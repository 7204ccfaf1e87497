// One cell over the steps of a sequence.
//
// A cell maps (x [batch, in], State) to State. State is a Tensor, or a struct of tensors [batch, ..] with
// `parts()`; its first part is what the cell shows to the layer above. A cell may take a third argument, the
// `drop` of Steps.
#pragma once

#include <array>
#include <vector>

#include "core/error.h"
#include "core/once.h"
#include "ops/ops.h"

namespace reel::nn {

inline std::array<Tensor*, 1> parts(Tensor& state) { return {&state}; }
template <class State>
auto parts(State& state) -> decltype(state.parts()) {
  return state.parts();
}
template <class State>
const Tensor& shown(const State& state) {
  return *parts(const_cast<State&>(state))[0];  // parts() only takes addresses
}

// The parts, all or the first ones, that may be learned as the state that a sequence begins with: not clocks.
template <class State>
auto learnable(State& state) {
  if constexpr (requires { state.learnable(); }) {
    return state.learnable();
  } else {
    return parts(state);
  }
}

// The same values, cut off from the graph that made them: state carried from one chunk of a text to the next.
template <class State>
State detached(State state) {
  for (Tensor* part : parts(state)) *part = detach(*part);
  return state;
}
template <class State>
std::vector<State> detached(std::vector<State> states) {
  for (State& state : states) state = detached(std::move(state));
  return states;
}

// The new state where the mask [batch, 1] is true, the old one elsewhere.
template <class State>
State choose(const Tensor& mask, State now, const State& before) {
  auto old = parts(const_cast<State&>(before));
  auto to = parts(now);
  for (size_t k = 0; k < to.size(); ++k) *to[k] = where(mask, *to[k], *old[k]);
  return now;
}

// All that enters the steps of a sequence beside state and weights. Everything but x may be empty, or
// undefined at a step.
struct Steps {
  std::vector<Tensor> x;          // [batch, in] each
  std::vector<Tensor> mask = {};  // [batch, 1] each, bool: which rows count; undefined: every row
  // Teacher forcing: what the next step sees instead of what the cell showed.
  std::vector<Tensor> target = {};
  // Variational dropout: factors of h in the cell's products [batch, hidden], the same at every step.
  Tensor drop = {};
  // Zoneout (Krueger et al. 2016): how much of the state's parts, the first so many, stays as it was.
  std::vector<std::vector<Tensor>> keep = {};

  bool masked(size_t t) const { return t < mask.size() && mask[t].defined(); }
  bool taught(size_t t) const { return t < target.size() && target[t].defined(); }
};

// Which steps count: the first so many of each row, or where a bool mask [time, batch] (or [batch, time], as
// x) is true. Neither given: all. Nothing has to be sorted.
struct Valid {
  std::vector<int64_t> lengths = {};
  Tensor mask = {};
};

// Cuts x [time, batch, in] (or [batch, time, in]) into steps. Rows that do not count become zeros.
Steps steps_of(const Tensor& x, const Valid& valid = {}, bool batch_first = false);

// The steps in teacher forcing: targets [time, batch, out], or batch first.
Steps taught_by(Steps steps, const Tensor& targets, bool batch_first = false);

template <class Cell>
concept TakesDrop = requires(const Cell& cell, const Tensor& x, const typename Cell::State& state) {
  cell(x, state, x);
};

// One step of a cell that may or may not know variational dropout.
template <class Cell>
typename Cell::State step(const Cell& cell, const Tensor& x, const typename Cell::State& state,
                          const Tensor& drop = {}) {
  if constexpr (TakesDrop<Cell>) {
    return cell(x, state, drop);
  } else {
    if (drop.defined()) fail("[unroll] recurrent dropout: want a cell that is called with (x, state, drop)");
    return cell(x, state);
  }
}

// keep before + (1 - keep) now, of as many parts as `keep` has.
template <class State>
State zoned_out(const std::vector<Tensor>& keep, State now, const State& before) {
  auto old = parts(const_cast<State&>(before));
  auto to = parts(now);
  if (keep.size() > to.size()) {
    fail("[unroll] zoneout of {} parts of a state of {}: want at most as many", keep.size(), to.size());
  }
  for (size_t k = 0; k < keep.size(); ++k) *to[k] = keep[k] * *old[k] + (1 - keep[k]) * *to[k];
  return now;
}

template <class State>
struct Unrolled {
  std::vector<Tensor> outputs;  // what the cell showed, [batch, hidden] each; zero where masked
  State state;                  // after each row's last step
};

// A cell that is to be asked at every step says `static constexpr bool every_step = true`.
template <class Cell>
concept EveryStep = requires {
  requires Cell::every_step;
};

// One step of a cell with all that goes on around it, as a function of tensors: x, the state's parts, the
// factors of dropout, how much is kept of the parts, the mask; the last three where there are some. Gives the
// parts of the next state, then what is shown.
template <class Cell>
Tensors whole_step(const Cell& cell, const Steps& steps, typename Cell::State before, const Tensors& in) {
  size_t next_in = 1;
  for (Tensor* part : parts(before)) *part = in[next_in++];
  const Tensor drop = steps.drop.defined() ? in[next_in++] : Tensor();
  std::vector<Tensor> keep;
  if (!steps.keep.empty()) {
    for (size_t k = 0; k < steps.keep[0].size(); ++k) keep.push_back(in[next_in++]);
  }
  auto now = step(cell, in[0], before, drop);
  if (!keep.empty()) now = zoned_out(keep, std::move(now), before);
  Tensor output = shown(now);
  if (next_in < in.size()) {
    now = choose(in[next_in], std::move(now), before);
    output = where(in[next_in], output, 0.0);
  }
  Tensors out;
  for (const Tensor* part : parts(now)) out.push_back(*part);
  out.push_back(std::move(output));
  return out;
}

// Runs a cell over the steps, from the last to the first if `reverse`. A masked row keeps its state.
//
// The cell is recorded once and planned as a recurrence (core/once.h): it has to be a function of its
// arguments and its parameters, which are read at the first step.
template <class Cell>
Unrolled<typename Cell::State> unroll(const Cell& cell, const Steps& steps, typename Cell::State state,
                                      bool reverse = false) {
  Unrolled<typename Cell::State> result{std::vector<Tensor>(steps.x.size()), std::move(state)};
  const auto function = [&](const Tensors& in) { return whole_step(cell, steps, result.state, in); };
  const Once recorded(function);
  for (size_t k = 0; k < steps.x.size(); ++k) {
    const size_t t = reverse ? steps.x.size() - 1 - k : k;
    Tensors in{steps.x[t]};
    for (const Tensor* part : parts(result.state)) in.push_back(*part);
    if (steps.drop.defined()) in.push_back(steps.drop);
    if (t < steps.keep.size()) in.insert(in.end(), steps.keep[t].begin(), steps.keep[t].end());
    if (steps.masked(t)) in.push_back(steps.mask[t]);
    const Tensors out = EveryStep<Cell> || steps.x.size() == 1 ? function(in) : recorded(in);
    size_t next = 0;
    for (Tensor* part : parts(result.state)) *part = out[next++];
    result.outputs[t] = out[next];
    if (steps.taught(t)) {
      Tensor& seen = *parts(result.state)[0];
      seen = steps.masked(t) ? where(steps.mask[t], steps.target[t], in[1]) : steps.target[t];
    }
  }
  return result;
}

// The same of x [time, batch, in] as it is.
template <class Cell>
Unrolled<typename Cell::State> unroll(const Cell& cell, const Tensor& x, typename Cell::State state,
                                      const Valid& valid = {}) {
  return unroll(cell, steps_of(x, valid), std::move(state));
}
template <class Cell>
Unrolled<typename Cell::State> unroll(const Cell& cell, const Tensor& x) {
  return unroll(cell, steps_of(x), cell.initial(x.size(1)));
}

}  // namespace reel::nn
