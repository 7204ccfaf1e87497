#include "ops/rules.h"

#include "core/structural.h"

namespace reel::rules {

namespace {

DType common(const Signature& s) {
  const DType a = s.in_dtype(0), b = s.in_dtype(1);
  if (a == b) return a;
  if (is_float(a) && is_float(b))
    s.fail("a is {} and b is {}: want one dtype, or to(x, dtype)", name_of(a), name_of(b));
  if (is_float(a)) return a;
  if (is_float(b)) return b;
  return DType::i64;
}

}  // namespace

void same(Signature& s) {
  s.shape = s.in(0);
  s.dtype = s.in_dtype(0);
}

void same_float(Signature& s) {
  s.want_float(0);
  same(s);
}

void broadcast2(Signature& s) {
  if (!broadcast(s.in(0), s.in(1), s.shape)) {
    s.fail("a {} and b {}: want shapes that broadcast (equal or 1, counted from the right)", s.in(0),
           s.in(1));
  }
  s.dtype = common(s);
}

void compare(Signature& s) {
  broadcast2(s);
  s.dtype = DType::boolean;
}

std::vector<Sample> unary(Tensor (*f)(Arg), double low, double high) {
  const auto call = [f](std::span<const Tensor> x) { return f(x[0]); };
  std::vector<Sample> samples;
  for (const Shape& shape :
       {Shape{2, 3}, Shape{}, Shape{1}, Shape{33}, Shape{4, 1, 5}, Shape{0, 3}, Shape{3, 300}}) {
    samples.push_back({{shape}, call, low, high});
  }
  return samples;
}

std::vector<Sample> binary(Tensor (*f)(Arg, Arg), double low, double high) {
  const auto call = [f](std::span<const Tensor> x) { return f(x[0], x[1]); };
  std::vector<Sample> samples;
  const std::vector<std::vector<Shape>> shapes = {{{2, 3}, {2, 3}},    {{2, 3}, {3}},     {{2, 1}, {1, 17}},
                                                  {{}, {4}},           {{1}, {}},         {{0, 3}, {3}},
                                                  {{2, 1, 3}, {4, 1}}, {{5, 33}, {5, 1}}, {{2, 300}, {300}}};
  for (const auto& s : shapes) samples.push_back({s, call, low, high});
  samples.push_back({{{2, 3}}, [f](std::span<const Tensor> x) { return f(x[0], x[0]); }, low, high});
  samples.push_back({{{2, 3}}, [f](std::span<const Tensor> x) { return f(x[0], 1.5); }, low, high});
  samples.push_back({{{2, 3}}, [f](std::span<const Tensor> x) { return f(1.5, x[0]); }, low, high});
  return samples;
}

std::vector<BadSample> binary_bad(Tensor (*f)(Arg, Arg)) {
  return {{[f] {
             return f(zeros({2, 3}), zeros({2, 4}));
           },
           "a [2, 3] and b [2, 4]"},
          {[f] { return f(full({2}, 0, DType::f32), full({2}, 0, DType::f64)); }, "a is f32 and b is f64"},
          {[f] { return f(Tensor(), zeros({2})); }, "undefined"}};
}

}  // namespace reel::rules
