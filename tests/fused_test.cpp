// Pointwise programs of several outputs: random programs, strides, broadcasts, places and sums against a
// naive evaluation in double; one thread and two make the same bits.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/error.h"
#include "core/kernels/pointwise.h"
#include "core/tensor.h"

namespace reel {
namespace {

using lanes::Code;
using lanes::Program;

// An array in memory of its own, which may lie strided between other elements; those must stay as they are.
struct Cells {
  std::vector<float> memory;
  Shape shape;
  Strides strides{};
  int64_t first = 0;

  Array array() { return {reinterpret_cast<std::byte*>(memory.data() + first), DType::f32, shape, strides}; }
};

struct Random {
  std::mt19937 engine;
  int64_t below(int64_t n) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(n)); }
  bool once_in(int64_t n) { return below(n) == 0; }

  // Row-major, a column slice of wider rows, or transposed.
  Cells cells(const Shape& shape) {
    Cells c{{}, shape, row_major(shape)};
    const int rank = shape.rank();
    int64_t size = shape.numel();
    if (rank > 1 && once_in(2)) {
      Shape wide = shape;
      wide[rank - 1] = shape[rank - 1] * 3 + 1;
      c.strides = row_major(wide);
      c.first = below(shape[rank - 1] * 2 + 1);
      size = wide.numel();
    } else if (rank > 1 && once_in(4)) {
      Shape turned = shape;
      std::swap(turned[0], turned[rank - 1]);
      c.strides = row_major(turned);
      std::swap(c.strides[0], c.strides[static_cast<size_t>(rank - 1)]);
    }
    for (int64_t i = 0; i < std::max<int64_t>(size, 1); ++i) {
      c.memory.push_back(std::uniform_real_distribution<float>(-1, 1)(engine));
    }
    return c;
  }

  Shape broadcast_of(const Shape& space, bool always) {
    Shape shape = space;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (always ? once_in(2) : once_in(4)) shape[axis] = 1;
    }
    while (!always && shape.rank() > 0 && shape[0] == 1 && once_in(2)) shape.erase(0);
    return shape;
  }

  Program program(uint16_t inputs, int length) {
    static const Code codes[] = {Code::neg, Code::tanh, Code::sigmoid, Code::abs, Code::add,    Code::sub,
                                 Code::mul, Code::add,  Code::mul,     Code::min, Code::select, Code::less};
    Program p;
    p.inputs = inputs;
    p.code.push_back({.code = Code::number, .number = 0.5});
    p.code.push_back({.code = Code::scalar, .scalar = 1});
    for (int k = 0; k < length; ++k) {
      const auto any = [&] {
        return static_cast<uint16_t>(below(inputs + static_cast<int64_t>(p.code.size())));
      };
      p.code.push_back({.code = codes[below(12)], .a = any(), .b = any(), .c = any()});
    }
    return p;
  }
};

// Every operand's value at one index of the space.
std::vector<double> evaluate(const Program& p, const std::vector<double>& in,
                             const std::vector<double>& scalars) {
  std::vector<double> v = in;
  for (const lanes::Instruction& i : p.code) {
    const auto at = [&](uint16_t k) { return k < v.size() ? v[k] : 0.0; };
    const double a = at(i.a), b = at(i.b), c = at(i.c);
    switch (i.code) {
      case Code::number: v.push_back(i.number); break;
      case Code::scalar: v.push_back(scalars[i.scalar]); break;
      case Code::neg: v.push_back(-a); break;
      case Code::abs: v.push_back(std::fabs(a)); break;
      case Code::tanh: v.push_back(std::tanh(a)); break;
      case Code::sigmoid: v.push_back(1 / (1 + std::exp(-a))); break;
      case Code::add: v.push_back(a + b); break;
      case Code::sub: v.push_back(a - b); break;
      case Code::mul: v.push_back(a * b); break;
      case Code::min: v.push_back(std::min(a, b)); break;
      case Code::less: v.push_back(a < b); break;
      case Code::select: v.push_back(a != 0 ? b : c); break;
      default: FAIL("not in the tests' programs");
    }
  }
  return v;
}

int64_t offset_of(const Shape& shape, const Strides& strides, const Shape& space, int64_t element) {
  const Strides wide = broadcast_strides(shape, strides, space);
  int64_t offset = 0;
  for (int axis = space.rank(); axis-- > 0; element /= space[axis]) {
    if (const int own = axis - space.rank() + shape.rank(); own >= 0 && shape[own] != 1) {
      offset += element % space[axis] * wide[static_cast<size_t>(axis)];
    }
  }
  return offset;
}

// A call over arrays of its own: results, and what they should be with how far f32 may be from that.
struct Case {
  Program program;
  Shape space;
  std::vector<Cells> in, out;
  std::vector<bool> add;
  std::vector<int> place;  // of an output: the input it overwrites, -1 for none
  std::vector<double> scalars = {3.0, -0.25};

  Array output(size_t j) { return place[j] < 0 ? out[j].array() : in[static_cast<size_t>(place[j])].array(); }

  void expect(std::vector<std::vector<double>>& want, std::vector<std::vector<double>>& slack) {
    for (size_t j = 0; j < out.size(); ++j) {
      const Cells& c = place[j] < 0 ? out[j] : in[static_cast<size_t>(place[j])];
      want.emplace_back(c.memory.begin(), c.memory.end());
      slack.emplace_back(c.memory.size(), 0.0);
      if (add[j]) continue;
      for (int64_t e = 0; e < c.shape.numel(); ++e) {
        want[j][static_cast<size_t>(c.first + offset_of(c.shape, c.strides, c.shape, e))] = 0;
      }
    }
    for (int64_t e = 0; e < space.numel(); ++e) {
      std::vector<double> x;
      for (const Cells& c : in) {
        x.push_back(static_cast<double>(
            c.memory[static_cast<size_t>(c.first + offset_of(c.shape, c.strides, space, e))]));
      }
      const std::vector<double> v = evaluate(program, x, scalars);
      for (size_t j = 0; j < out.size(); ++j) {
        const Cells& c = place[j] < 0 ? out[j] : in[static_cast<size_t>(place[j])];
        const auto at = static_cast<size_t>(c.first + offset_of(c.shape, c.strides, space, e));
        want[j][at] += v[program.outputs[j]];
        slack[j][at] += 2e-5 * (1 + std::fabs(v[program.outputs[j]]));
      }
    }
  }
};

// Comparisons make steps, where f32 and double part: programs whose values come near one are left out.
bool steps(const Program& p) {
  for (const lanes::Instruction& i : p.code) {
    if (i.code == Code::less || (i.code == Code::select && i.a >= p.inputs)) return true;
  }
  return false;
}

Case random_case(Random& r, const Shape& space) {
  Case c;
  c.space = space;
  do {
    c.program = r.program(static_cast<uint16_t>(1 + r.below(6)), static_cast<int>(1 + r.below(20)));
  } while (steps(c.program) && !r.once_in(20));
  if (steps(c.program)) {
    for (auto& i : c.program.code) {
      if (i.code == Code::less || i.code == Code::select)
        i = {.code = Code::select, .a = 0, .b = i.b, .c = i.c};
    }
  }
  for (uint16_t k = 0; k < c.program.inputs; ++k) c.in.push_back(r.cells(r.broadcast_of(space, false)));
  const int64_t outputs = 1 + r.below(5);
  std::vector<bool> taken(c.in.size());
  for (int64_t j = 0; j < outputs; ++j) {
    const auto operands = static_cast<int64_t>(c.in.size() + c.program.code.size());
    c.program.outputs.push_back(static_cast<uint16_t>(r.below(operands)));
    c.out.push_back(r.cells(r.once_in(3) ? r.broadcast_of(space, true) : space));
    c.add.push_back(r.once_in(4));
    const auto k = static_cast<size_t>(r.below(static_cast<int64_t>(c.in.size())));
    const bool over = c.in[k].shape == space && !taken[k] && r.once_in(2);
    if (over) taken[k] = true;
    c.place.push_back(over ? static_cast<int>(k) : -1);
  }
  return c;
}

// Runs the case with its present arrays; returns the memory of all outputs.
std::vector<std::vector<float>> run(Case& c, bool by_rows) {
  std::vector<Array> in;
  std::vector<PointwiseOutput> out;
  std::vector<std::byte*> data;
  for (Cells& x : c.in) in.push_back(x.array());
  for (size_t j = 0; j < c.out.size(); ++j) out.push_back({c.output(j), c.add[j]});
  for (const Array& a : in) data.push_back(a.data);
  for (const PointwiseOutput& o : out) data.push_back(o.array.data);
  const PreparedPointwise prepared(c.program, in, c.space, out);
  if (by_rows && prepared.rows_independent() && prepared.rows() > 0) {
    for (int64_t r = 0; r < prepared.rows(); r += 3) {
      prepared.run_rows(data, c.scalars, r, std::min(r + 3, prepared.rows()));
    }
  } else {
    prepared.run(data, c.scalars);
  }
  std::vector<std::vector<float>> memory;
  for (size_t j = 0; j < c.out.size(); ++j) {
    memory.push_back(c.place[j] < 0 ? c.out[j].memory : c.in[static_cast<size_t>(c.place[j])].memory);
  }
  return memory;
}

void check(Case c, const std::string& name) {
  std::vector<std::vector<double>> want, slack;
  c.expect(want, slack);
  for (const bool by_rows : {false, true}) {
    Case copy = c;
    const auto got = run(copy, by_rows);
    for (size_t j = 0; j < got.size(); ++j) {
      size_t wrong = got[j].size();
      for (size_t i = 0; i < got[j].size(); ++i) {
        if (!(std::fabs(static_cast<double>(got[j][i]) - want[j][i]) <= slack[j][i] + 1e-7)) wrong = i;
      }
      CHECK_MESSAGE(wrong == got[j].size(), name << ", space " << c.space.str() << ", output " << j
                                                 << " of shape " << c.output(j).shape.str() << " at " << wrong
                                                 << " by rows " << by_rows);
    }
  }
}

TEST_CASE("random programs, shapes, strides, places and sums") {
  Random r{std::mt19937(5)};
  const int64_t lengths[] = {1, 2, 3, 5, 7, 16, 32, 33};
  for (int k = 0; k < 3000; ++k) {
    Shape space;
    const int64_t rank = r.below(7);
    for (int64_t axis = 0; axis < rank; ++axis) {
      const int64_t room = 6000 / std::max<int64_t>(space.numel(), 1);
      space.push_back(std::clamp<int64_t>(lengths[r.below(8)], 1, std::max<int64_t>(room, 1)));
    }
    if (rank > 0 && r.once_in(40)) space[static_cast<int>(r.below(rank))] = 0;
    check(random_case(r, space), "case " + std::to_string(k));
  }
  for (int k = 0; k < 150; ++k) {
    const Shape spaces[] = {{3, 1500}, {1500, 3}, {40, 128}, {5000}, {7, 9, 100}, {2, 600, 1}, {9, 700}};
    check(random_case(r, spaces[k % 7]), "long case " + std::to_string(k));
  }
}

TEST_CASE("one thread and two make the same bits") {
  Random r{std::mt19937(6)};
  for (const Shape& space : {Shape{3000, 130}, Shape{300000}, Shape{7, 500, 90}, Shape{40, 9000}}) {
    for (int k = 0; k < 8; ++k) {
      Case one = random_case(r, space), two = one;
      one.out.push_back(r.cells(r.broadcast_of(space, true)));
      one.program.outputs.push_back(static_cast<uint16_t>(one.program.inputs + one.program.code.size() - 1));
      one.add.push_back(k % 2 == 0);
      one.place.push_back(-1);
      two = one;
      set_num_threads(1);
      const auto single = run(one, false);
      set_num_threads(2);
      const auto both = run(two, false);
      set_num_threads(0);
      for (size_t j = 0; j < single.size(); ++j) {
        CHECK(std::memcmp(single[j].data(), both[j].data(), single[j].size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("sums of many rows, chunk by chunk") {
  const int64_t rows = 100'000, columns = 33;
  std::vector<float> x(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3.0f;
  std::vector<double> want(33, 10.0);
  double all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    want[i % 33] += static_cast<double>(x[i] * 2);
    all += static_cast<double>(x[i]);
  }
  std::vector<float> sums(33, 10.0f);
  std::vector<double> total(1);
  const Array in{reinterpret_cast<std::byte*>(x.data()), DType::f32, {rows, columns}, {columns, 1}};
  Program p;
  p.inputs = 1;
  p.code.push_back({.code = Code::add, .a = 0, .b = 0});
  p.outputs = {1};
  const PointwiseOutput out[] = {
      {{reinterpret_cast<std::byte*>(sums.data()), DType::f32, {columns}, {1}}, true}};
  run_fused(p, {&in, 1}, in.shape, out, {});
  for (size_t j = 0; j < 33; ++j) CHECK(static_cast<double>(sums[j]) == doctest::Approx(want[j]));
  p.outputs = {0};
  const PointwiseOutput one[] = {{{reinterpret_cast<std::byte*>(total.data()), DType::f64, {}, {}}}};
  run_fused(p, {&in, 1}, in.shape, one, {});  // f64 lanes
  CHECK(total[0] == all);
}

TEST_CASE("two arrays change places") {
  std::vector<float> a(1000, 1.0f), b(1000, 2.0f);
  const Array x{reinterpret_cast<std::byte*>(a.data()), DType::f32, {1000}, {1}};
  const Array y{reinterpret_cast<std::byte*>(b.data()), DType::f32, {1000}, {1}};
  const Array in[] = {x, y};
  const PointwiseOutput out[] = {{y}, {x}};
  run_fused({.inputs = 2, .code = {}, .outputs = {0, 1}}, in, x.shape, out, {});
  CHECK(a == std::vector<float>(1000, 2.0f));
  CHECK(b == std::vector<float>(1000, 1.0f));
}

TEST_CASE("wrong calls are refused") {
  std::vector<float> a(6);
  const Array x{reinterpret_cast<std::byte*>(a.data()), DType::f32, {2, 3}, {3, 1}};
  const PointwiseOutput out{x};
  const Program p{.inputs = 1, .code = {{.code = Code::neg, .a = 0}}, .outputs = {}};
  CHECK_THROWS_AS(run_fused(p, {}, x.shape, {&out, 1}, {}), Error);
  CHECK_THROWS_AS(run_fused(p, {&x, 1}, {2, 4}, {&out, 1}, {}), Error);
  CHECK_THROWS_AS(run_fused({.inputs = 1, .code = {{.code = Code::neg, .a = 1}}, .outputs = {}}, {&x, 1},
                            x.shape, {&out, 1}, {}),
                  Error);
  CHECK_THROWS_AS(run_fused({.inputs = 1, .code = {}, .outputs = {7}}, {&x, 1}, x.shape, {&out, 1}, {}),
                  Error);
}

}  // namespace
}  // namespace reel
