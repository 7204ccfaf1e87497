// Programs of recurrences, and how they are compared: planned, by each plan and on several threads, values
// and gradients are those of eager mode.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <random>

#include "core/tape.h"
#include "reel.h"
#include "tests/random_program.h"

namespace reel::tests {

// A program's numbers and parameters, the same in every run.
struct Numbers {
  std::mt19937_64 random{11};
  DType dtype = DType::f64;
  Tensors parameters = {};

  Tensor constant(const Shape& shape, double scale = 1) {
    std::vector<double> values(static_cast<size_t>(shape.numel()));
    for (double& x : values) x = scale * (static_cast<double>(random() % 2001) / 1000 - 1);
    return to(Tensor::from(values, shape), dtype);
  }
  Tensor parameter(const Shape& shape, double scale = 0.5) {
    parameters.push_back(constant(shape, scale).requires_grad_());
    return parameters.back();
  }
  Tensor ids(const Shape& shape, uint64_t below) {
    std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
    for (int64_t& id : values) id = static_cast<int64_t>(random() % below);
    return Tensor::from(values, shape);
  }
};

using Cell = std::function<Tensors(const Tensors&)>;

// Its values, the first of which is the loss.
using Program = std::function<Tensors(Numbers&)>;

// `looked`: at the loss, before backward(), which then differentiates call by call.
inline Rows run(const Program& program, DType dtype, uint64_t seed, bool looked = false) {
  const DefaultDType numbers(dtype);
  Numbers n{.random = std::mt19937_64(seed), .dtype = dtype};
  const Tensors values = program(n);
  if (looked) (void)values[0].item();
  values[0].backward();
  Rows rows;
  for (const Tensor& v : values) rows.push_back(v.to_vector<double>());
  for (const Tensor& p : n.parameters)
    rows.push_back(p.grad().defined() ? p.grad().to_vector<double>()
                                      : std::vector<double>(static_cast<size_t>(p.numel())));
  return rows;
}

inline bool has_recurrence(const Program& program) {
  const DefaultDType numbers(DType::f64);
  Numbers n;
  const Tensors values = program(n);
  return plan_text().find("recurrence") != std::string::npos;
}

// Whether cells are templates; else every step is written out, and it is the planner who finds the cell.
inline bool as_templates = true;

inline Cell as_template(const Cell& f) {
  if (as_templates) return once(f);
  return f;
}

inline void check_same(const Program& program, std::initializer_list<const char*> all_passes,
                       std::initializer_list<int> all_threads) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const uint64_t seed : {1, 2}) {
      Rows want;
      {
        const Eager eager;
        want = run(program, dtype, seed);
      }
      for (const char* passes : all_passes) {
        for (const int threads : all_threads) {
          if (threads == 4 && passes[0] != '\0') continue;
          set_plan_passes(passes);
          set_num_threads(threads);
          double d = INFINITY;
          try {
            d = distance(run(program, dtype, seed), want);
            d = std::max(d, distance(run(program, dtype, seed, true), want));
          } catch (const Error& e) {
            MESSAGE(std::string(e.what()));
          }
          CHECK_MESSAGE(d <= (dtype == DType::f64 ? 1e-9 : 3e-4),
                        "relative difference " << d << " of " << std::string(name_of(dtype)) << ", passes '"
                                               << std::string(passes) << "', threads " << threads);
        }
      }
    }
  }
  set_plan_passes("");
  set_num_threads(0);
}

// Equal to eager mode; and whether there was a recurrence in it at all. Also with every step written out.
inline void same(const Program& program, bool recurrence = true) {
  CHECK(has_recurrence(program) == recurrence);
  check_same(program, {"", "-prune", "-accumulate", "-fuse", "-place", "-batch", "-roll", "none,batch"},
             {1, 2, 4});
  as_templates = false;
  check_same(program, {"", "none,batch,roll,recur"}, {2});
  as_templates = true;
}

// ---- Programs: a cell of x and a state, over time ----

// An LSTM's step over what was projected before, [batch, 4 hidden].
inline Cell lstm(const Tensor& u) {
  return [u](const Tensors& in) -> Tensors {
    const int64_t hidden = in[1].size(1);
    const Tensor all = in[0] + matmul(in[1], u);
    const auto part = [&](int64_t k) { return slice(all, 1, k * hidden, (k + 1) * hidden); };
    const Tensor f = sigmoid(part(1)), o = sigmoid(part(3));
    const Tensor c = f * in[2] + sigmoid(part(0)) * tanh(part(2));
    return {o * tanh(c), c};
  };
}

// The cell over rows [batch, in] for each of these times; its first outputs are the state, the rest what it
// hands out at each step.
inline Tensors chain(const Cell& cell, Tensors state, const std::vector<Tensors>& inputs) {
  const Cell call = as_template(cell);
  Tensor loss = zeros({});
  for (const Tensors& x : inputs) {
    Tensors in = x;
    in.insert(in.end(), state.begin(), state.end());
    const Tensors out = call(in);
    for (size_t k = state.size(); k < out.size(); ++k) loss = loss + mean(square(out[k] - 0.1));
    std::copy_n(out.begin(), state.size(), state.begin());
  }
  Tensors values{loss};
  for (const Tensor& s : state) values.push_back(s);
  return values;
}
// The same, with the state's last value in the loss.
inline Tensors ending(Tensors values) {
  for (size_t k = 1; k < values.size(); ++k) values[0] = values[0] + mean(square(values[k] - 0.3));
  return values;
}
inline std::vector<Tensors> steps(Numbers& n, int time, const Shape& shape) {
  std::vector<Tensors> x;
  for (int t = 0; t < time; ++t) x.push_back({n.parameter(shape, 1)});
  return x;
}

}  // namespace reel::tests
