// Layers over any cell: unrolled over time, stacked, in both directions, over sequences of different lengths.
//
// A cell is whatever maps (x [batch, in], State) to State. State is a Tensor, or a struct of tensors with
// `parts()`; its first part is what the cell shows to the layer above.
#pragma once

#include <memory>
#include <vector>

#include "nn/cells.h"
#include "nn/layers.h"
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

// The same values, cut off from the graph that made them: state carried from one chunk of a text to the next.
template <class State>
State detached(State state) {
  for (Tensor* part : parts(state)) *part = detach(*part);
  return state;
}

// The new state where the mask [batch, 1] is true, the old one elsewhere.
template <class State>
State choose(const Tensor& mask, State now, const State& before) {
  auto old = parts(const_cast<State&>(before));
  auto to = parts(now);
  for (size_t k = 0; k < to.size(); ++k) *to[k] = where(mask, *to[k], *old[k]);
  return now;
}

// The steps of a sequence [time, batch, in], and which of them count.
struct Steps {
  std::vector<Tensor> x;     // [batch, in] each
  std::vector<Tensor> mask;  // [batch, 1] each, bool; undefined where every row counts; may be empty

  bool masked(size_t t) const { return t < mask.size() && mask[t].defined(); }
};

// Which steps count: the first so many of each row, or where a bool mask [time, batch] (or [batch, time], as
// x) is true. Neither given: all. Nothing has to be sorted.
struct Valid {
  std::vector<int64_t> lengths = {};
  Tensor mask = {};
};

// Cuts x [time, batch, in] (or [batch, time, in]) into steps.
Steps steps_of(const Tensor& x, const Valid& valid = {}, bool batch_first = false);

template <class State>
struct Unrolled {
  std::vector<Tensor> outputs;  // [batch, hidden] each, zero where masked
  State state;                  // after each row's last step
};

// Runs a cell over the steps, from the last to the first if `reverse`. A masked row keeps its state.
template <class Cell, class State>
Unrolled<State> unroll(const Cell& cell, const Steps& steps, State state, bool reverse = false) {
  Unrolled<State> result{std::vector<Tensor>(steps.x.size()), std::move(state)};
  for (size_t k = 0; k < steps.x.size(); ++k) {
    const size_t t = reverse ? steps.x.size() - 1 - k : k;
    State next = cell(steps.x[t], result.state);
    if (steps.masked(t)) {
      next = choose(steps.mask[t], std::move(next), result.state);
      result.outputs[t] = where(steps.mask[t], shown(next), 0.0);
    } else {
      result.outputs[t] = shown(next);
    }
    result.state = std::move(next);
  }
  return result;
}

struct RecurrentOptions {
  int64_t num_layers = 1;
  bool bidirectional = false;
  bool batch_first = false;  // x and output are [batch, time, ..] instead of [time, batch, ..]
  double dropout = 0;        // between layers, in training
  CellOptions cell = {};
};

template <class State>
struct RecurrentOutput {
  Tensor output;             // [time, batch, directions * hidden] (or batch first)
  std::vector<State> state;  // the last one of each layer and direction: l0, l0 reverse, l1, ...
};

// Parameters are named as PyTorch's: weight_ih_l0, weight_hh_l0_reverse, bias_ih_l1, ...
template <class Cell>
class Recurrent : public Module {
 public:
  using State = typename Cell::State;

  Recurrent(Member at, int64_t in, int64_t hidden, const RecurrentOptions& options = {})
      : Module(std::move(at)), options_(options), dropout_({this, "dropout"}, options.dropout) {
    if (options.num_layers < 1) fail("[Recurrent] num_layers {}: want at least 1", options.num_layers);
    for (int64_t layer = 0; layer < options.num_layers; ++layer) {
      for (int64_t direction = 0; direction < directions(); ++direction) {
        CellOptions cell = options.cell;
        cell.suffix = fmt::format("_l{}{}", layer, direction == 1 ? "_reverse" : "");
        const int64_t width = layer == 0 ? in : hidden * directions();
        cells_.push_back(std::make_unique<Cell>(Member{this, ""}, width, hidden, cell));
      }
    }
  }

  // `state` is empty (zeros) or holds one for each layer and direction.
  RecurrentOutput<State> operator()(const Tensor& x, std::vector<State> state = {},
                                    const Valid& valid = {}) const {
    Steps steps = steps_of(x, valid, options_.batch_first);
    const int64_t batch = x.size(options_.batch_first ? 0 : 1);
    if (state.empty()) state = initial(batch);
    if (state.size() != cells_.size()) {
      fail("[Recurrent] {} initial states: want {} (layers times directions)", state.size(), cells_.size());
    }
    for (size_t k = 0; k < cells_.size(); k += static_cast<size_t>(directions())) {
      if (k > 0) {
        for (Tensor& t : steps.x) t = dropout_(t);
      }
      run_layer(k, steps, state);
    }
    return {stack(steps.x, options_.batch_first ? 1 : 0), std::move(state)};
  }

  std::vector<State> initial(int64_t batch) const {
    std::vector<State> state;
    for (const auto& cell : cells_) state.push_back(cell->initial(batch));
    return state;
  }

  const Cell& cell(size_t k) const { return *cells_[k]; }
  int64_t directions() const { return options_.bidirectional ? 2 : 1; }

 private:
  // Replaces the steps by the layer's outputs and the initial states by the last ones.
  void run_layer(size_t k, Steps& steps, std::vector<State>& state) const {
    auto forward = unroll(*cells_[k], steps, std::move(state[k]));
    state[k] = std::move(forward.state);
    if (options_.bidirectional) {
      auto backward = unroll(*cells_[k + 1], steps, std::move(state[k + 1]), true);
      state[k + 1] = std::move(backward.state);
      for (size_t t = 0; t < steps.x.size(); ++t) {
        forward.outputs[t] = concat({forward.outputs[t], backward.outputs[t]}, -1);
      }
    }
    steps.x = std::move(forward.outputs);
  }

  RecurrentOptions options_;
  Dropout dropout_;
  std::vector<std::unique_ptr<Cell>> cells_;
};

using RNN = Recurrent<RNNCell>;
using LSTM = Recurrent<LSTMCell>;
using GRU = Recurrent<GRUCell>;

}  // namespace reel::nn
