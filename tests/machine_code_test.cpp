// Machine code for pointwise programs: the same bits as a loop an instruction, for random programs over every
// kind of operand, and at every kind of number.
#include "core/kernels/machine_code.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "core/kernels/pointwise.h"

namespace reel {
namespace {

using lanes::Code;
using lanes::Instruction;
using lanes::Program;

struct MachineCode {
  explicit MachineCode(bool on) { set_machine_code(on); }
  ~MachineCode() { set_machine_code(true); }
};

// Two instructions over three operands; there is machine code on some machines only.
bool there_is_some() {
  LaneCode code;
  code.operands = {LaneCode::From::lanes, LaneCode::From::lanes, LaneCode::From::result,
                   LaneCode::From::result};
  code.steps = {{Code::add, 2, 0, 1, 0}, {Code::mul, 3, 2, 1, 0}};
  code.stores = {{3, false}};
  return machine_code(code) != nullptr;
}

constexpr float kInf = std::numeric_limits<float>::infinity();

float any_number(std::mt19937& random, bool tame) {
  constexpr float kSpecial[] = {
      0.f,    -0.f,    1.f,   -1.f,   kInf,  -kInf,  std::numeric_limits<float>::quiet_NaN(),
      1e-40f, -1e-40f, 3e38f, -3e38f, 88.7f, -104.f, 88.8f,
      -90.f,  1e-8f};
  if (!tame && random() % 8 == 0) return kSpecial[random() % std::size(kSpecial)];
  return std::normal_distribution<float>(0, 3)(random);
}

// Operands of a random program: rows of numbers with a gap, one row for all, a number a row, booleans,
// columns that do not lie side by side, and outputs likewise.
struct Case {
  Program program;
  Shape space;
  std::vector<std::vector<float>> memory;
  std::vector<std::vector<uint8_t>> booleans;
  std::vector<Array> in;
  std::vector<PointwiseOutput> out;
  bool tame = false;

  Array floats(const Shape& shape, const Strides& strides, size_t count, std::mt19937& random) {
    std::vector<float>& m = memory.emplace_back(count);
    for (float& x : m) x = any_number(random, tame);
    return {reinterpret_cast<std::byte*>(m.data()), DType::f32, shape, strides};
  }
};

Case random_case(uint32_t seed) {
  // The first few keep numbers tame, so that long programs do not end with NaN everywhere.
  constexpr Code kCodes[] = {Code::tanh,   Code::sigmoid, Code::min,        Code::max,
                             Code::select, Code::neg,     Code::sub,        Code::abs,
                             Code::add,    Code::mul,     Code::exp,        Code::sqrt,
                             Code::div,    Code::less,    Code::less_equal, Code::equal};
  constexpr size_t kTame = 8;
  std::mt19937 random(seed);
  Case c;
  const int64_t rows = 1 + random() % 5, n = 1 + random() % 90, gap = random() % 3 == 0 ? 7 : 0;
  c.space = {rows, n};
  const auto size = static_cast<size_t>(rows * (n + gap));
  const bool large = random() % 4 == 0;  // more than there are registers
  c.tame = large;
  const size_t inputs = 1 + random() % (large ? 26 : 6), outputs = 1 + random() % 3;
  c.memory.reserve(inputs + outputs);
  for (size_t k = 0; k < inputs; ++k) {
    switch (random() % 8) {
      case 0: c.in.push_back(c.floats({rows, 1}, {1, 1}, static_cast<size_t>(rows), random)); break;
      case 1: c.in.push_back(c.floats({1, n}, {n, 1}, static_cast<size_t>(n), random)); break;
      case 2: c.in.push_back(c.floats({rows, n}, {1, rows}, size, random)); break;
      case 3: {
        std::vector<uint8_t>& b = c.booleans.emplace_back(size);
        for (uint8_t& x : b) x = random() % 2;
        c.in.push_back({reinterpret_cast<std::byte*>(b.data()), DType::boolean, {rows, n}, {n + gap, 1}});
        break;
      }
      default: c.in.push_back(c.floats({rows, n}, {n + gap, 1}, size, random));
    }
  }
  c.program.inputs = static_cast<uint16_t>(inputs);
  const size_t count = 2 + random() % (large ? 60 : 30);
  for (size_t k = 0; k < count; ++k) {
    Instruction ins{};
    ins.code = k == 0 ? Code::number : kCodes[random() % (large ? kTame : std::size(kCodes))];
    ins.number = 0.75;
    const auto any = [&] { return static_cast<uint16_t>(random() % (large ? inputs : inputs + k)); };
    if (k > 0)
      ins.a = static_cast<uint16_t>(inputs + k - 1), ins.b = any(), ins.c = any();  // none is in vain
    if (random() % 2) std::swap(ins.a, ins.b);
    c.program.code.push_back(ins);
  }
  for (size_t k = 0; k < outputs; ++k) {
    // The last few results, and now and then an input as it is.
    const size_t operand =
        random() % 8 == 0 ? random() % inputs : inputs + count - 1 - std::min(k, count - 1);
    c.program.outputs.push_back(static_cast<uint16_t>(operand));
    Shape shape = {rows, n};
    Strides strides = {n + gap, 1};
    if (random() % 6 == 0) strides = {1, rows};
    c.out.push_back({c.floats(shape, strides, size, random), random() % 3 == 0});
  }
  return c;
}

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

TEST_CASE("machine code gives the same bits as a loop an instruction") {
  if (!there_is_some()) MESSAGE("no machine code here: both runs are the same");
  int different = 0;
  for (uint32_t seed = 0; seed < 3000 && different == 0; ++seed) {
    Case with = random_case(seed), without = random_case(seed);
    {
      const MachineCode on(true);
      run_fused(with.program, with.in, with.space, with.out, {});
    }
    {
      const MachineCode off(false);
      run_fused(without.program, without.in, without.space, without.out, {});
    }
    for (size_t m = 0; m < with.memory.size(); ++m) {
      for (size_t i = 0; i < with.memory[m].size(); ++i) {
        if (same(with.memory[m][i], without.memory[m][i])) continue;
        if (different++ == 0) {
          CAPTURE(seed);
          CAPTURE(m);
          CAPTURE(i);
          CHECK(with.memory[m][i] == without.memory[m][i]);
        }
      }
    }
  }
  CHECK(different == 0);
}

TEST_CASE("machine code's functions at every kind of number") {
  const Code codes[] = {Code::exp, Code::tanh, Code::sigmoid, Code::sqrt, Code::abs, Code::neg};
  for (Code code : codes) {
    CAPTURE(static_cast<int>(code));
    // f(x) + f(x): with one instruction there is no machine code.
    Program program{1, {{code, 0, 0, 0, 0, 0}, {Code::add, 1, 1, 0, 0, 0}}};
    std::vector<float> x, with, without;
    for (uint32_t bits = 0; bits < 0xffff0000u; bits += 0x9e37) x.push_back(std::bit_cast<float>(bits));
    with.resize(x.size());
    without.resize(x.size());
    const auto n = static_cast<int64_t>(x.size());
    const auto array = [&](std::vector<float>& v) {
      return Array{reinterpret_cast<std::byte*>(v.data()), DType::f32, {n}, {1}};
    };
    const Array in = array(x);
    run_pointwise(program, {&in, 1}, array(with), {});
    {
      const MachineCode off(false);
      run_pointwise(program, {&in, 1}, array(without), {});
    }
    size_t different = 0;
    for (size_t i = 0; i < x.size(); ++i) different += !same(with[i], without[i]);
    CHECK(different == 0);
  }
}

TEST_CASE("results lie over inputs, element for element, whichever is read last") {
  for (const bool on : {true, false}) {
    const MachineCode set(on);
    // The first result lies over input 1, which is read later for the first time.
    Program program{2,
                    {{Code::tanh, 0, 0, 0, 0, 0},
                     {Code::mul, 2, 2, 0, 0, 0},
                     {Code::add, 3, 1, 0, 0, 0},
                     {Code::mul, 4, 1, 0, 0, 0},
                     {Code::mul, 5, 0, 0, 0, 0}}};
    program.outputs = {3, 6};
    for (int64_t n : {1, 15, 16, 33, 100}) {
      std::vector<float> a(static_cast<size_t>(3 * n)), b(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        a[i] = 0.01f * static_cast<float>(i);
        b[i] = 1 - a[i];
      }
      const std::vector<float> a0 = a, b0 = b;
      const auto array = [&](std::vector<float>& v) {
        return Array{reinterpret_cast<std::byte*>(v.data()), DType::f32, {3, n}, {n, 1}};
      };
      const Array in[] = {array(a), array(b)};
      const PointwiseOutput out[] = {{array(b)}, {array(a)}};
      run_fused(program, in, {3, n}, out, {});
      bool right = true;
      for (size_t i = 0; i < a.size(); ++i) {
        const float t = std::tanh(a0[i]), square = t * t;
        const float last = (square + b0[i]) * b0[i] * a0[i];
        right = right && std::fabs(b[i] - square) < 1e-5f &&
                std::fabs(a[i] - last) < 1e-5f * (1 + std::fabs(last));
      }
      CHECK(right);
    }
  }
}

TEST_CASE("nothing beyond the last lane is touched") {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* pages = mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(pages != MAP_FAILED);
  std::byte* const begin = static_cast<std::byte*>(pages);
  for (size_t guard : {1, 3}) mprotect(begin + guard * page, page, PROT_NONE);
  // Both inputs are read in place by the instructions, where whole vectors are left.
  Program program{2, {{Code::mul, 0, 1, 0, 0, 0}, {Code::neg, 2, 0, 0, 0, 0}}};
  for (int64_t n = 1; n < 70; ++n) {
    const auto last = [&](size_t guard) {
      return Array{begin + guard * page - static_cast<size_t>(n) * 4, DType::f32, {n}, {1}};
    };
    const Array in[] = {last(1), last(3)};
    run_pointwise(program, in, last(1), {});
  }
  CHECK(munmap(pages, 4 * page) == 0);
}

TEST_CASE("sums of what machine code makes") {
  Program program{2, {{Code::mul, 0, 1, 0, 0, 0}, {Code::add, 2, 0, 0, 0, 0}}};
  program.outputs = {3, 3, 2};
  for (int64_t n : {1, 40, 700}) {
    constexpr int64_t kRows = 33;
    std::vector<float> a(static_cast<size_t>(kRows * n)), b(a.size()), all(a.size());
    std::vector<float> of_rows(kRows), of_columns(static_cast<size_t>(n), 1);
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<float>(i % 7) - 2;
      b[i] = static_cast<float>(i % 5);
    }
    const auto array = [](std::vector<float>& v, Shape shape) {
      const Strides strides = row_major(shape);
      return Array{reinterpret_cast<std::byte*>(v.data()), DType::f32, shape, strides};
    };
    const Array in[] = {array(a, {kRows, n}), array(b, {kRows, n})};
    const PointwiseOutput out[] = {
        {array(of_rows, {kRows, 1})}, {array(of_columns, {1, n}), true}, {array(all, {kRows, n})}};
    run_fused(program, in, {kRows, n}, out, {});
    std::vector<float> rows(kRows), columns(static_cast<size_t>(n), 1);
    for (size_t i = 0; i < a.size(); ++i) {
      const float y = a[i] * b[i] + a[i];
      rows[i / static_cast<size_t>(n)] += y;
      columns[i % static_cast<size_t>(n)] += y;
      if (all[i] != a[i] * b[i]) FAIL("element " << i);
    }
    CHECK(of_rows == rows);  // small whole numbers: exact in any order
    CHECK(of_columns == columns);
  }
}

TEST_CASE("a program that needs more registers than there are runs all the same") {
  constexpr uint16_t kInputs = 40;
  Program program;
  program.inputs = kInputs;
  // All products of neighbours first, then their sum: forty results wait.
  for (uint16_t k = 0; k < kInputs; ++k)
    program.code.push_back({Code::mul, k, static_cast<uint16_t>((k + 1) % kInputs), 0, 0, 0});
  uint16_t sum = kInputs;
  for (uint16_t k = 1; k < kInputs; ++k) {
    program.code.push_back({Code::add, sum, static_cast<uint16_t>(kInputs + k), 0, 0, 0});
    sum = static_cast<uint16_t>(kInputs + program.code.size() - 1);
  }
  std::vector<std::vector<float>> memory(kInputs, std::vector<float>(50, 2));
  std::vector<Array> in;
  for (auto& m : memory) in.push_back({reinterpret_cast<std::byte*>(m.data()), DType::f32, {50}, {1}});
  std::vector<float> out(50);
  run_pointwise(program, in, {reinterpret_cast<std::byte*>(out.data()), DType::f32, {50}, {1}}, {});
  for (float y : out) CHECK(y == 160);
}

}  // namespace
}  // namespace reel
