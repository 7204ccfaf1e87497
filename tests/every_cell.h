// Every cell of the library, and one that a user wrote, behind one type: what must hold for all of them is
// tested once. AnyCell is itself a cell, so layers take it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reel.h"
#include "tests/minimal_gated_unit.h"

namespace reel::tests {

struct AnyState {
  Tensors all;
  size_t learnables = 0;
  std::vector<Tensor*> parts() {
    std::vector<Tensor*> result;
    for (Tensor& t : all) result.push_back(&t);
    return result;
  }
  std::vector<Tensor*> learnable() {
    auto result = parts();
    result.resize(learnables);
    return result;
  }
};

class ErasedCell {
 public:
  virtual ~ErasedCell() = default;
  virtual AnyState step(const Tensor& x, const AnyState& state, const Tensor& drop) const = 0;
  virtual AnyState initial(int64_t batch) const = 0;
};

struct Kind {
  std::string name;
  // A cell, hung below a module.
  std::function<std::unique_ptr<ErasedCell>(nn::Member, int64_t in, int64_t hidden,
                                            const std::string& suffix)>
      make;
  bool takes_drop = true;
};

class AnyCell : public nn::Module {
 public:
  using State = AnyState;
  AnyCell(nn::Member at, int64_t in, int64_t hidden, const nn::CellOptions& options, const Kind& kind)
      : Module(std::move(at)), cell_(kind.make({this, ""}, in, hidden, options.suffix)) {}
  AnyCell(int64_t in, int64_t hidden, const Kind& kind) : AnyCell({}, in, hidden, {}, kind) {}
  State operator()(const Tensor& x, const State& s, const Tensor& drop = {}) const {
    return cell_->step(x, s, drop);
  }
  State initial(int64_t batch) const { return cell_->initial(batch); }

 private:
  std::unique_ptr<ErasedCell> cell_;
};

using AnyLayers = nn::Recurrent<AnyCell>;

template <class Cell>
class Erased : public ErasedCell {
 public:
  template <class... Args>
  explicit Erased(const Args&... args) : cell_(args...) {}
  AnyState step(const Tensor& x, const AnyState& state, const Tensor& drop) const override {
    auto s = cell_.initial(1);
    size_t k = 0;
    for (Tensor* part : nn::parts(s)) *part = state.all.at(k++);
    return wrapped(nn::step(cell_, x, s, drop));
  }
  AnyState initial(int64_t batch) const override { return wrapped(cell_.initial(batch)); }

 private:
  static AnyState wrapped(typename Cell::State s) {
    AnyState out;
    for (const Tensor* part : nn::parts(s)) out.all.push_back(*part);
    out.learnables = nn::learnable(s).size();
    return out;
  }
  Cell cell_;
};

template <class Cell, class... More>
Kind kind(std::string name, const nn::CellOptions& options = {}, const More&... more) {
  return {std::move(name),
          [=](nn::Member at, int64_t in, int64_t hidden, const std::string& suffix) {
            nn::CellOptions o = options;
            o.suffix = suffix;
            return std::make_unique<Erased<Cell>>(at, in, hidden, o, more...);
          },
          true};
}

// Each cell, with each option that changes its equations. For 4 hidden units.
inline std::vector<Kind> every_cell() {
  using namespace nn;
  std::vector<Kind> all{
      kind<RNNCell>("RNN"),
      kind<RNNCell>("RNN sigmoid, one bias", {.bias = Bias::one, .activation = reel::sigmoid}),
      kind<LSTMCell>("LSTM"),
      kind<LSTMCell>("LSTM without bias", {.bias = Bias::none}),
      kind<LSTMCell>("LSTM, projected", {.proj_size = 2}),
      kind<GRUCell>("GRU"),
      kind<GRUCell>("GRU, textbook", {.reset_after = false}),
      kind<GRUCell>("GRU, textbook, one bias", {.bias = Bias::one, .reset_after = false}),
      kind<SimplifiedGRUCell>("simplified GRU"),
      kind<LayerNormLSTMCell>("layer-norm LSTM"),
      kind<JordanCell>("Jordan", {}, OutputOptions{.size = 3, .activation = reel::sigmoid}),
      kind<Leaky<RNNCell>>("leaky RNN", {}, LeakOptions{.alpha = {0.1, 0.3, 0.6, 0.9}}),
      kind<Leaky<LSTMCell>>("leaky LSTM, learned", {}, LeakOptions{.alpha = {0.4}, .learned = true}),
      kind<Clocked<RNNCell>>("clocked RNN", {}, ClockOptions{.periods = {1, 2}}),
      kind<Clocked<Leaky<LSTMCell>>>("clocked leaky LSTM", {}, ClockOptions{.periods = {2, 3}},
                                     LeakOptions{.alpha = {0.2}}),
      kind<SkipThroughTime<GRUCell>>("GRU with skips", {}, SkipOptions{.steps = 2}),
      kind<SkipThroughTime<LSTMCell>>("LSTM with skips of 1", {}, SkipOptions{.steps = 1}),
      kind<MinimalGatedUnit>("a user's"),
  };
  for (const Peephole form : {Peephole::output, Peephole::previous, Peephole::graves}) {
    const bool full = form != Peephole::graves;
    all.push_back(kind<PeepholeLSTMCell>(fmt::format("peephole LSTM {}", static_cast<int>(form)), {},
                                         PeepholeOptions{.form = form, .full = full, .output_tanh = !full}));
  }
  all.push_back(kind<PeepholeLSTMCell>("peephole LSTM, by units", {}, PeepholeOptions{}));
  for (Kind& k : all) k.takes_drop = k.name != "a user's";
  return all;
}

// All parts of a state, side by side.
template <class State>
Tensor flat(State state) {
  Tensors all;
  for (const Tensor* part : nn::parts(state)) all.push_back(*part);
  return concat(all, -1);
}

}  // namespace reel::tests
