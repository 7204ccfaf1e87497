// Gradients that are zeros but for some rows, and small constants that a plan takes as one leaf.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"
#include "ops/shape.h"
#include "optim/clip.h"

namespace reel {
namespace {

constexpr int64_t kRows = 40, kColumns = 3;

Tensor table() {
  return Tensor::from(std::vector<float>(static_cast<size_t>(kRows * kColumns), 0.5f), {kRows, kColumns})
      .requires_grad_();
}
Tensor ids(const std::vector<int64_t>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}

// The gradient of three times the sum of these rows.
void backward(Tensor& of, const std::vector<int64_t>& rows, double factor = 3) {
  of.set_grad({});
  sum_to(index_select(of, 0, ids(rows)) * factor, {}).backward();
}
void check(const Tensor& of, const std::vector<int64_t>& rows) {
  std::vector<float> want(static_cast<size_t>(kRows * kColumns), 0.0f);
  for (const int64_t row : rows) {
    for (int64_t c = 0; c < kColumns; ++c) want[static_cast<size_t>(row * kColumns + c)] += 3;
  }
  CHECK(of.grad().to_vector<float>() == want);
}

TEST_CASE("sparse: rows that were written before are zeros again") {
  Tensor w = table();
  for (const std::vector<int64_t>& rows : std::vector<std::vector<int64_t>>{
           {1, 5}, {39, 0, 39}, {2, 3}, {5, 1}, {7, 8, 9, 10}, {0}, {1}, {2}, {39}}) {
    backward(w, rows);
    check(w, rows);
  }
}

TEST_CASE("sparse: memory that somebody wrote to in place is zeroed from end to end") {
  Tensor w = table();
  for (int k = 0; k < 3; ++k) {
    backward(w, {5});
    {
      Tensor mine = w.grad();
      w.set_grad({});
      mine.requires_grad_();
      mine.assign(table());
    }
    backward(w, {6});
    check(w, {6});
    backward(w, {4}, NAN);
    optim::clip_grad_norm({w}, 1);  // zeros become NaN
    backward(w, {7, 6});
    check(w, {7, 6});
    optim::clip_grad_norm({w}, 1e9);
    optim::clip_grad_value({w}, 100);  // zeros stay zeros
    backward(w, {8});
    check(w, {8});
  }
}

TEST_CASE("sparse: a gradient that is held keeps its rows while others are made") {
  Tensor w = table();
  backward(w, {3});
  const Tensor held = w.grad();
  backward(w, {4});
  check(w, {4});
  w.set_grad(held);
  check(w, {3});
}

TEST_CASE("sparse: an id out of range leaves no trace") {
  Tensor w = table();
  backward(w, {3});
  CHECK_THROWS_AS(backward(w, {2, kRows}), Error);
  backward(w, {5});
  check(w, {5});
}

TEST_CASE("sparse: words that are looked up one by one, again with other words") {
  Tensor w = table();
  for (int64_t first = 0; first < 3; ++first) {
    w.set_grad({});
    std::vector<int64_t> rows;
    Tensors parts;
    for (int64_t k = 0; k < 12; ++k) {
      rows.push_back((first * 7 + k * 5) % kRows);
      parts.push_back(index_select(w, 0, ids({rows.back()})));
    }
    sum_to(concat(parts, 0) * 3.0, {}).backward();
    check(w, rows);
  }
}

}  // namespace
}  // namespace reel
