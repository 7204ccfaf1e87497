#include "core/lanes.h"

#include "core/error.h"

namespace reel::lanes {

namespace {

uint16_t append(Program& p, Instruction instruction) {
  p.code.push_back(instruction);
  return static_cast<uint16_t>(p.inputs + p.code.size() - 1);
}

Lane emit(Code code, Lane a, Lane b = 0.0, Lane c = 0.0) {
  Program* p = a.program() ? a.program() : b.program() ? b.program() : c.program();
  if (!p) fail("pointwise program: an instruction of numbers alone");
  Instruction instruction{.code = code};
  instruction.a = a.id(*p);
  if (arity(code) > 1) instruction.b = b.id(*p);
  if (arity(code) > 2) instruction.c = c.id(*p);
  return {p, append(*p, instruction)};
}

}  // namespace

int arity(Code code) {
  if (code <= Code::scalar) return 0;
  if (code <= Code::erf) return 1;
  return code == Code::select ? 3 : 2;
}

uint16_t Lane::id(Program& program) const {
  if (program_) return id_;
  return append(program, {.code = Code::number, .number = number_});
}

Lane Inputs::f(uint16_t k) const {
  return {&program_, append(program_, {.code = Code::scalar, .scalar = k})};
}

Program trace(uint16_t inputs, Lane (*body)(const Inputs&)) {
  Program program;
  program.inputs = inputs;
  const Lane result = body(Inputs(program));
  // The result is the last instruction; a bare input or an earlier one is copied there.
  const uint16_t id = result.id(program);
  if (program.code.empty() || id + 1 != program.inputs + static_cast<int>(program.code.size())) {
    const uint16_t zero = append(program, {.code = Code::number, .number = 0});
    append(program, {.code = Code::select, .a = zero, .b = zero, .c = id});
  }
  return program;
}

Lane operator-(Lane a) { return emit(Code::neg, a); }
Lane abs(Lane a) { return emit(Code::abs, a); }
Lane sign(Lane a) { return emit(Code::sign, a); }
Lane exp(Lane a) { return emit(Code::exp, a); }
Lane expm1(Lane a) { return emit(Code::expm1, a); }
Lane log(Lane a) { return emit(Code::log, a); }
Lane log1p(Lane a) { return emit(Code::log1p, a); }
Lane sqrt(Lane a) { return emit(Code::sqrt, a); }
Lane tanh(Lane a) { return emit(Code::tanh, a); }
Lane sigmoid(Lane a) { return emit(Code::sigmoid, a); }
Lane erf(Lane a) { return emit(Code::erf, a); }
Lane operator+(Lane a, Lane b) { return emit(Code::add, a, b); }
Lane operator-(Lane a, Lane b) { return emit(Code::sub, a, b); }
Lane operator*(Lane a, Lane b) { return emit(Code::mul, a, b); }
Lane operator/(Lane a, Lane b) { return emit(Code::div, a, b); }
Lane min(Lane a, Lane b) { return emit(Code::min, a, b); }
Lane max(Lane a, Lane b) { return emit(Code::max, a, b); }
Lane pow(Lane a, Lane b) { return emit(Code::pow, a, b); }
Lane operator<(Lane a, Lane b) { return emit(Code::less, a, b); }
Lane operator<=(Lane a, Lane b) { return emit(Code::less_equal, a, b); }
Lane operator==(Lane a, Lane b) { return emit(Code::equal, a, b); }
Lane select(Lane condition, Lane yes, Lane no) { return emit(Code::select, condition, yes, no); }

}  // namespace reel::lanes
