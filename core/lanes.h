// Pointwise programs: how an op states, once, what it does to every element. Writing `tanh(x[0]) * x[1]` over
// Lanes records a short program; kernels/pointwise.cpp runs it with SIMD in f32 and with the standard library
// in f64.
#pragma once

#include <cstdint>
#include <vector>

namespace reel::lanes {

// clang-format off
enum class Code : uint8_t {
  number, scalar,                                                   // constants: written down, or an attribute of the call
  neg, abs, sign, exp, log, log1p, expm1, sqrt, tanh, sigmoid, erf,  // of one lane
  add, sub, mul, div, min, max, pow, less, less_equal, equal,       // of two
  select,                                                           // a != 0 ? b : c
};
// clang-format on
int arity(Code code);

// Operands below `Program::inputs` are inputs, the others are results: operand inputs + k is instruction k.
struct Instruction {
  Code code;
  uint16_t a = 0, b = 0, c = 0;
  uint16_t scalar = 0;  // Code::scalar: which attribute
  double number = 0;    // Code::number
};

struct Program {
  uint16_t inputs = 0;
  std::vector<Instruction> code;
  std::vector<uint16_t> outputs =
      {};  // operands (results or inputs) that are written; empty: the last result
};

class Lane {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): formulas mix lanes and numbers.
  Lane(double number) : number_(number) {}
  Lane(Program* program, uint16_t id) : program_(program), id_(id) {}
  Program* program() const { return program_; }
  uint16_t id(Program& program) const;

 private:
  Program* program_ = nullptr;
  uint16_t id_ = 0;
  double number_ = 0;
};

class Inputs {
 public:
  explicit Inputs(Program& program) : program_(program) {}
  Lane operator[](uint16_t k) const { return {&program_, k}; }
  Lane f(uint16_t k) const;  // the call's k-th float attribute

 private:
  Program& program_;
};

Program trace(uint16_t inputs, Lane (*body)(const Inputs&));

Lane operator-(Lane a);
Lane abs(Lane a);
Lane sign(Lane a);
Lane exp(Lane a);
Lane expm1(Lane a);
Lane log(Lane a);
Lane log1p(Lane a);
Lane sqrt(Lane a);
Lane tanh(Lane a);
Lane sigmoid(Lane a);
Lane erf(Lane a);
Lane operator+(Lane a, Lane b);
Lane operator-(Lane a, Lane b);
Lane operator*(Lane a, Lane b);
Lane operator/(Lane a, Lane b);
Lane min(Lane a, Lane b);  // NaN where either is
Lane max(Lane a, Lane b);
Lane pow(Lane a, Lane b);
Lane operator<(Lane a, Lane b);  // 1 or 0
Lane operator<=(Lane a, Lane b);
Lane operator==(Lane a, Lane b);
Lane select(Lane condition, Lane yes, Lane no);

}  // namespace reel::lanes
