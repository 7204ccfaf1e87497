// The recurrent workloads through oneDNN's own LSTM, GRU and RNN primitives, one a layer, with its own
// threads; the output layer is the hand-written one.
#include <algorithm>
#include <unordered_map>

#include "benchmarks/hand/kernels.h"
#include "benchmarks/hand/onednn.h"
#include "benchmarks/hand/output_layer.h"
#include "benchmarks/hand/team.h"
#include "benchmarks/lstm_problem.h"
#include "core/tensor.h"

namespace reel::bench {

namespace {

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;

memory::desc dense(const memory::dims& dims, memory::format_tag tag) {
  return {dims, memory::data_type::f32, tag};
}
memory::desc any(const memory::dims& dims) { return dense(dims, memory::format_tag::any); }

// What the two kinds of cell differ in: the constructors, for each version of oneDNN.
struct Descriptions {
  memory::desc src, weights_layer, weights_iter, bias, dst, state;  // state: of one step
};
constexpr auto kLeftToRight = dnnl::rnn_direction::unidirectional_left2right;
const memory::desc kNone;  // last states, which nobody reads

#if DNNL_VERSION_MAJOR >= 3
#define REEL_DESCRIBE(kind, ...) kind::primitive_desc(hand::engine(), __VA_ARGS__)
#define REEL_DESCRIBE_BACK(kind, forward, ...) kind::primitive_desc(hand::engine(), __VA_ARGS__, forward)
#else
#define REEL_DESCRIBE(kind, ...) kind::primitive_desc(kind::desc(__VA_ARGS__), hand::engine())
#define REEL_DESCRIBE_BACK(kind, forward, ...) \
  kind::primitive_desc(kind::desc(__VA_ARGS__), hand::engine(), forward)
#endif

struct LstmKind {
  using Forward = dnnl::lstm_forward;
  using Backward = dnnl::lstm_backward;
  static Forward::primitive_desc forward(const Descriptions& d) {
    return REEL_DESCRIBE(Forward, dnnl::prop_kind::forward_training, kLeftToRight, d.src, d.state, d.state,
                         d.weights_layer, d.weights_iter, d.bias, d.dst, kNone, kNone);
  }
  static Backward::primitive_desc backward(const Descriptions& d, const Forward::primitive_desc& forward) {
    return REEL_DESCRIBE_BACK(Backward, forward, dnnl::prop_kind::backward, kLeftToRight, d.src, d.state,
                              d.state, d.weights_layer, d.weights_iter, d.bias, d.dst, kNone, kNone, d.src,
                              d.state, d.state, d.weights_layer, d.weights_iter, d.bias, d.dst, kNone, kNone);
  }
};

struct RnnKind {
  using Forward = dnnl::vanilla_rnn_forward;
  using Backward = dnnl::vanilla_rnn_backward;
  static constexpr auto kTanh = dnnl::algorithm::eltwise_tanh;
  static Forward::primitive_desc forward(const Descriptions& d) {
    return REEL_DESCRIBE(Forward, dnnl::prop_kind::forward_training, kTanh, kLeftToRight, d.src, d.state,
                         d.weights_layer, d.weights_iter, d.bias, d.dst, kNone);
  }
  static Backward::primitive_desc backward(const Descriptions& d, const Forward::primitive_desc& forward) {
    return REEL_DESCRIBE_BACK(Backward, forward, dnnl::prop_kind::backward, kTanh, kLeftToRight, d.src,
                              d.state, d.weights_layer, d.weights_iter, d.bias, d.dst, kNone, d.src, d.state,
                              d.weights_layer, d.weights_iter, d.bias, d.dst, kNone);
  }
};

// "Linear before reset": the candidate's tanh(W_n x + b_n + r (U_n h + b'_n)).
struct GruKind {
  using Forward = dnnl::lbr_gru_forward;
  using Backward = dnnl::lbr_gru_backward;
  static Forward::primitive_desc forward(const Descriptions& d) {
    return REEL_DESCRIBE(Forward, dnnl::prop_kind::forward_training, kLeftToRight, d.src, d.state,
                         d.weights_layer, d.weights_iter, d.bias, d.dst, kNone);
  }
  static Backward::primitive_desc backward(const Descriptions& d, const Forward::primitive_desc& forward) {
    return REEL_DESCRIBE_BACK(Backward, forward, dnnl::prop_kind::backward, kLeftToRight, d.src, d.state,
                              d.weights_layer, d.weights_iter, d.bias, d.dst, kNone, d.src, d.state,
                              d.weights_layer, d.weights_iter, d.bias, d.dst, kNone);
  }
};

// A weight as the workload has it, beside the layout that the primitive wants.
class Converted {
 public:
  Converted(const memory::desc& ours, const memory::desc& theirs, float* data)
      : ours_(ours, hand::engine(), data), theirs_(theirs, hand::engine()) {}
  void to_theirs() { dnnl::reorder(ours_, theirs_).execute(hand::stream(), ours_, theirs_); }
  void to_ours() { dnnl::reorder(theirs_, ours_).execute(hand::stream(), theirs_, ours_); }
  void clear() {  // the backward primitives add to what is there
    std::fill_n(static_cast<char*>(theirs_.get_data_handle()), theirs_.get_desc().get_size(), char{0});
  }
  const memory& theirs() const { return theirs_; }

 private:
  memory ours_, theirs_;
};

struct Rows {  // of one layer's input and output, and their gradients
  float *x, *h, *dx, *dh;
};

template <class Kind>
class Layer {
 public:
  Layer(const RecurrentSizes& s, int64_t l, Weights& weights, Weights& gradients, Rows rows) {
    const WeightIndex at(s);
    const int64_t in = s.width(l), hidden = s.hidden;
    const memory::dims x{s.steps, s.batch, in}, h{s.steps, s.batch, hidden};
    const memory::dims wl{1, 1, in, s.gates, hidden}, wi{1, 1, hidden, s.gates, hidden},
        b{1, 1, s.biases(), hidden};
    using tag = memory::format_tag;
    const Descriptions d{dense(x, tag::tnc),
                         any(wl),
                         any(wi),
                         dense(b, tag::ldgo),
                         dense(h, tag::tnc),
                         dense({1, 1, s.batch, hidden}, tag::ldnc)};
    const auto forward = Kind::forward(d);
    const auto backward = Kind::backward(d, forward);
    forward_ = typename Kind::Forward(forward);
    backward_ = typename Kind::Backward(backward);
    const auto weight = [](Weights& from, size_t index) { return from[index].values.data(); };
    const auto ours_l = dense(wl, tag::ldgoi), ours_i = dense(wi, tag::ldgoi);
    converted_.reserve(7);
    const auto add = [&](const memory::desc& ours, const memory::desc& theirs, float* data) {
      return converted_.emplace_back(ours, theirs, data).theirs();
    };
    const memory at_x(d.src, hand::engine(), rows.x), at_h(d.dst, hand::engine(), rows.h);
    const memory bias(d.bias, hand::engine(), weight(weights, at.bias(l)));
    const memory workspace(forward.workspace_desc(), hand::engine());
    // Initial states are given although they are zero: without them oneDNN 2.6.3 gets the gradient of
    // weights_iter wrong.
    const auto state = [&] {
      memory zeros(d.state, hand::engine());
      std::fill_n(static_cast<char*>(zeros.get_data_handle()), d.state.get_size(), char{0});
      return zeros;
    };
    forward_arguments_ = {
        {DNNL_ARG_SRC_LAYER, at_x},
        {DNNL_ARG_WEIGHTS_LAYER, add(ours_l, forward.weights_layer_desc(), weight(weights, at.ih(l)))},
        {DNNL_ARG_WEIGHTS_ITER, add(ours_i, forward.weights_iter_desc(), weight(weights, at.hh(l)))},
        {DNNL_ARG_BIAS, bias},
        {DNNL_ARG_DST_LAYER, at_h},
        {DNNL_ARG_SRC_ITER, state()},
        {DNNL_ARG_WORKSPACE, workspace}};
    backward_arguments_ = {
        {DNNL_ARG_SRC_LAYER, at_x},
        {DNNL_ARG_WEIGHTS_LAYER, add(ours_l, backward.weights_layer_desc(), weight(weights, at.ih(l)))},
        {DNNL_ARG_WEIGHTS_ITER, add(ours_i, backward.weights_iter_desc(), weight(weights, at.hh(l)))},
        {DNNL_ARG_BIAS, bias},
        {DNNL_ARG_DST_LAYER, at_h},
        {DNNL_ARG_WORKSPACE, workspace},
        {DNNL_ARG_DIFF_SRC_LAYER, memory(d.src, hand::engine(), rows.dx)},
        {DNNL_ARG_DIFF_DST_LAYER, memory(d.dst, hand::engine(), rows.dh)},
        {DNNL_ARG_DIFF_WEIGHTS_LAYER,
         add(ours_l, backward.diff_weights_layer_desc(), weight(gradients, at.ih(l)))},
        {DNNL_ARG_DIFF_WEIGHTS_ITER,
         add(ours_i, backward.diff_weights_iter_desc(), weight(gradients, at.hh(l)))},
        {DNNL_ARG_DIFF_BIAS, add(d.bias, d.bias, weight(gradients, at.bias(l)))},
        {DNNL_ARG_SRC_ITER, state()},
        {DNNL_ARG_DIFF_SRC_ITER, state()}};
    if (s.gates != 4) return;
    forward_arguments_.insert({DNNL_ARG_SRC_ITER_C, state()});
    backward_arguments_.insert({{DNNL_ARG_SRC_ITER_C, state()}, {DNNL_ARG_DIFF_SRC_ITER_C, state()}});
  }

  void forward() {
    converted_[0].to_theirs();
    converted_[1].to_theirs();
    forward_.execute(hand::stream(), forward_arguments_);
  }
  void backward() {
    converted_[2].to_theirs();
    converted_[3].to_theirs();
    for (size_t i : {4u, 5u, 6u}) converted_[i].clear();
    backward_.execute(hand::stream(), backward_arguments_);
    for (size_t i : {4u, 5u, 6u}) converted_[i].to_ours();
  }

 private:
  typename Kind::Forward forward_;
  typename Kind::Backward backward_;
  std::vector<Converted> converted_;  // weights forward, weights backward, gradients
  Arguments forward_arguments_, backward_arguments_;
};

template <class Kind>
class DnnlStepper : public Stepper {
 public:
  DnnlStepper(const RecurrentSizes& sizes, const Weights& weights, int threads)
      : s_(sizes),
        at_(sizes),
        threads_(threads),
        weights_(weights),
        gradients_(zeros_like(weights)),
        output_(sizes.vocabulary, sizes.hidden, threads) {
    hand::limit_library_threads(threads);
    const int64_t rows = s_.steps * s_.batch;
    output_.resize(rows);
    for (int64_t l = 0; l <= s_.layers; ++l) {
      x_.emplace_back(rows * s_.width(l));
      dx_.emplace_back(rows * s_.width(l));
    }
    for (int64_t l = 0; l < s_.layers; ++l) {
      const auto i = static_cast<size_t>(l);
      const Rows at{x_[i].data(), x_[i + 1].data(), dx_[i].data(), dx_[i + 1].data()};
      layers_.emplace_back(s_, l, weights_, gradients_, at);
    }
  }

  double step(int64_t k) override {
    const Batch& batch = batches_[k];
    const auto rows = static_cast<int64_t>(batch.ids.size());
    hand::limit_library_threads(threads_);
    read(batch);
    for (Layer<Kind>& layer : layers_) layer.forward();
    std::vector<double> losses(static_cast<size_t>(threads_));
    hand::together(threads_, [&](const hand::Member& me) {
      const hand::Share mine = me.share(rows);
      losses[static_cast<size_t>(me.index)] =
          output_.rows(me, mine, x_.back().data(), dx_.back().data() + mine.begin * s_.hidden, s_.hidden,
                       batch.targets.data(), weights_[at_.output()].values.data(),
                       weights_[at_.output_bias()].values.data(), rows);
      me.wait();
      output_.weights(me, x_.back().data(), s_.hidden, rows, gradients_[at_.output()].values.data(),
                      gradients_[at_.output_bias()].values.data());
    });
    hand::limit_library_threads(threads_);
    for (size_t l = layers_.size(); l-- > 0;) layers_[l].backward();
    if (s_.embedding > 0) embedding_gradient(batch);
    double loss = 0;
    for (double part : losses) loss += part;
    return loss / static_cast<double>(rows);
  }

  Weights gradients() const override { return gradients_; }

 private:
  void read(const Batch& batch) {
    const int64_t width = s_.width(0);
    if (s_.embedding == 0) std::fill_n(x_[0].data(), x_[0].size(), 0.0f);
    for (size_t r = 0; r < batch.ids.size(); ++r) {
      float* row = x_[0].data() + static_cast<int64_t>(r) * width;
      if (s_.embedding == 0) {
        row[batch.ids[r]] = 1;
      } else {
        std::copy_n(weights_[0].values.data() + batch.ids[r] * width, width, row);
      }
    }
  }

  void embedding_gradient(const Batch& batch) {
    float* to = gradients_[0].values.data();
    for (int64_t id : touched_) std::fill_n(to + id * s_.embedding, s_.embedding, 0.0f);
    for (size_t r = 0; r < batch.ids.size(); ++r) {
      hand::add_row(to + batch.ids[r] * s_.embedding, dx_[0].data() + static_cast<int64_t>(r) * s_.embedding,
                    s_.embedding);
    }
    touched_ = batch.ids;
  }

  const RecurrentSizes s_;
  const Batches batches_{s_};
  const WeightIndex at_;
  const int threads_;
  Weights weights_, gradients_;
  hand::OutputLayer output_;
  std::vector<hand::Floats> x_, dx_;  // inputs of the layers, then what the last one gave
  std::vector<Layer<Kind>> layers_;
  std::vector<int64_t> touched_;
};

}  // namespace

std::unique_ptr<Stepper> dnnl_recurrent(const RecurrentSizes& sizes, const Weights& weights) {
  if (sizes.gates == 4) return std::make_unique<DnnlStepper<LstmKind>>(sizes, weights, num_threads());
  if (sizes.gates == 3) return std::make_unique<DnnlStepper<GruKind>>(sizes, weights, num_threads());
  return std::make_unique<DnnlStepper<RnnKind>>(sizes, weights, num_threads());
}

}  // namespace reel::bench
