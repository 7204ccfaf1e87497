// Checks a gradient against finite differences, for any function of tensors: an op, a cell, a whole model.
//
//   auto report = gradcheck([](const Tensors& x) { return tanh(matmul(x[0], x[1])); }, {a, b});
//   if (!report.ok) fmt::print("{}\n", report.text());
//
// Everything runs in f64 (inputs are converted), on the reference kernels.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace reel {

// The function must give the same value whenever it is called with the same inputs. Integer inputs are passed
// through.
using Function = std::function<Tensor(const Tensors&)>;

struct GradcheckOptions {
  double step = 1e-6;  // of the central difference, relative to max(1, |x|)
  double tolerance =
      1e-6;            // of the relative error: |analytic - numeric| / max(1, largest |numeric| of the input)
  double kink = 1e-3;  // left and right differences that disagree by more mark a point without a derivative
  // Whole models: `directions` random directions through all inputs at once instead of each element in turn.
  // 0: each element.
  int directions = 0;
  int64_t elements = 0;  // at most so many elements of each input, drawn at random; 0: all
  uint64_t seed = 1;
};

struct GradcheckReport {
  bool ok = true;
  int64_t checked = 0;  // derivatives compared
  int64_t kinks = 0;    // points without a derivative, passed over
  // Where it is worst:
  double worst = 0;
  size_t input = 0;
  int64_t index = -1;  // flat; -1 for a direction
  double analytic = 0, numeric = 0;
  std::vector<std::string>
      problems;  // a sentence each: a wrong derivative, a gradient not linear, not repeatable, ...

  std::string text() const;
};

// First order: each derivative, and that the backward pass is linear in its cotangent, repeats exactly, takes
// a zero cotangent, and leaves inputs without influence with zeros.
GradcheckReport gradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options = {});

// Second order: the first-order check of the function (inputs, cotangent) -> gradients.
GradcheckReport gradgradcheck(const Function& f, const Tensors& inputs,
                              const GradcheckOptions& options = {.step = 1e-5, .tolerance = 1e-5});

}  // namespace reel
