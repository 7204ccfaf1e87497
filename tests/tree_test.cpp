// What must hold for every cell over trees, one that a user wrote among them.
#include <doctest/doctest.h>

#include "reel.h"
#include "tests/distance.h"

using namespace reel;
using tests::distance;

namespace {

// Reads its children in turn, the last one first, and counts nodes.
struct UsersTreeCell : nn::Module {
  struct State {
    Tensor shown, count;
    std::array<Tensor*, 2> parts() { return {&shown, &count}; }
  };
  nn::Linear up{{this, "up"}, 4, 4};
  Tensor child = parameter("child", {4, 4}, nn::init::normal(0, 0.5));
  State operator()(const Tensor& x, std::span<const State> children) const {
    State s{up(x), full({x.size(0), 1}, 1)};
    for (size_t k = children.size(); k-- > 0;) {
      s.shown = tanh(matmul(s.shown, child) + children[k].shown);
      s.count = s.count + children[k].count;
    }
    return s;
  }
};

template <class State>
Tensor flat(State s) {
  Tensors all;
  for (const Tensor* part : nn::parts(s)) all.push_back(*part);
  return concat(all, -1);
}

// Two trees; nodes of one and of two children.
const nn::Tree kForest{{{}, {}, {0, 1}, {}, {2, 3}, {}, {5}, {}, {6, 7}}};

template <class Check>
void for_each_tree_cell(const Check& check) {
  const DefaultDType f64(DType::f64);
  manual_seed(1);
  check(nn::TreeLSTMCell({}, 4, 4), "Tree-LSTM, binary");
  check(nn::TreeLSTMCell({}, 4, 4, {.children = 0}), "Tree-LSTM, child-sum");
  check(nn::RecursiveCell({}, 4, 4, {.project = true}), "recursive, binary");
  check(nn::RecursiveCell({}, 4, 4, {.children = 0, .project = true, .activation = reel::sigmoid}),
        "recursive, any number");
  check(UsersTreeCell(), "a user's");
}

Tensors rows_of(const Tensor& x) {
  Tensors rows;
  for (int64_t k = 0; k < x.size(0); ++k) rows.push_back(slice(x, 0, k, k + 1));
  return rows;
}

template <class Cell>
Tensor states_of(const Cell& cell, const nn::Tree& tree, const Tensor& x) {
  Tensors all;
  for (const auto& state : nn::walk(cell, tree, rows_of(x))) all.push_back(flat(state));
  return concat(all, 0);
}

}  // namespace

TEST_CASE("tree: a leaf is the cell, and trees of a forest know nothing of each other") {
  for_each_tree_cell([](const auto& cell, const char* name) {
    INFO(name);
    const Tensor x = normal({9, 4});
    const Tensor all = states_of(cell, kForest, x);
    CHECK(distance(slice(all, 0, 0, 1), flat(cell(slice(x, 0, 0, 1), {}))) < 1e-14);
    const nn::Tree second{{{}, {0}, {}, {1, 2}}};
    CHECK(distance(slice(all, 0, 5, 9), states_of(cell, second, slice(x, 0, 5, 9))) < 1e-14);
    CHECK(kForest.roots() == std::vector<int64_t>{4, 8});
  });
}

TEST_CASE("tree: several trees of one form at once are a batch, and permuted with it") {
  for_each_tree_cell([](const auto& cell, const char* name) {
    INFO(name);
    const nn::Tree tree{{{}, {}, {0, 1}}};
    const Tensors x{normal({3, 4}), normal({3, 4}), normal({3, 4})};
    const Tensor order = Tensor::from(std::vector<int64_t>{2, 0, 1}, {3});
    Tensors permuted, row;
    for (const Tensor& t : x) permuted.push_back(index_select(t, 0, order));
    for (const Tensor& t : x) row.push_back(slice(t, 0, 1, 2));
    const Tensor batch = flat(nn::walk(cell, tree, x).back());
    CHECK(distance(flat(nn::walk(cell, tree, permuted).back()), index_select(batch, 0, order)) < 1e-14);
    CHECK(distance(flat(nn::walk(cell, tree, row).back()), slice(batch, 0, 1, 2)) < 1e-14);
  });
}

TEST_CASE("tree: gradients of whole models, first and second order, and planned equals eager") {
  for_each_tree_cell([](const auto& cell, const char* name) {
    INFO(name);
    Tensors inputs = cell.parameters();
    for (Tensor p : cell.parameters()) p.assign(p + normal(p.shape(), 0, 0.3));
    const Tensor x = normal({9, 4}).requires_grad_();
    inputs.push_back(x);
    const auto f = [&](const Tensors&) { return sum(square(states_of(cell, kForest, x))); };
    const auto first = gradcheck(f, inputs, {.elements = 12});
    const auto second = gradgradcheck(f, inputs, {.step = 1e-5, .tolerance = 1e-5, .directions = 5});
    INFO(first.text(), second.text());
    CHECK(first.ok);
    CHECK(second.ok);
    CHECK(first.checked > 30);
    CHECK(second.checked >= 5);
    const auto run = [&] {
      Tensors all = grad({f({})}, inputs);
      all.push_back(states_of(cell, kForest, x));
      eval(all);
      return all;
    };
    const Tensors planned = run();
    const Eager eager;
    const Tensors at_once = run();
    for (size_t k = 0; k < planned.size(); ++k) CHECK(distance(planned[k], at_once[k]) < 1e-12);
  });
}
