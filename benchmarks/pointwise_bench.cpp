// The gates of an LSTM as one pointwise program, against one loop fused by hand over the same vector
// functions.
#include <benchmark/benchmark.h>

#include <vector>

#include "benchmarks/lstm_gates.h"
#include "core/kernels/pointwise.h"

namespace {

using namespace reel;
using lanes::Code;

// Appends instructions and names their results.
struct Writer {
  lanes::Program p;
  uint16_t operator()(Code code, uint16_t a, uint16_t b = 0) {
    p.code.push_back({.code = code, .a = a, .b = b});
    return static_cast<uint16_t>(p.inputs + p.code.size() - 1);
  }
  uint16_t number(double x) {
    p.code.push_back({.code = Code::number, .number = x});
    return static_cast<uint16_t>(p.inputs + p.code.size() - 1);
  }
};

// Inputs: 4 gates, 4 biases, c_prev. Outputs: i, f, g, o, c, tanh c, h.
lanes::Program forward_program() {
  Writer w;
  w.p.inputs = 9;
  uint16_t gate[4];
  for (uint16_t k = 0; k < 4; ++k) {
    const uint16_t z = w(Code::add, k, static_cast<uint16_t>(k + 4));
    gate[k] = w(k == 2 ? Code::tanh : Code::sigmoid, z);
  }
  const uint16_t c = w(Code::add, w(Code::mul, gate[1], 8), w(Code::mul, gate[0], gate[2]));
  const uint16_t t = w(Code::tanh, c);
  const uint16_t h = w(Code::mul, gate[3], t);
  w.p.outputs = {gate[0], gate[1], gate[2], gate[3], c, t, h};
  return w.p;
}

// Inputs: i, f, g, o, tanh c, c_prev, dh, dc. Outputs: 4 gates' gradients, dc_prev, and the gates' summed.
lanes::Program backward_program() {
  Writer w;
  w.p.inputs = 8;
  const uint16_t i = 0, f = 1, g = 2, o = 3, t = 4, before = 5, dh = 6, dc_next = 7;
  const uint16_t one = w.number(1);
  const auto slope = [&](uint16_t s) { return w(Code::mul, s, w(Code::sub, one, s)); };
  const auto tanh_slope = [&](uint16_t s) { return w(Code::sub, one, w(Code::mul, s, s)); };
  const uint16_t dc = w(Code::add, dc_next, w(Code::mul, w(Code::mul, dh, o), tanh_slope(t)));
  const uint16_t di = w(Code::mul, w(Code::mul, dc, g), slope(i));
  const uint16_t df = w(Code::mul, w(Code::mul, dc, before), slope(f));
  const uint16_t dg = w(Code::mul, w(Code::mul, dc, i), tanh_slope(g));
  const uint16_t d_o = w(Code::mul, w(Code::mul, dh, t), slope(o));
  w.p.outputs = {di, df, dg, d_o, w(Code::mul, dc, f), di, df, dg, d_o};
  return w.p;
}

struct Gates {
  int64_t rows, hidden;
  std::vector<float> z, bias, before, act, c, t, h, dh, dc, dz, dbefore, dbias;
  Gates(int64_t rows, int64_t hidden) : rows(rows), hidden(hidden) {
    const auto n = static_cast<size_t>(rows * hidden), b = static_cast<size_t>(4 * hidden);
    z.resize(4 * n);
    for (size_t k = 0; k < z.size(); ++k) z[k] = static_cast<float>(k * 7 % 23) / 6 - 2;
    act.resize(4 * n, 0.4f);
    dz.resize(4 * n);
    bias.resize(b, 0.1f);
    dbias.resize(b);
    for (auto* v : {&before, &c, &t, &h, &dh, &dc, &dbefore}) v->resize(n, 0.3f);
  }
  Array slice(std::vector<float>& x, int64_t k) const {  // the k-th of four column slices
    return {reinterpret_cast<std::byte*>(x.data() + k * hidden), DType::f32, {rows, hidden}, {4 * hidden, 1}};
  }
  Array bias_slice(std::vector<float>& x, int64_t k) const {
    return {reinterpret_cast<std::byte*>(x.data() + k * hidden), DType::f32, {1, hidden}, {hidden, 1}};
  }
  Array whole(std::vector<float>& x) const {
    return {reinterpret_cast<std::byte*>(x.data()), DType::f32, {rows, hidden}, {hidden, 1}};
  }
};

void run(benchmark::State& state, const lanes::Program& program, const std::vector<Array>& in,
         const std::vector<PointwiseOutput>& out, const Shape& space) {
  const PreparedPointwise prepared(program, in, space, out);
  std::vector<std::byte*> data;
  for (const Array& a : in) data.push_back(a.data);
  for (const PointwiseOutput& o : out) data.push_back(o.array.data);
  for (auto _ : state) {
    prepared.run(data, {});
    benchmark::ClobberMemory();
  }
}

void LstmForward(benchmark::State& state) {
  Gates g(state.range(0), state.range(1));
  std::vector<Array> in;
  std::vector<PointwiseOutput> out;
  for (int64_t k = 0; k < 4; ++k) in.push_back(g.slice(g.z, k));
  for (int64_t k = 0; k < 4; ++k) in.push_back(g.bias_slice(g.bias, k));
  in.push_back(g.whole(g.before));
  for (int64_t k = 0; k < 4; ++k) out.push_back({g.slice(g.act, k)});
  for (auto* v : {&g.c, &g.t, &g.h}) out.push_back({g.whole(*v)});
  run(state, forward_program(), in, out, {g.rows, g.hidden});
}

void LstmForwardHand(benchmark::State& state) {
  Gates g(state.range(0), state.range(1));
  for (auto _ : state) {
    bench::lstm_forward(g.z.data(), g.bias.data(), g.before.data(), g.act.data(), g.c.data(), g.t.data(),
                        g.h.data(), g.rows, g.hidden);
    benchmark::ClobberMemory();
  }
}

void LstmBackward(benchmark::State& state) {
  Gates g(state.range(0), state.range(1));
  std::vector<Array> in;
  std::vector<PointwiseOutput> out;
  for (int64_t k = 0; k < 4; ++k) in.push_back(g.slice(g.act, k));
  for (auto* v : {&g.t, &g.before, &g.dh, &g.dc}) in.push_back(g.whole(*v));
  for (int64_t k = 0; k < 4; ++k) out.push_back({g.slice(g.dz, k)});
  out.push_back({g.whole(g.dbefore)});
  for (int64_t k = 0; k < 4; ++k) out.push_back({g.bias_slice(g.dbias, k), true});
  run(state, backward_program(), in, out, {g.rows, g.hidden});
}

void LstmBackwardHand(benchmark::State& state) {
  Gates g(state.range(0), state.range(1));
  for (auto _ : state) {
    bench::lstm_backward(g.act.data(), g.t.data(), g.before.data(), g.dh.data(), g.dc.data(), g.dz.data(),
                         g.dbefore.data(), g.dbias.data(), g.rows, g.hidden);
    benchmark::ClobberMemory();
  }
}

// What a call costs beside its arithmetic: one instruction, prepared and not.
void OneAddPrepared(benchmark::State& state) {
  Gates g(1, 16);
  Writer w;
  w.p.inputs = 2;
  w(Code::add, 0, 1);
  run(state, w.p, {g.whole(g.c), g.whole(g.t)}, {{g.whole(g.h)}}, {1, 16});
}
void OneAdd(benchmark::State& state) {
  Gates g(1, 16);
  Writer w;
  w.p.inputs = 2;
  w(Code::add, 0, 1);
  const Array in[] = {g.whole(g.c), g.whole(g.t)};
  const Array out = g.whole(g.h);
  for (auto _ : state) {
    run_pointwise(w.p, in, out, {});
    benchmark::ClobberMemory();
  }
}
BENCHMARK(OneAddPrepared);
BENCHMARK(OneAdd);

void sizes(benchmark::internal::Benchmark* b) { b->Args({1, 112})->Args({16, 128})->Args({32, 512}); }
BENCHMARK(LstmForward)->Apply(sizes);
BENCHMARK(LstmForwardHand)->Apply(sizes);
BENCHMARK(LstmBackward)->Apply(sizes);
BENCHMARK(LstmBackwardHand)->Apply(sizes);

}  // namespace
