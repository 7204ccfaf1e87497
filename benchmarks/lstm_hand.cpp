// An LSTM's training step by hand. Each thread takes its rows of the batch through the whole sequence,
// forwards and backwards, and they meet only to multiply for the weights' gradients.
//
// Rows (one for each step and sequence) lie member by member, then step by step, so that a member's rows are
// one piece and so are those of a step. In bf16 products read rounded copies of weights, states and
// gradients; weights, sums and everything pointwise are f32.
#include <algorithm>
#include <map>
#include <optional>

#include "benchmarks/hand/kernels.h"
#include "benchmarks/hand/operand.h"
#include "benchmarks/hand/output_layer.h"
#include "benchmarks/hand/team.h"
#include "benchmarks/lstm_problem.h"
#include "core/tensor.h"

namespace reel::bench {

namespace {

using namespace hand;

// Recurrent products of one member and layer, and those over all its rows at a given length.
struct Recurrence {
  Product forward, backward;
};
struct WholeSequence {
  Product project, to_input;
};

class HandLstm : public Stepper {
 public:
  HandLstm(const RecurrentSizes& sizes, const Weights& weights, int members, Type type)
      : s_(sizes),
        at_(sizes),
        type_(type),
        members_(members),
        gates_(4 * sizes.hidden),
        weights_(weights),
        gradients_(zeros_like(weights)),
        layers_(static_cast<size_t>(sizes.layers)),
        output_(sizes.vocabulary, sizes.hidden, members, type),
        scratch_(static_cast<size_t>(members)),
        losses_(static_cast<size_t>(members)) {
    const int64_t rows = s_.steps * s_.batch;
    for (int64_t l = 0; l < s_.layers; ++l) make_layer(l, rows);
    for (int m = 0; m < members; ++m) {
      Scratch& own = scratch_[static_cast<size_t>(m)];
      const int64_t batch = share_of(s_.batch, m, members).size();
      own.products = Floats(batch * gates_);
      own.dc = Floats(batch * s_.hidden);
      own.dh = Floats(type == Type::bf16 ? batch * s_.hidden : 0);
      for (const Layer& layer : layers_)
        own.sums.emplace_back(&layer == layers_.data() && !embeds() ? s_.vocabulary * gates_ : gates_);
    }
    dh_ = Floats(rows * widest());
    output_.resize(rows);
    if (embeds()) {
      embedded_ = Floats(rows * s_.embedding);
      embedded_read_ = Operand(type, embedded_.data(), rows, s_.embedding);
    }
    table_ = Floats(embeds() ? 0 : s_.vocabulary * gates_);
  }

  double step(int64_t k) override {
    const Batch& batch = batches_[k];
    steps_ = batch.steps;
    arrange(batch);
    prepare();
    together(members_, [this](const Member& me) {
      pack(me);
      me.wait();
      for (int64_t l = 0; l < s_.layers; ++l) forward(me, l);
      const Share mine = rows_of(me);
      losses_[static_cast<size_t>(me.index)] =
          output_.rows(me, mine, top().h_read.row(0), dh_of(me.index), s_.hidden, targets_.data(),
                       value(at_.output()), value(at_.output_bias()), all_rows());
      for (int64_t l = s_.layers; l-- > 0;) backward(me, l);
      me.wait();
      for (int64_t l = s_.layers; l-- > 0;) weight_gradients(me, l);
      output_.weights(me, top().h_read.row(0), s_.hidden, all_rows(), gradient(at_.output()),
                      gradient(at_.output_bias()));
      if (embeds()) embedding_gradient(me);
    });
    double loss = 0;
    for (double part : losses_) loss += part;
    return loss / static_cast<double>(all_rows());
  }

  Weights gradients() const override { return gradients_; }

 private:
  struct Layer {
    Floats gates, c, h;          // gates: activations, then the gradients of what went into them
    Operand gates_read, h_read;  // by products
    std::optional<Packed> hh, hh_back, ih, ih_back;
    std::vector<Recurrence> recurrence;                   // by member
    std::map<int64_t, std::vector<WholeSequence>> whole;  // by length, by member
  };
  struct Scratch {
    Floats products, dc, dh;
    std::vector<Floats> sums;  // by layer: bias gradients, or those of the table's rows
  };

  bool embeds() const { return s_.embedding > 0; }
  int64_t all_rows() const { return steps_ * s_.batch; }
  Layer& layer(int64_t l) { return layers_[static_cast<size_t>(l)]; }
  Layer& top() { return layers_.back(); }
  bool projects(int64_t l) const { return l > 0 || embeds(); }
  // oneDNN's fast kernels take dense rows only, so those of dh are as wide as what they are the gradient of;
  // a member's begin where the widest would.
  int64_t widest() const { return std::max(s_.hidden, s_.embedding); }
  float* dh_of(int member) { return dh_.data() + sequences(member).begin * steps_ * widest(); }
  const Operand& input(int64_t l) { return l > 0 ? layer(l - 1).h_read : embedded_read_; }
  const float* value(size_t index) const { return weights_[index].values.data(); }
  float* gradient(size_t index) { return gradients_[index].values.data(); }
  Share sequences(int member) const { return share_of(s_.batch, member, members_); }
  Share rows_of(const Member& me) const {
    const Share mine = sequences(me.index);
    return {mine.begin * steps_, mine.end * steps_};
  }

  void make_layer(int64_t l, int64_t rows) {
    Layer& made = layer(l);
    made.gates = Floats(rows * gates_);
    made.c = Floats(rows * s_.hidden);
    made.h = Floats(rows * s_.hidden);
    made.gates_read = Operand(type_, made.gates.data(), rows, gates_);
    made.h_read = Operand(type_, made.h.data(), rows, s_.hidden);
    const int64_t largest = sequences(members_ - 1).size();
    made.hh.emplace(Sizes{largest, gates_, s_.hidden}, Layout{s_.hidden, true}, type_);
    made.hh_back.emplace(Sizes{largest, s_.hidden, gates_}, Layout{s_.hidden}, type_);
    // A bf16 product that begins with what is there rounds every partial sum at its size: it is added after.
    const auto into = type_ == Type::f32 ? Product::Into::add : Product::Into::store;
    for (int m = 0; m < members_; ++m) {
      const int64_t batch = sequences(m).size();
      made.recurrence.push_back(
          {Product({batch, gates_, s_.hidden}, {s_.hidden}, *made.hh, gates_, Product::Into::store, type_),
           Product({batch, s_.hidden, gates_}, {gates_}, *made.hh_back, s_.hidden, into, type_)});
    }
    if (!projects(l)) return;
    const int64_t width = s_.width(l);
    made.ih.emplace(Sizes{rows, gates_, width}, Layout{width, true}, type_);
    made.ih_back.emplace(Sizes{rows, width, gates_}, Layout{width}, type_);
  }

  // Products whose number of rows goes with the length.
  void prepare() {
    for (int64_t l = 0; l < s_.layers; ++l) {
      if (!projects(l) || layer(l).whole.contains(steps_)) continue;
      auto& whole = layer(l).whole[steps_];
      const int64_t width = s_.width(l);
      for (int m = 0; m < members_; ++m) {
        const int64_t rows = sequences(m).size() * steps_;
        const auto into = Product::Into::store;
        whole.push_back({Product({rows, gates_, width}, {width}, *layer(l).ih, gates_, into, type_),
                         Product({rows, width, gates_}, {gates_}, *layer(l).ih_back, width, into, type_)});
      }
    }
  }

  // Ids and targets in the order of our rows.
  void arrange(const Batch& batch) {
    ids_.clear();
    targets_.clear();
    for (int m = 0; m < members_; ++m) {
      const Share mine = sequences(m);
      for (int64_t t = 0; t < steps_; ++t) {
        const auto from = static_cast<ptrdiff_t>(t * s_.batch + mine.begin), to = from + mine.size();
        ids_.insert(ids_.end(), batch.ids.begin() + from, batch.ids.begin() + to);
        targets_.insert(targets_.end(), batch.targets.begin() + from, batch.targets.begin() + to);
      }
    }
  }

  // What is derived from the weights, shared out matrix by matrix.
  void pack(const Member& me) {
    if (type_ == Type::bf16) output_.prepare(me, value(at_.output()));
    int turn = 0;
    const auto mine = [&] { return turn++ % me.size == me.index; };
    for (int64_t l = 0; l < s_.layers; ++l) {
      if (mine()) layer(l).hh->pack(value(at_.hh(l)));
      if (mine()) layer(l).hh_back->pack(value(at_.hh(l)));
      if (projects(l) && mine()) layer(l).ih->pack(value(at_.ih(l)));
      if (projects(l) && mine()) layer(l).ih_back->pack(value(at_.ih(l)));
    }
    if (embeds()) {
      const Share rows = rows_of(me);
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        const float* row = value(0) + ids_[static_cast<size_t>(r)] * s_.embedding;
        std::copy(row, row + s_.embedding, embedded_.data() + r * s_.embedding);
        embedded_read_.take(r, 1);
      }
      return;
    }
    const Share columns = me.share(gates_, 16);  // the table of rows that one-hot rows would select
    transpose(value(at_.ih(0)) + columns.begin * s_.vocabulary, columns.size(), s_.vocabulary, s_.vocabulary,
              table_.data() + columns.begin, gates_);
  }

  void forward(const Member& me, int64_t l) {
    Layer& own = layer(l);
    const auto m = static_cast<size_t>(me.index);
    const Share mine = rows_of(me);
    const int64_t batch = sequences(me.index).size();
    if (projects(l)) {
      own.whole[steps_][m].project(input(l).row(mine.begin), own.gates.data() + mine.begin * gates_);
    }
    const float* bias = value(at_.bias(l));
    float* products = scratch_[m].products.data();
    for (int64_t t = 0; t < steps_; ++t) {
      const int64_t first = mine.begin + t * batch;
      if (t > 0) own.recurrence[m].forward(own.h_read.row(first - batch), products);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t r = first + b;
        float* gates = own.gates.data() + r * gates_;
        const float* x = projects(l) ? gates : table_.data() + ids_[static_cast<size_t>(r)] * gates_;
        float* c = own.c.data() + r * s_.hidden;
        lstm_row(x, t > 0 ? products + b * gates_ : nullptr, bias, t > 0 ? c - batch * s_.hidden : nullptr,
                 gates, c, own.h.data() + r * s_.hidden, s_.hidden);
        own.h_read.take(r, 1);
      }
    }
  }

  void backward(const Member& me, int64_t l) {
    Layer& own = layer(l);
    const auto m = static_cast<size_t>(me.index);
    const Share mine = rows_of(me);
    const int64_t batch = sequences(me.index).size();
    float* dc = scratch_[m].dc.data();
    Floats& sums = scratch_[m].sums[static_cast<size_t>(l)];
    std::fill(dc, dc + batch * s_.hidden, 0.0f);
    std::fill(sums.data(), sums.data() + sums.size(), 0.0f);
    for (int64_t t = steps_; t-- > 0;) {
      const int64_t first = mine.begin + t * batch;
      float* dh = dh_of(me.index) + t * batch * s_.hidden;
      if (t + 1 < steps_) {
        float* into = type_ == Type::f32 ? dh : scratch_[m].dh.data();
        own.recurrence[m].backward(own.gates_read.row(first + batch), into);
        if (into != dh) add_row(dh, into, batch * s_.hidden);
      }
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t r = first + b;
        const float* c = own.c.data() + r * s_.hidden;
        float* sum = sums.data() + (projects(l) ? 0 : ids_[static_cast<size_t>(r)] * gates_);
        lstm_row_back(own.gates.data() + r * gates_, c, t > 0 ? c - batch * s_.hidden : nullptr,
                      dh + b * s_.hidden, dc + b * s_.hidden, sum, s_.hidden);
        own.gates_read.take(r, 1);
      }
    }
    if (projects(l)) {
      own.whole[steps_][m].to_input(own.gates_read.row(mine.begin), dh_of(me.index));
    }
  }

  // Each member has its rows of the weights.
  void weight_gradients(const Member& me, int64_t l) {
    Layer& own = layer(l);
    const Share mine = me.share(gates_, 16);
    float* dhh = gradient(at_.hh(l)) + mine.begin * s_.hidden;
    for (int m = 0; m < members_; ++m) {  // the first step has no state before it
      const Share sequence = sequences(m);
      const int64_t first = sequence.begin * steps_, rows = sequence.size() * (steps_ - 1);
      multiply(type_, {mine.size(), s_.hidden, rows}, own.gates_read.row(first + sequence.size(), mine.begin),
               {gates_, true}, own.h_read.row(first), {s_.hidden}, dhh, s_.hidden, m == 0 ? 0.0f : 1.0f);
    }
    const int64_t width = s_.width(l);
    float* dih = gradient(at_.ih(l)) + mine.begin * width;
    float* dbias = gradient(at_.bias(l)) + mine.begin;
    float* sums = scratch_[0].sums[static_cast<size_t>(l)].data() + mine.begin;
    const int64_t sum_rows = projects(l) ? 1 : s_.vocabulary;
    for (size_t m = 1; m < scratch_.size(); ++m) {
      const float* more = scratch_[m].sums[static_cast<size_t>(l)].data() + mine.begin;
      for (int64_t r = 0; r < sum_rows; ++r) add_row(sums + r * gates_, more + r * gates_, mine.size());
    }
    std::copy(sums, sums + mine.size(), dbias);
    for (int64_t r = 1; r < sum_rows; ++r) add_row(dbias, sums + r * gates_, mine.size());
    if (projects(l)) {
      multiply(type_, {mine.size(), width, all_rows()}, own.gates_read.row(0, mine.begin), {gates_, true},
               input(l).row(0), {width}, dih, width);
    } else {
      transpose(sums, s_.vocabulary, mine.size(), gates_, dih, width);
    }
  }

  // Rows that the batch touched; the others are zero since the step after the one that touched them.
  void embedding_gradient(const Member& me) {
    const Share columns = me.share(s_.embedding, 16);
    float* gradient_rows = gradient(0) + columns.begin;
    for (int64_t id : touched_) {
      std::fill_n(gradient_rows + id * s_.embedding, columns.size(), 0.0f);
    }
    for (int m = 0; m < members_; ++m) {
      const Share mine = sequences(m);
      const int64_t* ids = ids_.data() + mine.begin * steps_;
      for (int64_t r = 0; r < mine.size() * steps_; ++r) {
        add_row(gradient_rows + ids[r] * s_.embedding, dh_of(m) + r * s_.embedding + columns.begin,
                columns.size());
      }
    }
    me.wait();
    if (me.index == 0) touched_ = ids_;
  }

  const RecurrentSizes s_;
  const Batches batches_{s_};
  const WeightIndex at_;
  const Type type_;
  const int members_;
  const int64_t gates_;
  const Weights weights_;
  Weights gradients_;
  std::vector<Layer> layers_;
  OutputLayer output_;
  std::vector<Scratch> scratch_;
  std::vector<double> losses_;
  Floats dh_, embedded_, table_;
  Operand embedded_read_;
  int64_t steps_ = 0;
  std::vector<int64_t> ids_, targets_, touched_;
};

std::unique_ptr<Stepper> make(const RecurrentSizes& sizes, const Weights& weights, Type type) {
  const int members = static_cast<int>(std::min<int64_t>(num_threads(), sizes.batch));
  return std::make_unique<HandLstm>(sizes, weights, members, type);
}

}  // namespace

std::unique_ptr<Stepper> hand_lstm(const RecurrentSizes& sizes, const Weights& weights) {
  return make(sizes, weights, Type::f32);
}
std::unique_ptr<Stepper> hand_lstm_bf16(const RecurrentSizes& sizes, const Weights& weights) {
  return make(sizes, weights, Type::bf16);
}

}  // namespace reel::bench
