#include "ops/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/kernels/parallel.h"
#include "core/structural.h"
#include "core/tape.h"
#include "ops/arithmetic.h"

namespace reel {

namespace {

// i[0] and i[1] are the seed and the position, f the distribution's parameters.

using Words = std::array<uint32_t, kWords>;

// A batch of words at a time becomes a batch of values. f64 is the f32 kernel before rounding: what must
// agree is the words.
template <class T, class Batch>
void fill(const Exec& e, const Batch& batch) {
  const RandomState call{static_cast<uint64_t>(e.attrs.i[0]), static_cast<uint64_t>(e.attrs.i[1])};
  const int64_t n = e.out.shape.numel();
  parallel_for((n + kWords - 1) / kWords, kWords * 16, [&](int64_t begin, int64_t end) {
    std::array<T, kWords> values;
    for (int64_t first = begin * kWords; first < std::min(end * kWords, n); first += kWords) {
      batch(random_words(call, first), values.data());
      std::copy_n(values.data(), std::min(kWords, n - first), e.out.as<T>() + first);
    }
  });
}

double unit(uint32_t word) { return word * 0x1p-32; }  // in [0, 1)

// Rounding can reach `high`; the largest value below takes its place.
template <class T>
void uniform_kernel(const Exec& e) {
  const double low = e.attrs.f[0], high = e.attrs.f[1];
  const double top =
      std::max(low, static_cast<double>(std::nextafter(static_cast<T>(high), static_cast<T>(low))));
  fill<T>(e, [=](const Words& words, T* y) {
    for (size_t i = 0; i < words.size(); ++i) {
      y[i] = static_cast<T>(std::min(low + (high - low) * unit(words[i]), top));
    }
  });
}

// Box and Muller 1958: two uniform numbers u in (0, 1], v give sqrt(-2 log u) (cos 2 pi v, sin 2 pi v).
template <class T>
void normal_kernel(const Exec& e) {
  const double mean = e.attrs.f[0], std = e.attrs.f[1];
  fill<T>(e, [=](const Words& words, T* y) {
    for (size_t i = 0; i < words.size(); i += 2) {
      const double radius = std * std::sqrt(-2 * std::log(1 - unit(words[i])));
      const double angle = 2 * std::numbers::pi * unit(words[i + 1]);
      y[i] = static_cast<T>(mean + radius * std::cos(angle));
      y[i + 1] = static_cast<T>(mean + radius * std::sin(angle));
    }
  });
}

// f[1] with probability f[0], else 0: f[1] where the word is below f[0] 2^32. (Looked up, as a branch would
// be guessed wrong every second time.)
template <class T>
void bernoulli_kernel(const Exec& e) {
  const auto below = static_cast<uint64_t>(std::ceil(e.attrs.f[0] * 0x1p32));
  const std::array<T, 2> values = {0, static_cast<T>(e.attrs.f[1])};
  fill<T>(e, [=](const Words& words, T* y) {
    for (size_t i = 0; i < words.size(); ++i) y[i] = values[words[i] < below ? 1 : 0];
  });
}

Tensor draw(const Op& op, const Shape& shape, double first, double second, DType dtype) {
  checked_numel(shape);
  if (!is_float(dtype)) fail("[{}] values of {}: want f32 or f64", op.name, name_of(dtype));
  const RandomState call = next_random_call();
  const Attrs attrs{.i = {static_cast<int64_t>(call.seed), static_cast<int64_t>(call.position)},
                    .f = {first, second}};
  return record(op, {}, {.attrs = attrs, .shape = shape, .dtype = dtype, .list = {}});
}

// Samples draw the same values each time they are called, and leave the generator as it was.
class Seeded {
 public:
  Seeded() : before_(random_state()) { manual_seed(7); }
  ~Seeded() { set_random_state(before_); }
  Seeded(const Seeded&) = delete;
  Seeded& operator=(const Seeded&) = delete;

 private:
  RandomState before_;
};

std::vector<Sample> draw_samples(Tensor (*f)(const Shape&)) {
  std::vector<Sample> samples;
  for (const Shape& shape : {Shape{2, 3}, Shape{}, Shape{1}, Shape{0, 3}, Shape{5, 17}}) {
    samples.push_back({{}, [=](std::span<const Tensor>) {
                         const Seeded seeded;
                         return f(shape);
                       }});
  }
  return samples;
}

const Op uniform_op{
    .name = "uniform",
    .doc = "y in [low, high), every value as likely",
    .kind = Kind::source,
    .inputs = 0,
    .f32 = uniform_kernel<float>,
    .f64 = uniform_kernel<double>,
    .shape_is_argument = true,
    .samples = [] { return draw_samples([](const Shape& shape) { return uniform(shape, -1, 2); }); },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return uniform({2}, 1, 0); }, "low 1 and high 0"},
                                        {[] { return uniform({2}, 0, 1, DType::i64); }, "want f32 or f64"}};
        },
};
const Register uniform_registered(uniform_op);

const Op normal_op{
    .name = "normal",
    .doc = "y = mean + std z, z of the standard normal distribution",
    .kind = Kind::source,
    .inputs = 0,
    .f32 = normal_kernel<float>,
    .f64 = normal_kernel<double>,
    .shape_is_argument = true,
    .samples = [] { return draw_samples([](const Shape& shape) { return normal(shape, 0.5, 2); }); },
    .bad =
        [] {
          return std::vector<BadSample>{{[] { return normal({2}, 0, -1); }, "std -1"}};
        },
};
const Register normal_registered(normal_op);

const Op bernoulli_op{
    .name = "bernoulli",
    .doc = "y = value with probability p, else 0; dropout's mask has value 1 / p",
    .kind = Kind::source,
    .inputs = 0,
    .f32 = bernoulli_kernel<float>,
    .f64 = bernoulli_kernel<double>,
    .shape_is_argument = true,
    .samples =
        [] {
          std::vector<Sample> samples =
              draw_samples([](const Shape& shape) { return bernoulli(shape, 0.3); });
          for (const Shape& shape : {Shape{4, 9}, Shape{}, Shape{0}, Shape{3, 1, 33}}) {
            samples.push_back({{shape}, [](std::span<const Tensor> x) {
                                 const Seeded seeded;
                                 return dropout(x[0], 0.4);
                               }});
          }
          return samples;
        },
    .bad =
        [] {
          return std::vector<BadSample>{
              {[] { return bernoulli({2}, 1.5); }, "p 1.5"},
              {[] { return dropout(zeros({2}), 1); }, "p 1: want at least 0 and below 1"}};
        },
};
const Register bernoulli_registered(bernoulli_op);

}  // namespace

Tensor uniform(const Shape& shape, double low, double high, DType dtype) {
  if (!(low <= high) || !std::isfinite(high - low))
    fail("[uniform] low {} and high {}: want low <= high", low, high);
  return draw(uniform_op, shape, low, high, dtype);
}

Tensor normal(const Shape& shape, double mean, double std, DType dtype) {
  if (!(std >= 0)) fail("[normal] std {}: want 0 or more", std);
  return draw(normal_op, shape, mean, std, dtype);
}

Tensor bernoulli(const Shape& shape, double p, DType dtype) {
  if (!(p >= 0 && p <= 1)) fail("[bernoulli] p {}: want 0 to 1", p);
  return draw(bernoulli_op, shape, p, 1, dtype);
}

Tensor dropout(Arg x, double p, bool training) {
  if (!(p >= 0 && p < 1)) fail("[dropout] p {}: want at least 0 and below 1{}", p, at(x.where()));
  const Shape shape = shape_of(x, "dropout");
  const DType dtype = x.tensor() ? x.tensor()->dtype() : default_dtype();
  if (!is_float(dtype))
    fail("[dropout] the argument is {}: want f32 or f64{}", name_of(dtype), at(x.where()));
  if (!training || p == 0) return x.tensor() ? *x.tensor() : full({}, x.number());
  return x * draw(bernoulli_op, shape, 1 - p, 1 / (1 - p), dtype);
}

}  // namespace reel
