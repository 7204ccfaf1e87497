// What must hold for every cell, one that a user wrote among them, whatever its equations are.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/distance.h"
#include "tests/every_cell.h"

using namespace reel;
using tests::AnyCell;
using tests::AnyState;
using tests::distance;
using tests::flat;

namespace {

constexpr int64_t kIn = 3, kHidden = 4;

// In f64. The seed is the cell's place, so that one that fails fails alone.
template <class Check>
void for_each_cell(const Check& check) {
  const DefaultDType f64(DType::f64);
  uint64_t seed = 0;
  for (const tests::Kind& kind : tests::every_cell()) {
    manual_seed(++seed);
    INFO(kind.name);
    check(AnyCell(kIn, kHidden, kind), kind);
  }
}

// Steps with all that may enter them: a mask of these lengths, dropout in the products, zoneout of h.
nn::Steps noisy_steps(const Tensor& x, const std::vector<int64_t>& lengths, const AnyCell& cell,
                      const tests::Kind& kind) {
  nn::Steps steps = nn::steps_of(x, {.lengths = lengths});
  const Tensor h = cell.initial(x.size(1)).all[0];
  if (kind.takes_drop) steps.drop = uniform(h.shape(), 0, 2);
  for (size_t t = 0; t < steps.x.size(); ++t) steps.keep.push_back({uniform(h.shape())});
  return steps;
}

nn::Steps rows_of(const nn::Steps& steps, const Tensor& rows) {
  const auto pick = [&](const Tensor& t) { return t.defined() ? index_select(t, 0, rows) : t; };
  nn::Steps out;
  for (const Tensor& x : steps.x) out.x.push_back(pick(x));
  for (const Tensor& m : steps.mask) out.mask.push_back(pick(m));
  for (const auto& keep : steps.keep) out.keep.push_back({pick(keep[0])});
  out.drop = pick(steps.drop);
  return out;
}

}  // namespace

TEST_CASE("every cell: gradients of its inputs, state and weights, first and second order") {
  for_each_cell([](const AnyCell& cell, const tests::Kind& kind) {
    AnyState state = cell.initial(2);
    Tensors inputs{normal({2, kIn}).requires_grad_()};
    for (Tensor* part : state.learnable()) {
      *part = normal(part->shape()).requires_grad_();
      inputs.push_back(*part);
    }
    for (const Tensor& p : cell.parameters()) inputs.push_back(p);
    const Tensor drop = kind.takes_drop ? uniform(state.all[0].shape(), 0, 2) : Tensor();
    const auto three_steps = [&](const Tensors& x) {
      return flat(cell(x[0], cell(x[0] * 0.5, cell(x[0] * 2, state, drop), drop), drop));
    };
    const auto first = gradcheck(three_steps, inputs), second = gradgradcheck(three_steps, inputs);
    INFO(first.text(), second.text());
    CHECK(first.ok);
    CHECK(second.ok);
    CHECK(first.checked > 40);
    CHECK(second.checked > 40);
  });
}

TEST_CASE("every cell: unrolled over one step it is the cell") {
  for_each_cell([](const AnyCell& cell, const tests::Kind&) {
    const Tensor x = normal({1, 2, kIn});
    AnyState state = cell.initial(2);
    for (Tensor* part : state.learnable()) *part = normal(part->shape());
    const auto one = nn::unroll(cell, x, state);
    const AnyState same = cell(select(x, 0, 0), state);
    CHECK(distance(flat(one.state), flat(same)) == 0);
    CHECK(distance(one.outputs[0], same.all[0]) == 0);
  });
}

TEST_CASE("every cell: padding changes neither values nor gradients") {
  for_each_cell([](const AnyCell& cell, const tests::Kind& kind) {
    const std::vector<int64_t> lengths{3, 5, 1};
    std::vector<bool> inside;
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t length : lengths) inside.insert(inside.end(), kIn, t < length);
    }
    const Tensor counts = Tensor::from(inside, {5, 3, kIn});
    const Tensor x = normal({5, 3, kIn}).requires_grad_();
    const Tensor other = detach(where(counts, x, normal({5, 3, kIn}, 0, 100))).requires_grad_();
    nn::Steps steps = noisy_steps(x, lengths, cell, kind);
    for (bool reverse : {false, true}) {
      const auto run = [&](const Tensor& in) {
        steps.x = nn::steps_of(in).x;
        auto result = nn::unroll(cell, steps, cell.initial(3), reverse);
        return std::pair(stack(result.outputs, 0), flat(result.state));
      };
      const auto [y, last] = run(x);
      const auto [y2, last2] = run(other);
      CHECK(distance(y, y2) == 0);
      CHECK(distance(last, last2) == 0);
      Tensors weights = cell.parameters();
      weights.push_back(x);
      Tensors others = cell.parameters();
      others.push_back(other);
      const Tensors g = grad({sum(square(y)) + sum(last)}, weights),
                    g2 = grad({sum(square(y2)) + sum(last2)}, others);
      for (size_t k = 0; k < g.size(); ++k) CHECK(distance(g[k], g2[k]) == 0);
      CHECK(sum(abs(where(counts, 0.0, g.back()))).item() == 0);
      // Row 0 alone, cut to its length.
      const Tensor zero = Tensor::from(std::vector<int64_t>{0}, {1});
      nn::Steps cut = rows_of(steps, zero);
      cut.mask.clear();
      cut.x.resize(3);
      const auto alone = nn::unroll(cell, cut, cell.initial(1), reverse);
      CHECK(distance(flat(alone.state), slice(last, 0, 0, 1)) < 1e-14);
      CHECK(sum(abs(slice(slice(y, 1, 0, 1), 0, 3, 5))).item() == 0);
    }
  });
}

TEST_CASE("every cell: a permuted batch gives the permuted result") {
  for_each_cell([](const AnyCell& cell, const tests::Kind& kind) {
    const nn::Steps steps = noisy_steps(normal({5, 3, kIn}), {3, 5, 1}, cell, kind);
    const Tensor order = Tensor::from(std::vector<int64_t>{2, 0, 1}, {3});
    const auto result = nn::unroll(cell, steps, cell.initial(3));
    const auto permuted = nn::unroll(cell, rows_of(steps, order), cell.initial(3));
    CHECK(distance(flat(permuted.state), index_select(flat(result.state), 0, order)) < 1e-14);
    CHECK(distance(stack(permuted.outputs, 0), index_select(stack(result.outputs, 0), 1, order)) < 1e-14);
  });
}

TEST_CASE("every cell: backwards is flipped forwards") {
  for_each_cell([](const AnyCell& cell, const tests::Kind&) {
    const Tensor x = normal({6, 2, kIn});
    const auto forward = nn::unroll(cell, x);
    const auto backward = nn::unroll(cell, nn::steps_of(flip(x, {0})), cell.initial(2), true);
    CHECK(distance(flat(forward.state), flat(backward.state)) == 0);
    CHECK(distance(stack(forward.outputs, 0), flip(stack(backward.outputs, 0), {0})) == 0);
  });
}

TEST_CASE(
    "every cell: a sequence cut in two with its state carried is the whole, and carried gradients stop") {
  for_each_cell([](const AnyCell& cell, const tests::Kind&) {
    const Tensor x = normal({7, 2, kIn}).requires_grad_();
    const auto whole = nn::unroll(cell, x);
    const auto half = nn::unroll(cell, nn::steps_of(slice(x, 0, 0, 3)), cell.initial(2));
    const auto rest = nn::unroll(cell, slice(x, 0, 3, 7), half.state);
    CHECK(distance(flat(rest.state), flat(whole.state)) == 0);
    CHECK(distance(stack(rest.outputs, 0), slice(stack(whole.outputs, 0), 0, 3, 7)) == 0);
    CHECK(distance(grad(sum(square(flat(rest.state))), x), grad(sum(square(flat(whole.state))), x)) < 1e-13);
    const auto cut = nn::unroll(cell, slice(x, 0, 3, 7), nn::detached(half.state));
    CHECK(distance(flat(cut.state), flat(whole.state)) == 0);
    const Tensor g = grad(sum(square(flat(cut.state))), x);
    CHECK(sum(abs(slice(g, 0, 0, 3))).item() == 0);
    CHECK(sum(abs(slice(g, 0, 3, 7))).item() > 0);
  });
}

TEST_CASE("every cell: a mask with holes skips those steps, and lengths are one kind of mask") {
  for_each_cell([](const AnyCell& cell, const tests::Kind&) {
    const Tensor x = normal({4, 2, kIn});
    const auto run = [&](const Tensor& in, const nn::Valid& valid) {
      return flat(nn::unroll(cell, in, cell.initial(in.size(1)), valid).state);
    };
    const Tensor holes =
        Tensor::from(std::vector<bool>{true, true, false, true, true, true, true, false}, {4, 2});
    const Tensor last = run(x, {.mask = holes});
    const Tensor row0 = slice(x, 1, 0, 1), row1 = slice(x, 1, 1, 2);
    const Tensor without = concat({slice(row0, 0, 0, 1), slice(row0, 0, 2, 4)}, 0);
    CHECK(distance(slice(last, 0, 0, 1), run(without, {})) < 1e-14);
    CHECK(distance(slice(last, 0, 1, 2), run(slice(row1, 0, 0, 3), {})) < 1e-14);
    const Tensor as_mask =
        Tensor::from(std::vector<bool>{true, true, true, true, true, false, true, false}, {4, 2});
    CHECK(distance(run(x, {.mask = as_mask}), run(x, {.lengths = {4, 2}})) == 0);
  });
}

TEST_CASE("every cell: dropout in the products is weight_hh with its columns scaled") {
  for_each_cell([](const AnyCell& cell, const tests::Kind& kind) {
    const Tensor x = normal({2, kIn});
    AnyState state = cell.initial(2);
    for (Tensor* part : state.learnable()) *part = normal(part->shape());
    if (!kind.takes_drop) {
      CHECK_THROWS_WITH_AS(cell(x, state, state.all[0]), doctest::Contains("called with (x, state, drop)"),
                           Error);
      return;
    }
    const Tensor mask = uniform({1, state.all[0].size(1)}, 0, 2);
    const auto with = [&](const Tensor& drop) { return flat(cell(x, state, drop)); };
    const Tensor dropped = with(broadcast_to(mask, state.all[0].shape())), free = with({});
    CHECK(distance(with(ones(state.all[0].shape())), free) == 0);
    CHECK(distance(dropped, free) > 1e-3);
    for (auto& [name, p] : cell.named_parameters()) {
      if (name == "weight_hh") p.assign(p * mask);
    }
    CHECK(distance(with({}), dropped) < 1e-14);
  });
}

TEST_CASE("every cell: zoneout of everything keeps the state, and of nothing changes nothing") {
  for_each_cell([](const AnyCell& cell, const tests::Kind&) {
    AnyState state = cell.initial(2);
    for (Tensor* part : state.learnable()) *part = normal(part->shape());
    nn::Steps steps = nn::steps_of(normal({3, 2, kIn}));
    const auto free = nn::unroll(cell, steps, state);
    for (const double share : {0.0, 1.0}) {
      steps.keep.assign(3, {});
      for (auto& keep : steps.keep) keep.assign(state.learnables, full({1, 1}, share));
      auto result = nn::unroll(cell, steps, state);
      for (size_t k = 0; k < state.learnables; ++k) {
        // A product may be cut elsewhere, and then adds up in another order.
        CHECK(distance(result.state.all[k], share == 1 ? state.all[k] : free.state.all[k]) <=
              (share == 1 ? 0 : 1e-15));
      }
    }
  });
}
