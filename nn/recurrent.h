// Layers over any cell: stacked, in both directions, residual, with dropout and zoneout, over sequences of
// different lengths.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nn/cells.h"
#include "nn/layers.h"
#include "nn/unroll.h"

namespace reel::nn {

enum class Merge { concat, sum };

struct RecurrentOptions {
  int64_t num_layers = 1;
  bool bidirectional = false;
  Merge merge = Merge::concat;  // of the two directions: [.., 2 hidden] or [.., hidden]
  bool batch_first = false;     // x and output are [batch, time, ..] instead of [time, batch, ..]
  bool residual = false;        // a layer's input is added to its output (the first one's where widths agree)
  bool learned_state = false;   // the states that sequences begin with are parameters: "initial0_l0", ..

  // In training:
  double dropout = 0;            // between layers
  bool variational = false;      // .. with one mask for all steps (Gal and Ghahramani 2016)
  double recurrent_dropout = 0;  // of h in the cell's products, one mask for all steps
  // How likely a unit keeps what it had (Krueger et al. 2016): for each of the first parts of the state, h
  // and c. In evaluation it moves by the expectation.
  std::vector<double> zoneout = {};

  CellOptions cell = {};
};

template <class State>
struct RecurrentOutput {
  Tensor output;             // [time, batch, width] (or batch first)
  std::vector<State> state;  // the last one of each layer and direction: l0, l0 reverse, l1, ...
};

// What layers do around their cells, whatever those are.
class RecurrentBase : public Module {
 public:
  int64_t directions() const { return options_.bidirectional ? 2 : 1; }

 protected:
  RecurrentBase(Member at, const RecurrentOptions& options);

  // What a cell with such a state needs of recurrent dropout and zoneout.
  void draw_masks(Steps& steps, std::span<Tensor* const> state) const;
  Steps dropped_between(const Steps& steps) const;  // layers
  Tensor merged(const Tensor& forward, const Tensor& backward) const;
  // outputs += x, which is zero where steps do not count.
  void add_residual(const Steps& steps, std::vector<Tensor>& outputs) const;

  RecurrentOptions options_;
};

// Parameters are named as PyTorch's: weight_ih_l0, weight_hh_l0_reverse, bias_ih_l1, ... `more` goes to each
// cell behind its CellOptions: Recurrent<Leaky<GRUCell>> layers({}, 3, 4, {}, LeakOptions{.learned = true}).
template <class Cell>
class Recurrent : public RecurrentBase {
 public:
  using State = typename Cell::State;

  template <class... More>
  Recurrent(Member at, int64_t in, int64_t hidden, const RecurrentOptions& options = {}, const More&... more)
      : RecurrentBase(std::move(at), options) {
    if (options.recurrent_dropout > 0 && !TakesDrop<Cell>) {
      fail("[Recurrent] recurrent_dropout: want a cell that is called with (x, state, drop)");
    }
    int64_t width = in;
    for (int64_t layer = 0; layer < options.num_layers; ++layer) {
      for (int64_t direction = 0; direction < directions(); ++direction) {
        CellOptions cell = options.cell;
        cell.suffix = fmt::format("_l{}{}", layer, direction == 1 ? "_reverse" : "");
        cells_.push_back(std::make_unique<Cell>(Member{this, ""}, width, hidden, cell, more...));
        if (options.learned_state) learn_state(cell.suffix);
      }
      const int64_t shown_units = shown(cells_.back()->initial(1)).size(1);
      width = shown_units * (options.merge == Merge::concat ? directions() : 1);
    }
  }

  // `state` is empty (zeros, or what was learned) or holds one for each layer and direction.
  RecurrentOutput<State> operator()(const Tensor& x, std::vector<State> state = {},
                                    const Valid& valid = {}) const {
    Steps steps = steps_of(x, valid, options_.batch_first);
    const int64_t batch = x.size(options_.batch_first ? 0 : 1);
    if (state.empty()) state = initial(batch);
    if (state.size() != cells_.size()) {
      fail("[Recurrent] {} initial states: want {} (layers times directions)", state.size(), cells_.size());
    }
    for (size_t k = 0; k < cells_.size(); k += static_cast<size_t>(directions())) {
      run_layer(k, steps, state);
    }
    return {stack(steps.x, options_.batch_first ? 1 : 0), std::move(state)};
  }

  std::vector<State> initial(int64_t batch) const {
    std::vector<State> state;
    for (const auto& cell : cells_) state.push_back(cell->initial(batch));
    for (size_t k = 0; k < learned_.size(); ++k) {
      const auto first = parts(state[k]);
      for (size_t part = 0; part < learned_[k].size(); ++part) {
        *first[part] = broadcast_to(learned_[k][part], first[part]->shape());
      }
    }
    return state;
  }

  // Of the k-th layer, or the (k / 2)-th of a bidirectional stack.
  const Cell& cell(size_t k) const { return *cells_.at(k); }
  Cell& cell(size_t k) { return *cells_.at(k); }

 private:
  // Replaces the steps by the layer's outputs and the initial states by the last ones.
  void run_layer(size_t k, Steps& steps, std::vector<State>& state) const {
    const Steps in = k > 0 ? dropped_between(steps) : steps;
    std::vector<Tensor> outputs = run(k, in, state[k], false);
    if (options_.bidirectional) {
      const std::vector<Tensor> backward = run(k + 1, in, state[k + 1], true);
      for (size_t t = 0; t < outputs.size(); ++t) outputs[t] = merged(outputs[t], backward[t]);
    }
    if (options_.residual) add_residual(steps, outputs);
    steps.x = std::move(outputs);
  }

  std::vector<Tensor> run(size_t k, Steps steps, State& state, bool reverse) const {
    draw_masks(steps, parts(state));
    auto result = unroll(*cells_[k], steps, std::move(state), reverse);
    state = std::move(result.state);
    return std::move(result.outputs);
  }

  void learn_state(const std::string& suffix) {
    auto state = cells_.back()->initial(1);
    learned_.emplace_back();
    for (const Tensor* part : learnable(state)) {
      const std::string name = fmt::format("initial{}{}", learned_.back().size(), suffix);
      learned_.back().push_back(parameter(name, part->shape(), init::constant(0)));
    }
  }

  std::vector<std::unique_ptr<Cell>> cells_;
  std::vector<std::vector<Tensor>> learned_;  // the first parts of each cell's initial state, [1, width]
};

using RNN = Recurrent<RNNCell>;
using LSTM = Recurrent<LSTMCell>;
using GRU = Recurrent<GRUCell>;

}  // namespace reel::nn
