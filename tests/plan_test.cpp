// Plans: planned equals eager on random programs, equal structures and only those share a plan, memory never
// overlaps.
#include "core/plan/plan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "core/tape.h"
#include "tests/random_program.h"

namespace reel {
namespace {

bool has(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }

using tests::RandomProgram;
using tests::Rows;

// All memory starts as NaNs, in this whole test program, so that a value read too early or too late shows.
[[maybe_unused]] const int poisoned = ::setenv("REEL_POISON", "1", 1);

bool close(const Rows& a, const Rows& b, double tolerance) {
  if (a.size() != b.size()) return false;
  for (size_t k = 0; k < a.size(); ++k) {
    if (a[k].size() != b[k].size()) return false;
    for (size_t i = 0; i < a[k].size(); ++i) {
      if (!(std::fabs(a[k][i] - b[k][i]) <= tolerance * (1 + std::fabs(b[k][i])))) return false;
    }
  }
  return true;
}

TEST_CASE("random programs: planned, also without each pass, equals eager, values and gradients") {
  const char* const plans[] = {"-prune", "-batch", "-accumulate", "-fuse", "-place", "none"};
  const uint64_t before = tape_stats().live_nodes;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Rows at_once = [&] {
        const Eager eager;
        return RandomProgram(seed, dtype).run();
      }();
      for (const char* passes : {"", plans[seed % 6]}) {
        set_plan_passes(passes);
        const Rows planned = RandomProgram(seed, dtype).run();
        CHECK_MESSAGE(close(planned, at_once, dtype == DType::f64 ? 1e-10 : 2e-4),
                      "seed " << seed << ", " << std::string(name_of(dtype)) << ", passes '"
                              << std::string(passes) << "'");
      }
    }
  }
  set_plan_passes("");
  CHECK(tape_stats().live_nodes == before);
}

// What is pending now, planned but not run.
plan::Plan planned() {
  plan::Pending pending;
  plan::read_structure(Tape::current().pending(), pending);
  return std::move(*plan::make_plan(plan::graph_of(pending)));
}

// Scratch values that are needed at the same time lie apart; one step may write its result over an operand it
// reads last.
bool apart(const plan::Plan& plan) {
  for (const plan::Root& a : plan.roots) {
    if (a.home != plan::Home::scratch || a.first < 0) continue;
    if (a.offset < 0 || a.offset % 64 != 0 || a.offset + a.bytes > plan.arena_bytes) return false;
    for (const plan::Root& b : plan.roots) {
      if (&a == &b || b.home != plan::Home::scratch || b.first < 0 || b.bytes == 0 || a.bytes == 0) continue;
      const bool together = a.first <= b.last && b.first <= a.last;
      const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
      if (!together || !overlap) continue;
      const plan::Step& step = plan.steps[static_cast<size_t>(std::max(a.first, b.first))];
      const bool pointwise = step.what == plan::Do::fused ||
                             (step.what == plan::Do::call &&
                              plan.nodes[static_cast<size_t>(step.node)].op->kind == Kind::pointwise);
      const bool handed_over =
          (a.last == b.first || b.last == a.first) && a.offset == b.offset && a.bytes == b.bytes && pointwise;
      if (!handed_over) return false;
    }
  }
  return true;
}

TEST_CASE("scratch memory of values needed together never overlaps") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    Tensors values = {full({4, 4}, 1).requires_grad_(), full({4, 4}, 2), full({8, 4}, 3)};
    for (int k = 0; k < 30; ++k) {
      const Tensor &a = values[random() % values.size()], &b = values[random() % values.size()];
      if (!(a.shape() == Shape{4, 4}) || !(b.shape() == Shape{4, 4})) {
        values.push_back(slice(a, 0, 0, 4) * 2.0);
      } else {
        values.push_back(random() % 3   ? a + b
                         : random() % 2 ? matmul(a, transpose(b, 0, 1))
                                        : matmul(a, b) + matmul(b, a));
      }
    }
    Tensor loss = sum_to(values.back() * values[values.size() - 5], {});
    values.resize(3);
    if (loss.requires_grad()) loss = grad(loss, values[0]);
    const plan::Plan plan = planned();
    CHECK(apart(plan));
    CHECK(plan.bytes() > 0);
  }
}

TEST_CASE("a plan as text") {
  Tensor x = full({2, 3}, 2, DType::f64).requires_grad_();
  const Tensor w = Tensor::from(std::vector<double>{1, 2, 3}, {3});
  Tensor y;
  {
    const Tensor first = slice(x, 0, 0, 1);  // by itself: compilers differ in the order of operands
    y = sum_to(exp(x * w) * first, {});
  }
  const Tensor g = grad(y, x, {.cotangents = {}, .create_graph = false});
  CHECK(plan_text() == R"(plan: 2 leaves, 13 nodes, 9 steps, arena 192 bytes
%1 f64 [2, 3], %2 f64 [2, 3], %3 f64 [2, 3] = fused 3 instructions over [2, 3], leaf0 leaf1 %0  stays, stays, stays
%4 f64 [] = sum_to %3  stays
%5 f64 [] = full  @0
%8 f64 [2, 3] = fused 1 instructions over [2, 3], %6 %2  @64
%9 f64 [1, 3] = sum_to %8  @128
%12 f64 [2, 3] = zero  stays
%12 f64 [2, 3] += at 0 of axis 0 %9  stays
%11 f64 [2, 3] = fused 3 instructions over [2, 3], %6 %0 %2 leaf1  @64
%12 f64 [2, 3] += whole %11  stays
)");
  set_plan_passes("none");
  CHECK(plan_text() == R"(plan: 2 leaves, 13 nodes, 13 steps, arena 192 bytes
%1 f64 [2, 3] = mul leaf0 leaf1  stays
%2 f64 [2, 3] = exp %1  stays
%3 f64 [2, 3] = mul %2 %0  stays
%4 f64 [] = sum_to %3  stays
%5 f64 [] = full  @0
%7 f64 [2, 3] = mul %6 %0  @64
%8 f64 [2, 3] = mul %6 %2  @128
%9 f64 [1, 3] = sum_to %8  @0
%12 f64 [2, 3] = zero  stays
%12 f64 [2, 3] += at 0 of axis 0 %9  stays
%10 f64 [2, 3] = mul %7 %2  @64
%11 f64 [2, 3] = mul %10 leaf1  @64
%12 f64 [2, 3] += whole %11  stays
)");
  set_plan_passes("");
  CHECK(std::fabs(y.item()) > 1);
}

TEST_CASE("a plan as a drawing: steps are boxes, values the edges between them") {
  const Tensor x = full({2, 3}, 2), w = full({3, 4}, 1);
  eval({x, w});
  Tensor y;
  {
    const Tensor z = matmul(x, w);
    y = slice(erf(z) + z, 1, 0, 2);
  }
  CHECK(plan_dot() == R"(digraph plan {
  node [shape=box];
  leaf0 [shape=ellipse, label="leaf0 f32 [2, 3]"];
  leaf1 [shape=ellipse, label="leaf1 f32 [3, 4]"];
  step0 [label="matmul"];
  leaf0 -> step0 [label="f32 [2, 3]"];
  leaf1 -> step0 [label="f32 [3, 4]"];
  step1 [label="fused 2 instructions over [2, 2]"];
  step0 -> step1 [label="f32 [2, 2]"];
  result3 [shape=ellipse, label="result 3"];
  step1 -> result3 [label="f32 [2, 2]"];
}
)");
}

TEST_CASE(
    "a chain of pointwise calls is fused, or runs in place; what nobody holds takes no memory of its own") {
  for (const char* passes : {"", "-fuse"}) {
    set_plan_passes(passes);
    Tensor h = full({1000}, 1, DType::f64);
    for (int k = 0; k < 50; ++k) h = erf(h) * 0.5;
    const plan::Plan plan = planned();
    CHECK(plan.arena_bytes <= 2 * (8064 + 64));
    size_t own = 0, kernels = 0;
    for (const plan::Root& root : plan.roots) own += root.home == plan::Home::own;
    for (const plan::Step& step : plan.steps) kernels += step.what == plan::Do::fused;
    CHECK(own == 1);
    CHECK(kernels == (*passes ? 0 : 2));  // of at most 64 nodes each
  }
  set_plan_passes("");
}

TEST_CASE("a result never replaces an operand that is also read turned") {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  Tensor h = x * 10.0, both = h + transpose(h, 0, 1), reversed = transpose(both, 0, 1) - both * x;
  h = both = {};
  CHECK(reversed.to_vector<float>() == std::vector<float>{0, -50, -100, -240});
}

TEST_CASE("products that are added up are one product of joined rows; or added by their own kernel") {
  const Tensor a = full({4, 3}, 1), b = full({4, 5}, 2), c = full({2, 3}, 3), d = full({2, 5}, 4);
  eval({a, b, c, d});
  const auto sum = [&] {
    return accumulate({{matmul(transpose(a, 0, 1), b), {}, {}}, {matmul(transpose(c, 0, 1), d), {}, {}}},
                      {3, 5}, DType::f32);
  };
  const auto times = [](const std::string& text, const char* piece) {
    size_t count = 0;
    for (size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1)) ++count;
    return count;
  };
  const std::vector<float> want(15, 4 * 2 + 2 * 12);
  {
    const Tensor y = sum();
    const std::string text = plan_text();
    CHECK(times(text, "= matmul") == 1);
    CHECK(has(text, "[6, 3] = concat"));
    CHECK(has(text, "[6, 5] = concat"));
    CHECK(y.to_vector<float>() == want);
  }
  for (const char* passes : {"-accumulate", "-batch,-accumulate"}) {
    set_plan_passes(passes);
    const Tensor y = sum();
    const std::string text = plan_text();
    CHECK(times(text, "= matmul") == 2);
    CHECK(has(text, "+= matmul"));
    CHECK_FALSE(has(text, "whole"));
    CHECK(y.to_vector<float>() == want);
    set_plan_passes("");
  }
}

// Runs `program` and says whether that took a new plan.
template <class F>
bool builds(const F& program) {
  const uint64_t before = tape_stats().plans_built;
  program();
  return tape_stats().plans_built > before;
}

TEST_CASE("equal structures share a plan; any difference makes another") {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3});
  const Tensor z = Tensor::from(std::vector<float>(9, 1), {3, 3});
  const Tensor turned = transpose(x, 0, 1);
  const Tensor narrow =
      slice(Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {3, 4}), 1, 0, 3);
  eval({turned, narrow});
  const auto value = [](const Tensor& t) { return t.to_vector<float>()[3]; };
  // Each pair differs in one thing alone.
  const auto ab = [&] {
    const Tensor p = x * 2.5, q = p - z, r = p * q;
    CHECK(value(r) == 10 * 9);
  };
  const auto ba = [&] {
    const Tensor p = x * 2.5, q = z - p, r = p * q;
    CHECK(value(r) == 10 * -9);
  };
  const auto reads = [&] {
    const Tensor p = x * 2.5, q = p - z, r = q * q;
    CHECK(value(r) == 81);
  };
  const auto same_leaf = [&] {
    const Tensor p = x * 2.5, q = p - x, r = p * q;
    CHECK(value(r) == 10 * 6);
  };
  const auto another_op = [&] {
    const Tensor p = x * 2.5, q = p - z, r = p + q;
    CHECK(value(r) == 19);
  };
  const auto strides = [&] {
    const Tensor p = turned * 2.5, q = p - z, r = p * q;
    CHECK(value(r) == 5 * 4);
  };
  const auto last_x = [&] {
    const Tensor p = x * 2.5, q = p - z, r = q * x;
    CHECK(value(r) == 36);
  };
  const auto last_z = [&] {
    const Tensor p = x * 2.5, q = p - z, r = q * z;
    CHECK(value(r) == 9);
  };
  const auto other_strides = [&] {
    const Tensor p = narrow * 2.5, q = p - z, r = p * q;
    CHECK(value(r) == 12.5 * 11.5);
  };
  const auto stays = [&] {
    Tensor p = x * 2.5, q = p - z, r = p * q;
    p = {};
    CHECK(value(r) == 90);
  };
  const auto integers = [&](int64_t begin) {
    CHECK(slice(x * 2.5, 1, begin, begin + 2).to_vector<float>()[0] ==
          2.5f * (1 + static_cast<float>(begin)));
  };
  CHECK(builds(ab));
  CHECK(builds(ba));
  CHECK(builds(reads));
  CHECK(builds(same_leaf));
  CHECK(builds(another_op));
  CHECK(builds(strides));
  CHECK(builds(last_x));
  CHECK(builds(last_z));
  CHECK(builds(other_strides));
  CHECK(builds(stays));
  CHECK(builds([&] { integers(0); }));
  CHECK(builds([&] { integers(1); }));
  CHECK_FALSE(builds([&] {
    ab(), ba(), reads(), same_leaf(), another_op(), strides(), last_x(), last_z(), other_strides(), stays(),
        integers(1), integers(0);
  }));
}

TEST_CASE("the default dtype is part of the structure where a result takes it") {
  const Tensor a = Tensor::from(std::vector<int64_t>{7, 9}, {2}),
               b = Tensor::from(std::vector<int64_t>{2, 4}, {2});
  const auto divide = [&] { return (a / b).to_vector<double>(); };
  CHECK(divide() == std::vector<double>{3.5, 2.25});
  const DefaultDType f64(DType::f64);
  CHECK((a / b).dtype() == DType::f64);
  CHECK(divide() == std::vector<double>{3.5, 2.25});
}

TEST_CASE("equal hashes alone never share a plan") {
  plan::Pending one, two;
  const Tensor x = full({3}, 1), y = x * 2.0;
  plan::read_structure(Tape::current().pending(), one);
  const Tensor z = y * 2.0;
  plan::read_structure(Tape::current().pending(), two);
  CHECK(one.words != two.words);
  CHECK(one.hash != two.hash);
  plan::Pending again;
  plan::read_structure(Tape::current().pending(), again);
  CHECK(again.words == two.words);
  CHECK(again.hash == two.hash);
}

TEST_CASE("a view that outlives its run keeps its memory, not the scratch") {
  const Tensor x = full({4, 4}, 2);
  const Tensor view = slice(transpose(x * 3.0, 0, 1), 0, 1, 3);
  const Tensor later = view * 1.0;
  CHECK(later.to_vector<float>() == std::vector<float>(8, 6));
  for (int k = 0; k < 5; ++k) (full({50, 50}, k) + 1.0).to_vector<float>();
  CHECK(view.to_vector<float>() == std::vector<float>(8, 6));
}

}  // namespace
}  // namespace reel
