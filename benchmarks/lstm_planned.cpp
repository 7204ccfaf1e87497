// The recurrent workloads as a user of reel writes them: cells from nn/ or the textbook's equations.
#include <map>

#include "benchmarks/lstm_problem.h"
#include "reel.h"

namespace reel::bench {

namespace {

Tensor variable(const Weight& weight) {
  Tensor t = Tensor::from(weight.values, weight.shape);
  return t.requires_grad_();
}

// The variables, in the workload's order, and a step around whatever computes the loss from them.
class Model : public Stepper {
 public:
  Model(const RecurrentSizes& sizes, const Weights& weights) : sizes_(sizes), at_(sizes), names_(weights) {
    for (Weight& weight : names_) {
      variables_.push_back(variable(weight));
      weight.values.clear();
    }
  }

  double step(int64_t k) override {
    const Batch& batch = batches_[k];
    const Shape shape{batch.steps, sizes_.batch};
    for (Tensor& v : variables_) v.zero_grad();
    const Tensor total = loss(Tensor::from(batch.ids, shape), Tensor::from(batch.targets, shape));
    total.backward();
    return total.item();
  }

  Weights gradients() const override {
    Weights gradients = names_;
    for (size_t i = 0; i < gradients.size(); ++i)
      gradients[i].values = variables_[i].grad().to_vector<float>();
    return gradients;
  }

 protected:
  virtual Tensor loss(const Tensor& ids, const Tensor& targets) = 0;

  const Tensor& weight(size_t index) const { return variables_[index]; }
  Tensor output(const Tensor& h) const {
    return matmul(h, transpose(weight(at_.output()), 0, 1)) + weight(at_.output_bias());
  }
  Tensor zeros_state() const { return zeros({sizes_.batch, sizes_.hidden}); }

  const RecurrentSizes sizes_;
  const Batches batches_{sizes_};
  const WeightIndex at_;

 private:
  Weights names_;  // without values
  Tensors variables_;
};

// The cell's equations, unrolled. Rows of a table stand for the products of one-hot rows with weight_ih.
class Equations : public Model {
 public:
  using Model::Model;

 protected:
  Tensor loss(const Tensor& ids, const Tensor& targets) override { return loss_of(input(ids), targets); }

  // What the first layer takes from its input, step by step: W x.
  Tensors input(const Tensor& ids) const {
    Tensors x;
    const Tensor table = transpose(weight(at_.ih(0)), 0, 1);
    for (int64_t t = 0; t < ids.size(0); ++t) {
      const Tensor now = select(ids, 0, t);
      x.push_back(sizes_.embedding > 0 ? matmul(embedding(weight(0), now), table) : embedding(table, now));
    }
    return x;
  }

  Tensor loss_of(Tensors x, const Tensor& targets) const {
    for (int64_t layer = 0; layer < sizes_.layers; ++layer) {
      if (layer > 0) {
        for (Tensor& row : x) row = matmul(row, transpose(weight(at_.ih(layer)), 0, 1));
      }
      sizes_.gates == 4 ? lstm(layer, x) : sizes_.gates == 3 ? gru(layer, x) : rnn(layer, x);
    }
    return cross_entropy(output(stack(x, 0)), targets);
  }

 private:
  // Replaces each step's W x by the layer's h.
  void lstm(int64_t layer, Tensors& x) const {
    const auto cell = once([&](const Tensors& in) -> Tensors {
      const auto [i, f, g, o] =
          split<4>(in[0] + matmul(in[1], transpose(weight(at_.hh(layer)), 0, 1)) + weight(at_.bias(layer)));
      const Tensor c = sigmoid(f) * in[2] + sigmoid(i) * tanh(g);
      return {sigmoid(o) * tanh(c), c};
    });
    Tensor h = zeros_state(), c = h;
    for (Tensor& step : x) {
      const Tensors state = cell({step, h, c});
      step = h = state[0];
      c = state[1];
    }
  }

  void gru(int64_t layer, Tensors& x) const {
    const auto cell = once([&](const Tensors& in) -> Tensors {
      const int64_t h3 = 3 * sizes_.hidden;
      const Tensor& h = in[1];
      const Tensor b = slice(weight(at_.bias(layer)), 0, 0, h3);
      const Tensor b_inside = slice(weight(at_.bias(layer)), 0, h3, h3 + sizes_.hidden);
      const auto [xz, xr, xn] = split<3>(in[0] + b);
      const auto [hz, hr, hn] = split<3>(matmul(h, transpose(weight(at_.hh(layer)), 0, 1)));
      const Tensor z = sigmoid(xz + hz), r = sigmoid(xr + hr);
      const Tensor n = tanh(xn + r * (hn + b_inside));
      return {n + z * (h - n)};
    });
    Tensor h = zeros_state();
    for (Tensor& step : x) step = h = cell({step, h})[0];
  }

  void rnn(int64_t layer, Tensors& x) const {
    const auto cell = once([&](const Tensors& in) -> Tensors {
      const Tensor u = transpose(weight(at_.hh(layer)), 0, 1);
      return {tanh(in[0] + matmul(in[1], u) + weight(at_.bias(layer)))};
    });
    Tensor h = zeros_state();
    for (Tensor& step : x) step = h = cell({step, h})[0];
  }
};

class Penalty : public Equations {
 public:
  using Equations::Equations;

 private:
  Tensor loss(const Tensor& ids, const Tensor& targets) override {
    const Tensors x = input(ids);
    const Tensor first = loss_of(x, targets);
    const Tensor g = stack(grad({first * static_cast<double>(targets.numel())}, x), 0);
    return first + 10 * mean(g * g);
  }
};

// nn::LSTM or nn::RNN on one-hot rows.
template <class Layer>
class OneHot : public Model {
 public:
  OneHot(const RecurrentSizes& sizes, const Weights& weights)
      : Model(sizes, weights),
        layer_({}, sizes.vocabulary, sizes.hidden,
               {.num_layers = sizes.layers, .cell = {.bias = nn::Bias::one}}) {
    for (int64_t l = 0; l < sizes.layers; ++l) {
      auto& cell = const_cast<typename Layer::Cell&>(layer_.cell(static_cast<size_t>(l)));
      cell.weight_ih = weight(at_.ih(l));
      cell.weight_hh = weight(at_.hh(l));
      cell.bias_ih = weight(at_.bias(l));
    }
  }

 private:
  Tensor loss(const Tensor& ids, const Tensor& targets) override {
    return cross_entropy(output(layer_(one_hot(ids, sizes_.vocabulary)).output), targets);
  }
  Layer layer_;
};

struct Rnn : nn::RNN {
  using Cell = nn::RNNCell;
  using nn::RNN::RNN;
};
struct Lstm : nn::LSTM {
  using Cell = nn::LSTMCell;
  using nn::LSTM::LSTM;
};

// The textbook's LSTM: four matrices for the input, four for the state, every product at every step. The
// stacked weights are cut where the gradients are asked for in the order of the workload.
class Separate : public Stepper {
 public:
  Separate(const RecurrentSizes& sizes, const Weights& weights)
      : sizes_(sizes), at_(sizes), names_(zeros_like(weights)) {
    for (size_t index : {at_.ih(0), at_.hh(0), at_.bias(0)}) {
      const Weight& stacked = weights[index];
      Shape shape = stacked.shape;
      shape[0] /= 4;
      const auto size = static_cast<size_t>(shape.numel());
      for (size_t g = 0; g < 4; ++g) {
        const auto begin = stacked.values.begin() + static_cast<ptrdiff_t>(g * size);
        parts_[index].push_back(variable({"", shape, {begin, begin + static_cast<ptrdiff_t>(size)}}));
      }
    }
    for (size_t index : {at_.output(), at_.output_bias()}) parts_[index] = {variable(weights[index])};
  }

  double step(int64_t k) override {
    const Batch& batch = batches_[k];
    for (auto& [index, parts] : parts_) {
      for (Tensor& part : parts) part.zero_grad();
    }
    const Tensor ids = Tensor::from(batch.ids, {batch.steps, sizes_.batch});
    Tensors hs;
    Tensor h = zeros({sizes_.batch, sizes_.hidden}), c = h;
    for (int64_t t = 0; t < batch.steps; ++t) {
      const Tensor now = select(ids, 0, t);
      const auto gate = [&](size_t g) {
        return embedding(transpose(parts_[at_.ih(0)][g], 0, 1), now) +
               matmul(h, transpose(parts_[at_.hh(0)][g], 0, 1)) + parts_[at_.bias(0)][g];
      };
      const Tensor i = sigmoid(gate(0)), f = sigmoid(gate(1)), g = tanh(gate(2)), o = sigmoid(gate(3));
      c = f * c + i * g;
      h = o * tanh(c);
      hs.push_back(h);
    }
    const Tensor logits =
        matmul(stack(hs, 0), transpose(parts_[at_.output()][0], 0, 1)) + parts_[at_.output_bias()][0];
    const Tensor loss = cross_entropy(logits, Tensor::from(batch.targets, {batch.steps, sizes_.batch}));
    loss.backward();
    return loss.item();
  }

  Weights gradients() const override {
    Weights gradients = names_;
    for (const auto& [index, parts] : parts_) {
      auto to = gradients[index].values.begin();
      for (const Tensor& part : parts) {
        const std::vector<float> values = part.grad().to_vector<float>();
        to = std::copy(values.begin(), values.end(), to);
      }
    }
    return gradients;
  }

 private:
  const RecurrentSizes sizes_;
  const Batches batches_{sizes_};
  const WeightIndex at_;
  const Weights names_;
  std::map<size_t, Tensors> parts_;
};

class EagerStepper : public Stepper {
 public:
  explicit EagerStepper(std::unique_ptr<Stepper> inner) : inner_(std::move(inner)) {}
  double step(int64_t k) override {
    const Eager mode;
    return inner_->step(k);
  }
  Weights gradients() const override { return inner_->gradients(); }

 private:
  std::unique_ptr<Stepper> inner_;
};

}  // namespace

std::unique_ptr<Stepper> planned_recurrent(const RecurrentSizes& sizes, const Weights& weights) {
  return std::make_unique<Equations>(sizes, weights);
}

std::unique_ptr<Stepper> planned_penalty(const RecurrentSizes& sizes, const Weights& weights) {
  return std::make_unique<Penalty>(sizes, weights);
}

std::unique_ptr<Stepper> planned_one_hot(const RecurrentSizes& sizes, const Weights& weights) {
  if (sizes.gates == 4) return std::make_unique<OneHot<Lstm>>(sizes, weights);
  return std::make_unique<OneHot<Rnn>>(sizes, weights);
}

std::unique_ptr<Stepper> planned_separate(const RecurrentSizes& sizes, const Weights& weights) {
  return std::make_unique<Separate>(sizes, weights);
}

std::unique_ptr<Stepper> eager(std::unique_ptr<Stepper> planned) {
  return std::make_unique<EagerStepper>(std::move(planned));
}

}  // namespace reel::bench
