// Random programs as sequence models are written: recurrences over sequences of mixed lengths with shared
// weights, trees of single rows, attention over stacked states, several heads; with what real programs have
// besides: dead ends, held values, looks in between, parts without a gradient, second-order parts, updates in
// place, backward() into gradients that are there already.
//
// What a program does depends on its seed alone; `salt` changes its numbers, not its structure.
#pragma once

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "core/once.h"
#include "ops/ops.h"
#include "tests/random_program.h"

namespace reel::tests {

class RandomSequence {
 public:
  // Kinds of parts; `without` leaves some out, to reduce a program that fails.
  enum Part : uint32_t {
    look = 1,
    hold = 2,
    dead = 4,
    no_grad = 8,
    second = 16,
    tree = 32,
    attention = 64,
    again = 128,
    update = 256,
    mask = 512,
    frozen = 1024,
    head = 2048,
    hoist = 4096,
    twin = 8192,
    reuse = 16384,
    templates = 32768
  };

  RandomSequence(uint64_t seed, DType dtype, uint64_t salt = 0, uint32_t without = 0)
      : random_(seed), numbers_(seed * 977 + salt), dtype_(dtype), without_(without) {
    manual_seed(seed + salt);
  }

  Rows run() {
    const DefaultDType numbers(dtype_);
    batch_ = 1 + pick(3);
    for (const Shape& shape :
         {Shape{kWords, kIn}, Shape{kIn, 4 * kHidden}, Shape{kHidden, 4 * kHidden}, Shape{4 * kHidden},
          Shape{kHidden, kWords}, Shape{2 * kHidden, 4 * kHidden}, Shape{kHidden, kHidden}, Shape{kHidden}}) {
      weights_.push_back(constant(shape, 0.6).requires_grad_());
    }
    const int rounds = 1 + pick(3);
    for (int k = 0; k < rounds; ++k) round();
    Rows out;
    for (const Tensor& v : held_) out.push_back(v.to_vector<double>());
    for (const Tensor& w : weights_) {
      out.push_back(w.to_vector<double>());
      out.push_back(w.grad().defined() ? w.grad().to_vector<double>() : std::vector<double>());
    }
    return out;
  }

 private:
  static constexpr int64_t kWords = 7, kIn = 5, kHidden = 4;
  struct State {
    Tensor h, c;
  };

  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool chance(Part part, int n) { return pick(n) == 0 && !(without_ & part); }
  const Tensor& table() const { return weights_[0]; }
  const Tensor& weight_in() const { return weights_[1]; }
  const Tensor& weight_hidden() const { return weights_[2]; }
  const Tensor& bias() const { return weights_[3]; }
  const Tensor& weight_out() const { return weights_[4]; }
  const Tensor& weight_tree() const { return weights_[5]; }
  const Tensor& weight_query() const { return weights_[6]; }
  const Tensor& score() const { return weights_[7]; }

  Tensor constant(const Shape& shape, double scale = 1) {
    std::vector<double> values(static_cast<size_t>(shape.numel()));
    for (double& x : values) x = scale * (static_cast<double>(numbers_() % 2001) / 1000 - 1);
    return to(Tensor::from(values, shape), dtype_);
  }
  Tensor ids(int64_t count) {
    std::vector<int64_t> values(static_cast<size_t>(count));
    for (int64_t& id : values) id = static_cast<int64_t>(numbers_() % kWords);
    return Tensor::from(values, {count});
  }

  // Several parts, one loss, its gradients.
  void round() {
    if (chance(frozen, 5)) {
      const auto k = static_cast<size_t>(pick(8));
      weights_[k].requires_grad_(!weights_[k].requires_grad());
    }
    losses_.clear();
    for (int k = 0, parts = 1 + pick(4); k < parts; ++k) part();
    if (losses_.empty()) losses_.push_back(sum(square(weight_out())));
    Tensor loss = losses_[0];
    for (size_t k = 1; k < losses_.size(); ++k) loss = loss + losses_[k];
    if (chance(second, 4) && loss.requires_grad()) loss = loss + of_gradient(loss);
    if (chance(hold, 2)) held_.push_back(loss);
    if (loss.requires_grad()) {
      loss.backward();
      if (chance(again, 4)) gradients_of_ready();
    }
    for (State& s : states_) s = {detach(s.h), detach(s.c)};
    if (chance(update, 2)) step();
    if (chance(again, 3)) {
      for (Tensor& w : weights_) w.zero_grad();
    }
  }

  void part() {
    std::optional<NoGrad> none;
    if (chance(no_grad, 7)) none.emplace();
    switch (pick(6)) {
      case 0:
        if (!(without_ & tree)) return trees();
        [[fallthrough]];
      case 1:
        if (!(without_ & attention)) return attend();
        [[fallthrough]];
      default: return sequences();
    }
  }

  // ---- Recurrences ----

  void sequences() {
    const int kind = pick(6), count = 1 + pick(3);
    const bool reversed = pick(4) == 0, hoisted = chance(hoist, 3);
    for (int k = 0; k < count; ++k) {
      std::vector<Tensor> x = inputs(1 + pick(6), hoisted);
      if (reversed) std::reverse(x.begin(), x.end());
      State s{zeros({batch_, kHidden}), zeros({batch_, kHidden})};
      if (chance(reuse, 3) && !states_.empty())
        s = states_[static_cast<size_t>(pick(static_cast<int>(states_.size())))];
      const State first = s;
      std::vector<Tensor> outputs;
      const std::optional<Once> once = cell_template(kind, hoisted);
      const bool inside = pick(2) == 0;  // masks are the template's affair
      for (const Tensor& step : x) {
        s = !once    ? masked(cell(kind, step, hoisted, s), s)
            : inside ? called(*once, {step, chance(mask, 8) ? lottery() : full({batch_, 1}, 0), s.h, s.c})
                     : masked(called(*once, {step, s.h, s.c}), s);
        outputs.push_back(s.h);
        if (chance(look, 20)) (void)sum(s.h).item();
        if (chance(dead, 10)) (void)cell(kind, step, hoisted, s);
        if (chance(twin, 10)) unseen(kind, step, hoisted, s);
        if (chance(hold, 12)) held_.push_back(pick(2) ? s.h : s.c);
      }
      read(outputs);
      states_.push_back(pick(4) ? s : first);
    }
  }

  // The cell as a template, of x, h, c or of x, a mask, h, c.
  std::optional<Once> cell_template(int kind, bool hoisted) {
    if (!chance(templates, 2)) return {};
    return once([this, kind, hoisted](const Tensors& in) -> Tensors {
      const State before{in[in.size() - 2], in[in.size() - 1]};
      State now = cell(kind, in[0], hoisted, before);
      if (in.size() == 4) {
        const Tensor keep = less(in[1], 0.3);
        now = {where(keep, now.h, before.h), where(keep, now.c, before.c)};
      }
      return {now.h * 1.0, now.c * 1.0};
    });
  }
  static State called(const Once& once, const Tensors& in) {
    const Tensors out = once(in);
    return {out[0], out[1]};
  }
  Tensor lottery() { return constant({batch_, 1}); }

  // The same call as one that a gradient passes through, but without one; and its value is needed.
  void unseen(int kind, const Tensor& x, bool projected, const State& s) {
    Tensor target;
    {
      const NoGrad none;
      target = cell(kind, x, projected, s).h;
    }
    losses_.push_back(mean(square(cell(kind, x, projected, s).h - target * 0.5)));
  }

  // Rows of a table or numbers, [batch, in] each; or all projected at once, [batch, 4 hidden].
  std::vector<Tensor> inputs(int time, bool hoisted) {
    std::vector<Tensor> x;
    const int kind = pick(3);
    const Tensor all =
        kind == 1 ? reshape(embedding(table(), ids(time * batch_)), {time, batch_, kIn}) : Tensor();
    for (int t = 0; t < time; ++t) {
      x.push_back(kind == 0   ? index_select(table(), 0, ids(batch_))
                  : kind == 1 ? select(all, 0, t)
                              : constant({batch_, kIn}));
      if (chance(mask, 12)) x.back() = dropout(x.back(), 0.3);
    }
    if (!hoisted) return x;
    const Tensor projected = matmul(concat(x, 0), weight_in()) + bias();
    for (int t = 0; t < time; ++t)
      x[static_cast<size_t>(t)] = slice(projected, 0, t * batch_, (t + 1) * batch_);
    return x;
  }

  State cell(int kind, const Tensor& x, bool projected, const State& s) {
    const auto gate = [&](int64_t k) {  // with a product of its own
      const Tensor u = matmul(s.h, slice(weight_hidden(), 1, k * kHidden, (k + 1) * kHidden));
      if (projected) return u + slice(x, 1, k * kHidden, (k + 1) * kHidden);
      return matmul(x, slice(weight_in(), 1, k * kHidden, (k + 1) * kHidden)) + u +
             slice(bias(), 0, k * kHidden, (k + 1) * kHidden);
    };
    if (kind == 0) return {tanh(gate(0)), s.c};
    if (kind == 1) return lstm(gate(0), gate(1), gate(2), gate(3), s.c);
    const Tensor zx = projected ? x : matmul(x, weight_in()) + bias(), zh = matmul(s.h, weight_hidden());
    if (kind == 2) {
      const auto a = split<4>(zx), b = split<4>(zh);
      const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]), n = tanh(a[2] + r * b[2]);
      return {(1 - z) * n + z * s.h, tanh(a[3])};
    }
    const auto [i, f, g, o] = split<4>(kind == 3 ? normalize(zx, 1) + zh : zx + zh);
    return lstm(i, f, g, o, s.c);
  }
  static State lstm(const Tensor& i, const Tensor& f, const Tensor& g, const Tensor& o,
                    const Tensor& before) {
    const Tensor c = sigmoid(f) * before + sigmoid(i) * tanh(g);
    return {sigmoid(o) * tanh(c), c};
  }

  State masked(const State& now, const State& before) {
    if (!chance(mask, 8)) return now;
    const Tensor keep = less(constant({batch_, 1}), 0.3);
    return {where(keep, now.h, before.h), where(keep, now.c, before.c)};
  }

  // What a sequence's outputs are for.
  void read(const std::vector<Tensor>& outputs) {
    const int kind = chance(head, 1) ? pick(5) : 4;
    const auto rows = static_cast<int64_t>(outputs.size()) * batch_;
    if (kind == 0) {
      losses_.push_back(cross_entropy(matmul(concat(outputs, 0), weight_out()), ids(rows)));
    } else if (kind == 1) {
      for (const Tensor& h : outputs)
        losses_.push_back(cross_entropy(matmul(h, weight_out()), ids(batch_)) * 0.3);
    } else if (kind == 2) {
      Tensor total = outputs[0];
      for (size_t t = 1; t < outputs.size(); ++t) total = total + outputs[t];
      losses_.push_back(mean(square(matmul(total, weight_query()))));
    } else if (kind == 3) {
      losses_.push_back(mean(stack(outputs, pick(2)) * 0.5) + mean(square(outputs.back())));
    } else {
      losses_.push_back(mean(square(outputs.back() - 0.2)));
    }
  }

  // ---- Trees ----

  void trees() {
    for (int k = 0, count = 1 + pick(3); k < count; ++k) {
      std::vector<State> open;
      const int leaves = 1 + pick(6), kind = pick(3), twice = pick(3);
      const bool templated = chance(templates, 2);
      const auto node = [&](const Tensors& in) -> Tensors {
        const auto [i, f, g, o] = split<4>(matmul(concat({in[0], in[2]}, 1), weight_tree()) + bias());
        const State s = lstm(i, f, g, o, in[1] * 0.5 + sigmoid(f) * in[3]);
        return {s.h, s.c};
      };
      const Once once_node(node);
      const Tensor rows = embedding(table(), ids(leaves));
      for (int leaf = 0; leaf < leaves; ++leaf) {
        const Tensor x = kind == 0   ? slice(rows, 0, leaf, leaf + 1)
                         : kind == 1 ? index_select(table(), 0, ids(1))
                                     : constant({1, kIn});
        const auto [i, f, g, o] = split<4>(matmul(x, weight_in()) + bias());
        open.push_back(lstm(i, f, g, o, zeros({1, kHidden})));
      }
      Tensors all;
      while (open.size() > 1) {
        const auto at = static_cast<size_t>(pick(static_cast<int>(open.size()) - 1));
        const State &a = open[at], &b = open[at + 1];
        const Tensors in{a.h, a.c, b.h, b.c};
        const Tensors out = templated ? once_node(in) : node(in);
        const bool keep = twice == 0 && pick(3) == 0 && all.size() < 8;  // b is read again
        open[at] = {out[0], out[1]};
        if (!keep) open.erase(open.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        all.push_back(open[at].h);
        if (chance(look, 30)) (void)sum(open[at].h).item();
        if (chance(hold, 20)) held_.push_back(open[at].h);
      }
      all.push_back(open[0].h);
      if (pick(2)) {
        for (const Tensor& h : all) losses_.push_back(cross_entropy(matmul(h, weight_out()), ids(1)) * 0.2);
      } else {
        losses_.push_back(mean(square(concat(all, 0))));
      }
    }
  }

  // ---- Attention ----

  void attend() {
    Tensors keys;
    for (const State& s : states_) keys.push_back(s.h);
    while (keys.size() < 2) keys.push_back(tanh(matmul(constant({batch_, kHidden}), weight_query())));
    const Tensor memory = stack(keys, 1),
                 projected = matmul(memory, weight_query());  // [batch, positions, hidden]
    for (int k = 0, queries = 1 + pick(3); k < queries; ++k) {
      const Tensor q = unsqueeze(
          matmul(keys[static_cast<size_t>(pick(static_cast<int>(keys.size())))], weight_query()), 1);
      const Tensor weights = softmax(sum(tanh(q + projected) * score(), -1), -1);
      const Tensor context = sum(unsqueeze(weights, -1) * memory, 1);
      if (chance(hold, 3)) held_.push_back(weights);
      losses_.push_back(mean(square(context)));
      states_.push_back({tanh(context), context});
    }
  }

  // ---- Beyond one backward() ----

  Tensor of_gradient(const Tensor& loss) {
    Tensors wrt;
    for (const Tensor& w : weights_) {
      if (w.requires_grad() && pick(2)) wrt.push_back(w);
    }
    if (wrt.empty()) return zeros({});
    Tensor penalty = zeros({});
    for (const Tensor& g : grad({loss}, wrt)) penalty = penalty + mean(square(g));
    return penalty * 0.1;
  }

  // A gradient that nobody adds up, of a graph that is not released.
  void gradients_of_ready() {
    const Tensor y = mean(square(tanh(matmul(constant({batch_, kHidden}), weight_query()))));
    if (!y.requires_grad()) return;
    if (pick(2)) eval({y});
    held_.push_back(grad(y, weight_query(), {.cotangents = {}, .create_graph = false}));
  }

  void step() {
    for (Tensor& w : weights_) {
      if (pick(3) && w.grad().defined()) w.assign(w - w.grad() * 0.1);
    }
  }

  std::mt19937_64 random_, numbers_;
  DType dtype_;
  uint32_t without_;
  int64_t batch_ = 1;
  Tensors weights_, losses_, held_;
  std::vector<State> states_;
};

}  // namespace reel::tests
