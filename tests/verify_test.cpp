// REEL_VERIFY: right plans pass, a wrong one is caught and the call named, on both ways of running.
#include "core/plan/verify.h"

#include <doctest/doctest.h>

#include "core/plan/cache.h"
#include "core/structural.h"
#include "core/tape.h"
#include "reel.h"
#include "tests/random_sequence.h"

using namespace reel;

namespace {

struct Verified {
  Verified() { plan::verify::on() = true; }
  ~Verified() { plan::verify::on() = false; }
};

// A copy whose kernel says that it can add onto its output, and does not: right alone, wrong in a plan.
const Op forgetful{.name = "forgetful",
                   .doc = "y = x",
                   .shape = [](Signature& s) { s.shape = s.in(0); },
                   .vjp = [](Vjp& g) { g[0] = record(forgetful, {g.dy}, g.attrs()); },
                   .f32 = [](const Exec& e) { copy(e.in[0], e.out); },
                   .f64 = [](const Exec& e) { copy(e.in[0], e.out); },
                   .accumulates = true};
// `which` keeps two calls on one value apart.
Tensor forget(const Tensor& x, int64_t which = 0) { return record(forgetful, {x}, {.i = {which}, .f = {}}); }

bool has(const std::string& text, const char* piece) { return text.find(piece) != std::string::npos; }

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("verify: right plans pass, values and gradients") {
  const Verified verified;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CHECK_NOTHROW(tests::RandomSequence(seed, DType::f64).run());
    CHECK_NOTHROW(tests::RandomSequence(seed, DType::f32).run());
    CHECK_NOTHROW(tests::RandomProgram(seed, DType::f32).run());
  }
}

TEST_CASE("verify: the first wrong value is named, with both numbers and the caller's place") {
  const Tensor x = full({2, 3}, 1.5), y = full({2, 3}, 2.0);
  eval({x, y});
  const auto sum = [&] {
    const Tensor s = accumulate({{forget(x), {}, {}}, {forget(y), {}, {}}}, {2, 3}, DType::f32);
    const Tensor after = tanh(s * 2.0);
    eval({after});
  };
  CHECK_NOTHROW(sum());  // nobody looks
  const Verified verified;
  const std::string error = error_of(sum);
  CAPTURE(error);
  CHECK(has(error, "REEL_VERIFY"));
  CHECK(has(error, "[accumulate] of f32 [2, 3]"));
  CHECK(has(error, "element 0 is 2, want 3.5"));
  const auto twice = [&] {
    const Tensor z = x * 2.0;
    plan::Pending pending;
    plan::read_structure(Tape::current().pending(), pending);
    // The plan that is kept for this structure reads x where it should read 2.
    auto& plan = const_cast<plan::Plan&>(*plan::find_plan(pending));
    for (plan::Id& id : plan.operands) id = id == 1 ? 0 : id;
    for (auto& kernel : plan.kernels) kernel.scalars.assign(kernel.scalars.size(), {-1, 0});
    eval({z});
  };
  const std::string named = error_of(twice);
  CAPTURE(named);
  CHECK(has(named, "[mul] of f32 [2, 3] (verify_test.cpp:"));
  CHECK(has(named, "element 0 is 0, want 3"));
}

TEST_CASE("verify: a wrong gradient on backward()'s fast way is named, and nothing is lost") {
  const Tensor w = full({2, 3}, 0.5).requires_grad_();
  const auto step = [&] {
    const Tensor shared = w * 2.0;
    const Tensor loss = sum(tanh(forget(shared, 1)) + forget(shared, 2) * 3.0);
    loss.backward();
  };
  step();
  const std::vector<float> wrong = w.grad().to_vector<float>();
  const Verified verified;
  const std::string error = error_of(step);
  CAPTURE(error);
  CHECK(
      has(error, "the gradient of the variable of shape [2, 3] that [mul] of f32 [2, 3] (verify_test.cpp:"));
  CHECK(w.grad().to_vector<float>() == wrong);  // as it was
}
