// Layers over every cell: stacks in both directions against their parts, and what must hold for whole models.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/distance.h"
#include "tests/every_cell.h"

using namespace reel;
using tests::AnyLayers;
using tests::AnyState;
using tests::distance;
using tests::flat;

namespace {

template <class Check>
void for_each_kind(const Check& check) {
  const DefaultDType f64(DType::f64);
  uint64_t seed = 100;
  for (const tests::Kind& kind : tests::every_cell()) {
    manual_seed(++seed);
    INFO(kind.name);
    check(kind);
  }
}

// [time, batch, ..] with each row turned around within its length.
Tensor flipped(const Tensor& x, const std::vector<int64_t>& lengths) {
  Tensors rows;
  for (size_t k = 0; k < lengths.size(); ++k) {
    const auto at = static_cast<int64_t>(k);
    const Tensor row = slice(x, 1, at, at + 1);
    rows.push_back(
        concat({flip(slice(row, 0, 0, lengths[k]), {0}), slice(row, 0, lengths[k], x.size(0))}, 0));
  }
  return concat(rows, 1);
}

// The entries of a state dict whose names hold one suffix, under another.
NamedTensors renamed(const NamedTensors& state, const std::string& from, const std::string& to) {
  NamedTensors out;
  for (auto [name, tensor] : state) {
    const size_t at = name.find(from);
    if (at == std::string::npos) continue;
    const size_t end = at + from.size();
    if (end < name.size() && name[end] != '.') continue;  // _l0 of _l0_reverse
    out.emplace_back(name.replace(at, from.size(), to), tensor);
  }
  return out;
}

Tensor flat_of(const std::vector<AnyState>& states) {
  Tensors all;
  for (const AnyState& s : states) all.push_back(flat(s));
  return concat(all, -1);
}

}  // namespace

TEST_CASE("layers: both directions are forwards, and flipped backwards") {
  for_each_kind([](const tests::Kind& kind) {
    const std::vector<int64_t> lengths{5, 2, 4};
    for (const nn::Merge merge : {nn::Merge::concat, nn::Merge::sum}) {
      const AnyLayers both({}, 3, 4, {.bidirectional = true, .merge = merge}, kind);
      AnyLayers forward({}, 3, 4, {}, kind), backward({}, 3, 4, {}, kind);
      forward.load_state_dict(renamed(both.state_dict(), "_l0", "_l0"));
      backward.load_state_dict(renamed(both.state_dict(), "_l0_reverse", "_l0"));
      const Tensor x = normal({5, 3, 3});
      const auto [y, states] = both(x, {}, {.lengths = lengths});
      const auto ahead = forward(x, {}, {.lengths = lengths});
      const auto back = backward(flipped(x, lengths), {}, {.lengths = lengths});
      const Tensor turned = flipped(back.output, lengths);
      const Tensor want =
          merge == nn::Merge::sum ? ahead.output + turned : concat({ahead.output, turned}, -1);
      CHECK(distance(y, want) < 1e-14);
      CHECK(distance(flat(states[0]), flat(ahead.state[0])) < 1e-14);
      CHECK(distance(flat(states[1]), flat(back.state[0])) < 1e-14);
    }
  });
}

TEST_CASE("layers: a stack is a layer on a layer, a residual one adds what comes in") {
  for_each_kind([](const tests::Kind& kind) {
    for (const bool residual : {false, true}) {
      AnyLayers probe({}, 4, 4, {}, kind);
      const int64_t width = nn::shown(probe.cell(0).initial(1)).size(1);
      const AnyLayers two({}, width, 4, {.num_layers = 2, .residual = residual}, kind);
      AnyLayers first({}, width, 4, {}, kind), second({}, width, 4, {}, kind);
      first.load_state_dict(renamed(two.state_dict(), "_l0", "_l0"));
      second.load_state_dict(renamed(two.state_dict(), "_l1", "_l0"));
      const Tensor x = normal({4, 2, width});
      const nn::Valid valid{.lengths = {4, 3}};
      const Tensor counts = where(Tensor::from(std::vector<bool>{1, 1, 1, 1, 1, 1, 1, 0}, {4, 2, 1}), x, 0.0);
      const Tensor y = first(x, {}, valid).output + (residual ? counts : zeros({}));
      const Tensor z = second(y, {}, valid).output + (residual ? y : zeros({}));
      CHECK(distance(two(x, {}, valid).output, z) < 1e-14);
    }
  });
}

TEST_CASE("layers: padding changes nothing, and a permuted batch gives the permuted result") {
  for_each_kind([](const tests::Kind& kind) {
    const AnyLayers layers(
        {}, 4, 4, {.num_layers = 2, .bidirectional = true, .merge = nn::Merge::sum, .residual = true}, kind);
    const std::vector<int64_t> lengths{3, 4, 1};
    std::vector<bool> inside;
    for (int64_t t = 0; t < 4; ++t) {
      for (const int64_t length : lengths) inside.push_back(t < length);
    }
    const Tensor mask = Tensor::from(inside, {4, 3}), counts = unsqueeze(mask, 2);
    const auto run = [&](const Tensor& x, const nn::Valid& valid) {
      const auto [y, states] = layers(x, {}, valid);
      Tensors wrt = layers.parameters();
      wrt.push_back(x);
      Tensors all = grad({sum(square(y)) + sum(flat_of(states))}, wrt);
      all.push_back(y);
      all.push_back(flat_of(states));
      return all;
    };
    const Tensor x = normal({4, 3, 4}).requires_grad_();
    const Tensor other = detach(where(counts, x, 1e3)).requires_grad_(),
                 poison = detach(where(counts, x, NAN)).requires_grad_();
    const Tensors want = run(x, {.lengths = lengths}), got = run(other, {.lengths = lengths}),
                  masked = run(other, {.mask = mask}), unhurt = run(poison, {.lengths = lengths});
    for (size_t k = 0; k < want.size(); ++k) {
      CHECK(distance(got[k], want[k]) == 0);
      CHECK(distance(masked[k], want[k]) < 1e-13);
      CHECK(distance(unhurt[k], want[k]) == 0);
      CHECK(std::isfinite(sum(unhurt[k]).item()));
    }
    const Tensor y = want[want.size() - 2];
    CHECK(sum(abs(where(counts, 0.0, y))).item() == 0);
    const Tensor order = Tensor::from(std::vector<int64_t>{2, 0, 1}, {3});
    const auto permuted = layers(index_select(x, 1, order), {}, {.lengths = {1, 3, 4}});
    CHECK(distance(permuted.output, index_select(y, 1, order)) < 1e-14);
    CHECK(distance(flat_of(permuted.state), index_select(want.back(), 0, order)) < 1e-14);
  });
}

TEST_CASE("layers: a sequence cut in two with the states carried is the whole") {
  for_each_kind([](const tests::Kind& kind) {
    const AnyLayers layers({}, 3, 4, {.num_layers = 2}, kind);
    const Tensor x = normal({7, 2, 3});
    const auto whole = layers(x);
    const auto half = layers(slice(x, 0, 0, 3));
    const auto rest = layers(slice(x, 0, 3, 7), nn::detached(half.state));
    CHECK(distance(concat({half.output, rest.output}, 0), whole.output) < 1e-14);
    CHECK(distance(flat_of(rest.state), flat_of(whole.state)) < 1e-14);
  });
}

TEST_CASE("layers: gradients of whole models, first and second order, learned states among them") {
  for_each_kind([](const tests::Kind& kind) {
    const AnyLayers layers({}, 4, 4,
                           {.num_layers = 2,
                            .bidirectional = true,
                            .merge = nn::Merge::sum,
                            .residual = true,
                            .learned_state = true},
                           kind);
    for (Tensor p : layers.parameters()) p.assign(p + normal(p.shape(), 0, 0.3));
    Tensors inputs = layers.parameters();
    inputs.push_back(normal({3, 2, 4}).requires_grad_());
    const auto f = [&](const Tensors&) {
      const auto [y, states] = layers(inputs.back(), {}, {.lengths = {3, 2}});
      return sum(square(y)) + sum(flat_of(states));
    };
    const auto first = gradcheck(f, inputs, {.directions = 6});
    const auto second = gradgradcheck(f, inputs, {.step = 1e-5, .tolerance = 1e-5, .directions = 3});
    INFO(first.text(), second.text());
    CHECK(first.ok);
    CHECK(second.ok);
    CHECK(first.checked >= 6);
    CHECK(second.checked >= 3);
  });
}

TEST_CASE("layers: weights used in two places sum the gradients of both") {
  for_each_kind([](const tests::Kind& kind) {
    const tests::AnyCell one(4, 4, kind);
    tests::AnyCell first(4, 4, kind), second(4, 4, kind);
    for (tests::AnyCell* cell : {&first, &second}) cell->load_state_dict(one.state_dict());
    const Tensor x = normal({4, 2, 4});
    const auto loss = [&](const tests::AnyCell& a, const tests::AnyCell& b) {
      const auto below = nn::unroll(a, x), above = nn::unroll(b, flip(x, {0}));
      return sum(square(stack(below.outputs, 0))) + sum(stack(below.outputs, 0) * stack(above.outputs, 0));
    };
    loss(one, one).backward();
    loss(first, second).backward();
    const Tensors shared = one.parameters(), apart = first.parameters(), too = second.parameters();
    for (size_t k = 0; k < shared.size(); ++k) {
      CHECK(distance(shared[k].grad(), apart[k].grad() + too[k].grad()) < 1e-13);
    }
  });
}

namespace {

// A word model whose output is its input's embedding (Press and Wolf 2017), and whose layers are one.
struct Tied : nn::Module {
  nn::Embedding words{{this, "words"}, 5, 4};
  nn::LSTM lstm{{this, "lstm"}, 4, 4, {.num_layers = 2}};
  nn::Linear output{{this, "output"}, 4, 5};
  explicit Tied(bool tied) {
    if (!tied) return;
    tie(output.weight, words.weight);
    tie(lstm.cell(1).weight_ih, lstm.cell(0).weight_ih);
  }
  Tensor operator()(const Tensor& ids) const { return output(lstm(words(ids)).output); }
};

}  // namespace

TEST_CASE("layers: tie makes one variable of two, under both names in a state dict") {
  const DefaultDType f64(DType::f64);
  manual_seed(1);
  Tied apart(false), tied(true);
  CHECK(tied.parameters().size() + 2 == apart.parameters().size());
  CHECK(tied.num_parameters() == apart.num_parameters() - 20 - 64);
  CHECK(tied.state_dict().size() == apart.state_dict().size());
  apart.load_state_dict(tied.state_dict());
  tied.load_state_dict(apart.state_dict());
  const Tensor ids = Tensor::from(std::vector<int64_t>{0, 4, 2, 2, 3, 1}, {3, 2});
  CHECK(distance(tied(ids), apart(ids)) < 1e-14);
  sum(square(tied(ids))).backward();
  sum(square(apart(ids))).backward();
  CHECK(distance(tied.words.weight.grad(), apart.words.weight.grad() + apart.output.weight.grad()) < 1e-13);
  CHECK(distance(tied.lstm.cell(0).weight_ih.grad(),
                 apart.lstm.cell(0).weight_ih.grad() + apart.lstm.cell(1).weight_ih.grad()) < 1e-13);
  optim::SGD sgd(tied.parameters(), {.lr = 0.1});
  sgd.step();
  CHECK(distance(tied.output.weight, tied.words.weight) == 0);

  apart.output.weight.assign(apart.output.weight * 2);
  CHECK_THROWS_WITH_AS(tied.load_state_dict(apart.state_dict()),
                       doctest::Contains("'words.weight' and 'output.weight' differ"), Error);
  CHECK_THROWS_WITH_AS(apart.tie(apart.output.bias, apart.words.weight), doctest::Contains("one shape"),
                       Error);
  const Tensor copy = apart.output.weight;
  CHECK_THROWS_WITH_AS(apart.tie(apart.output.weight, apart.words.weight),
                       doctest::Contains("another handle"), Error);
  Tensor alone = zeros({5, 4}).requires_grad_();
  CHECK_THROWS_WITH_AS(apart.tie(alone, apart.words.weight), doctest::Contains("no parameter of this module"),
                       Error);
}

TEST_CASE("layers: initial states are zeros, given, or learned") {
  for_each_kind([](const tests::Kind& kind) {
    AnyLayers learned({}, 3, 4, {.num_layers = 2, .learned_state = true}, kind);
    AnyLayers plain({}, 3, 4, {.num_layers = 2}, kind);
    NamedTensors weights;
    for (const auto& entry : learned.state_dict()) {
      if (!entry.first.starts_with("initial")) weights.push_back(entry);
    }
    plain.load_state_dict(weights);
    const Tensor x = normal({3, 2, 3});
    CHECK(distance(learned(x).output, plain(x).output) == 0);  // they begin as zeros
    for (auto& [name, p] : learned.named_parameters()) {
      if (name.starts_with("initial")) p.assign(normal(p.shape()));
    }
    CHECK(distance(learned(x).output, plain(x).output) > 1e-3);
    CHECK(distance(learned(x).output, plain(x, learned.initial(2)).output) == 0);
    sum(square(learned(x).output)).backward();
    for (const auto& entry : learned.named_parameters()) {
      INFO(entry.first);
      REQUIRE(entry.second.grad().defined());
      CHECK(sum(abs(entry.second.grad())).item() > 0);
    }
  });
}

TEST_CASE("layers: planned equals eager, and training noise is the same in both") {
  for_each_kind([](const tests::Kind& kind) {
    const double p = kind.takes_drop ? 0.3 : 0;
    AnyLayers layers({}, 4, 4,
                     {.num_layers = 2,
                      .bidirectional = true,
                      .residual = true,
                      .learned_state = true,
                      .dropout = 0.2,
                      .variational = true,
                      .recurrent_dropout = p,
                      .zoneout = {0.3}},
                     kind);
    const Tensor x = normal({4, 3, 4}).requires_grad_();
    const auto run = [&] {
      manual_seed(5);
      layers.zero_grad();
      Tensor in = x;
      in.zero_grad();
      const auto [y, states] = layers(in, {}, {.lengths = {4, 1, 3}});
      (sum(square(y)) + sum(flat_of(states))).backward();
      Tensors all{y, flat_of(states), in.grad()};
      for (const Tensor& w : layers.parameters()) all.push_back(w.grad());
      eval(all);
      return all;
    };
    const Tensors planned = run(), again = run();
    const Eager eager;
    const Tensors at_once = run();
    for (size_t k = 0; k < planned.size(); ++k) {
      CHECK(distance(planned[k], at_once[k]) < 1e-11);
      CHECK(distance(planned[k], again[k]) == 0);
    }
  });
}

namespace {

// Which units of [batch, width] are zero at every step of outputs [time, batch, width], and whether all
// others are zero at none.
struct Zeros {
  int64_t always = 0, sometimes = 0;
};
Zeros zeros_of(const Tensor& outputs) {
  const Tensor count = sum(to(equal(outputs, 0.0), DType::f64), 0);  // [batch, width]
  const auto steps = static_cast<double>(outputs.size(0));
  Zeros zeros;
  for (const double n : count.to_vector<double>()) {
    zeros.always += n == steps;
    zeros.sometimes += n > 0 && n < steps;
  }
  return zeros;
}

// Shows what it is given.
struct Echo : nn::Module {
  using State = Tensor;
  int64_t hidden;
  Echo(nn::Member at, int64_t, int64_t hidden, const nn::CellOptions& = {})
      : Module(std::move(at)), hidden(hidden) {}
  Tensor operator()(const Tensor& x, const Tensor&) const { return x + 0.0; }
  Tensor initial(int64_t batch) const { return zeros({batch, hidden}); }
};

}  // namespace

TEST_CASE("layers: dropout between layers draws at each step, or once for a sequence") {
  const DefaultDType f64(DType::f64);
  manual_seed(2);
  const Tensor x = ones({40, 10, 20});
  for (const bool variational : {false, true}) {
    nn::Recurrent<Echo> two({}, 20, 20, {.num_layers = 2, .dropout = 0.4, .variational = variational});
    const Tensor y = two(x).output;
    const Zeros z = zeros_of(y);
    CHECK(z.always + z.sometimes > (variational ? 50 : 190));
    CHECK(z.always == (variational ? z.always + z.sometimes : 0));
    CHECK(amax(y).item() == doctest::Approx(1 / 0.6));
    CHECK(mean(y).item() == doctest::Approx(1).epsilon(variational ? 0.15 : 0.03));
    CHECK(distance(two(x).output, y) > 0.1);  // another mask each time
    two.eval();
    CHECK(distance(two(x).output, x) == 0);
    CHECK(distance(nn::Recurrent<Echo>({}, 20, 20, {.dropout = 0.4, .variational = variational})(x).output,
                   x) == 0);
  }
}

TEST_CASE("layers: dropout of inputs with one mask for all of time") {
  const DefaultDType f64(DType::f64);
  manual_seed(6);
  nn::Dropout drop({}, 0.4, 0);
  const Tensor x = ones({40, 10, 20});
  const Zeros z = zeros_of(drop(x));
  CHECK(z.always > 50);
  CHECK(z.always < 110);
  CHECK(z.sometimes == 0);
  CHECK(amax(drop(x)).item() == doctest::Approx(1 / 0.6));
  CHECK(zeros_of(transpose(nn::Dropout({}, 0.4, -2)(transpose(x, 0, 1)), 0, 1)).sometimes == 0);
  CHECK_THROWS_AS(nn::Dropout({}, 0.4, 3)(x), Error);
  drop.eval();
  CHECK(distance(drop(x), x) == 0);
}

TEST_CASE("layers: recurrent dropout hides units of h from the products, and the state keeps them") {
  const DefaultDType f64(DType::f64);
  manual_seed(3);
  const nn::GRU layers({}, 3, 6, {.recurrent_dropout = 0.5});
  const Tensor x = normal({5, 2, 3});
  const auto state = layers.initial(2);
  // What was drawn is one of a few masks; the same one must explain every step.
  const Tensor y = layers(x).output;
  const auto with = [&](const Tensor& drop) {
    nn::Steps steps = nn::steps_of(x);
    steps.drop = drop;
    return stack(nn::unroll(layers.cell(0), steps, state[0]).outputs, 0);
  };
  for (int64_t row = 0; row < 2; ++row) {
    int explained = 0;
    for (int bits = 0; bits < 64; ++bits) {
      std::vector<double> mask;
      for (int k = 0; k < 6; ++k) mask.push_back((bits >> k & 1) * 2.0);
      const Tensor seen = with(broadcast_to(Tensor::from(mask, {1, 6}), {2, 6}));
      explained += distance(select(seen, 1, row), select(y, 1, row)) < 1e-12;
    }
    CHECK(explained == 1);
  }
  nn::GRU quiet({}, 3, 6, {.recurrent_dropout = 0.5});
  quiet.eval();
  quiet.load_state_dict(layers.state_dict());
  CHECK(distance(quiet(x).output, with(ones({2, 6}))) < 1e-14);
}

TEST_CASE("layers: zoneout keeps units at random in training, and moves all by the expectation otherwise") {
  const DefaultDType f64(DType::f64);
  manual_seed(4);
  nn::LSTM layers({}, 3, 8, {.zoneout = {0.25, 0.5}});
  const Tensor x = normal({60, 4, 3});
  const Tensor y = layers(x).output;
  const Tensor stayed = equal(slice(y, 0, 1, 60), slice(y, 0, 0, 59));
  CHECK(mean(to(stayed, DType::f64)).item() == doctest::Approx(0.25).epsilon(0.1));

  layers.eval();
  const Tensor once_more = layers(x).output;
  CHECK(distance(once_more, layers(x).output) == 0);
  nn::LSTMState s = layers.initial(4)[0];
  for (int64_t t = 0; t < 60; ++t) {
    const nn::LSTMState next = layers.cell(0)(select(x, 0, t), s);
    s = {.h = 0.25 * s.h + 0.75 * next.h, .c = 0.5 * s.c + 0.5 * next.c};
  }
  CHECK(distance(select(once_more, 0, 59), s.h) < 1e-13);
  // Only what is asked for: h alone.
  nn::LSTM only_h({}, 3, 8, {.zoneout = {0.25}});
  only_h.eval();
  only_h.load_state_dict(layers.state_dict());
  CHECK(distance(only_h(x).output, once_more) > 1e-3);
}

TEST_CASE("layers: what cannot be is refused with a sentence") {
  using User = nn::Recurrent<tests::MinimalGatedUnit>;
  CHECK_THROWS_WITH_AS(
      User({}, 3, 4, {.recurrent_dropout = 0.5}),
      doctest::Contains("recurrent_dropout: want a cell that is called with (x, state, drop)"), Error);
  CHECK_THROWS_WITH_AS(nn::GRU({}, 3, 4, {.zoneout = {0.1, 0.1}})(zeros({2, 1, 3})),
                       doctest::Contains("2 rates of zoneout for a state of 1 parts"), Error);
  CHECK_THROWS_WITH_AS(nn::GRU({}, 3, 4, {.zoneout = {1.0}}), doctest::Contains("zoneout 1: want 0 <= p < 1"),
                       Error);
  CHECK_THROWS_WITH_AS(nn::GRU({}, 3, 4, {.dropout = -1}), doctest::Contains("dropout -1"), Error);
  CHECK_THROWS_WITH_AS(nn::GRU({}, 3, 4, {.recurrent_dropout = NAN}),
                       doctest::Contains("recurrent_dropout nan"), Error);
  CHECK_THROWS_WITH_AS(nn::GRU({}, 3, 4, {.num_layers = 0}), doctest::Contains("num_layers 0"), Error);
  const nn::GRUCell gru({}, 3, 4);
  nn::Steps steps = nn::steps_of(zeros({1, 1, 3}));
  steps.keep = {{zeros({1, 1}), zeros({1, 1})}};
  CHECK_THROWS_WITH_AS(nn::unroll(gru, steps, gru.initial(1)), doctest::Contains("2 parts of a state of 1"),
                       Error);
  const nn::Tree twice{{{}, {0, 0}}}, late{{{1}, {}}};
  const nn::RecursiveCell cell({}, 2, 2);
  const Tensors x{zeros({1, 2}), {}};
  CHECK_THROWS_WITH_AS(nn::walk(cell, twice, x), doctest::Contains("node 0 is a child twice"), Error);
  CHECK_THROWS_WITH_AS(nn::walk(cell, late, x), doctest::Contains("node 0 has child 1"), Error);
}
