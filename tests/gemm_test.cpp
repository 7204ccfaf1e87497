// Matrix products against plain loops in double: all sizes, strides, transposes, with and without adding.
#include "core/kernels/gemm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/kernels/dnnl.h"
#include "core/kernels/panel_gemm.h"
#include "core/kernels/simd.h"
#include "core/kernels/small_gemm.h"
#include "core/tensor.h"

namespace reel {
namespace {

constexpr double kGuard = 12345;  // around every row: must stay

// A rows x columns matrix in memory: by rows or by columns, with `slack` unused elements behind each.
template <class T>
struct Room {
  std::vector<T> memory;
  Matrix<T> matrix;

  Room(int64_t rows, int64_t columns, bool transposed, int64_t slack, std::mt19937& random) {
    const int64_t inner = transposed ? rows : columns, outer = transposed ? columns : rows;
    const int64_t step = std::max<int64_t>(inner + slack, 1);
    memory.assign(static_cast<size_t>(outer * step + 8), static_cast<T>(kGuard));
    matrix = {memory.data(), transposed ? 1 : step, transposed ? step : 1};
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) at(i, j) = static_cast<T>(uniform(random));
    }
  }
  T& at(int64_t i, int64_t j) { return memory[static_cast<size_t>(i * matrix.row + j * matrix.col)]; }
};

struct Case {
  int64_t m, n, k;
};

template <class T, class Product>
void check(const Case& c, bool ta, bool tb, int64_t slack, T beta, std::mt19937& random,
           const Product& product) {
  Room<T> a(c.m, c.k, ta, slack, random), b(c.k, c.n, tb, slack, random), out(c.m, c.n, false, slack, random);
  Room<T> want = out;
  double worst = 0;
  if (beta == 0) {
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j)
        out.at(i, j) = static_cast<T>(NAN);  // what was there counts for nothing
    }
  }
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double total = beta == 0 ? 0 : static_cast<double>(want.at(i, j));
      for (int64_t p = 0; p < c.k; ++p)
        total += static_cast<double>(a.at(i, p)) * static_cast<double>(b.at(p, j));
      want.memory[static_cast<size_t>(i * want.matrix.row + j)] = static_cast<T>(total);
    }
  }
  product(c.m, c.n, c.k, Matrix<const T>{a.memory.data(), a.matrix.row, a.matrix.col},
          Matrix<const T>{b.memory.data(), b.matrix.row, b.matrix.col},
          Matrix<T>{out.memory.data(), out.matrix.row, 1}, beta);
  for (size_t i = 0; i < out.memory.size(); ++i) {
    const double error = std::fabs(static_cast<double>(out.memory[i]) - static_cast<double>(want.memory[i]));
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  const double tolerance = (sizeof(T) == 4 ? 6e-7 : 1e-15) * (4 + std::sqrt(static_cast<double>(c.k)) * 2);
  CHECK_MESSAGE(worst <= tolerance, "m " << c.m << " n " << c.n << " k " << c.k << " ta " << ta << " tb "
                                         << tb << " slack " << slack << " beta " << static_cast<double>(beta)
                                         << ": error " << worst);
}

// Everywhere: k = 0, single rows and columns, the border of the tiny products, 64 and 65 rows, more than a
// register.
const std::vector<Case> kCases = {
    {1, 1, 1},     {1, 1, 0},     {3, 4, 0},     {70, 40, 0},    {0, 3, 4},    {3, 0, 4},       {1, 7, 5},
    {7, 1, 5},     {5, 7, 1},     {2, 3, 4},     {1, 100, 100},  {1, 33, 300}, {300, 1, 100},   {100, 300, 1},
    {16, 16, 64},  {16, 17, 64},  {17, 31, 33},  {25, 26, 26},   {64, 33, 47}, {65, 33, 47},    {63, 128, 65},
    {128, 64, 96}, {2, 200, 150}, {200, 2, 150}, {200, 150, 2},  {33, 1, 600}, {129, 127, 131}, {65, 300, 1},
    {1, 600, 1},   {600, 40, 1},  {25, 65, 100}, {100, 100, 25}, {13, 48, 50}, {61, 20, 77},    {7, 129, 40}};

template <class T, class Product>
void check_all(const Product& product, const std::vector<Case>& cases) {
  std::mt19937 random(7);
  for (const Case& c : cases) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (int64_t slack : {0, 1, 5}) {
          for (T beta : {T{0}, T{1}}) check<T>(c, ta, tb, slack, beta, random, product);
        }
      }
    }
  }
}

TEST_CASE("f32 products agree with plain loops, on one thread and on two") {
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    check_all<float>([](auto... x) { gemm(x...); }, kCases);
  }
  set_num_threads(0);
}

TEST_CASE("products whose left side lies in rows a power of two apart, on one thread and on two") {
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    std::mt19937 random(8);
    for (const int64_t slack : {0, 1}) {
      for (const float beta : {0.f, 1.f}) {
        const auto product = [](auto... x) { gemm(x...); };
        check<float>({1024, 96, 33}, true, false, slack, beta, random, product);
        check<float>({1024, 131, 70}, true, false, slack, beta, random, product);
        check<float>({2048, 37, 65}, true, false, slack, beta, random, product);
      }
    }
  }
  set_num_threads(0);
}

TEST_CASE("a matrix is transposed, whatever its size and how far apart its rows are") {
  std::mt19937 random(3);
  for (size_t rows : {1, 3, 4, 7, 8, 15, 16, 17, 20, 33, 36, 100}) {
    for (size_t columns : {1, 4, 5, 16, 18, 65}) {
      const size_t in_row = columns + 2, out_row = rows + 3;
      std::vector<float> in(rows * in_row), out(columns * out_row, -1);
      for (float& x : in) x = static_cast<float>(random() % 1000);
      simd::transpose(out.data(), static_cast<ptrdiff_t>(out_row), in.data(), static_cast<ptrdiff_t>(in_row),
                      rows, columns);
      bool right = true;
      for (size_t j = 0; j < columns; ++j) {
        for (size_t i = 0; i < out_row; ++i)
          right = right && out[j * out_row + i] == (i < rows ? in[i * in_row + j] : -1);
      }
      CHECK(right);
    }
  }
}

TEST_CASE("f64 products agree with plain loops, on one thread and on two") {
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    check_all<double>([](auto... x) { gemm(x...); }, kCases);
  }
  set_num_threads(0);
}

TEST_CASE("products in blocks of our own: as plain loops, for all numbers of rows and ends of columns") {
  std::mt19937 random(4);
  for (int64_t m : {1, 2, 3, 4, 5, 6, 9, 11, 25}) {
    for (int64_t n : {1, 15, 16, 17, 33, 48, 65, 70, 100, 130}) {
      for (int64_t k : {1, 2, 31}) {
        for (bool ta : {false, true}) {
          for (bool tb : {false, true})
            check<float>({m, n, k}, ta, tb, m % 3, n % 2 ? 1.0f : 0.0f, random, small_gemm);
        }
      }
    }
  }
  CHECK(choose(25, 65, 100, true) == Routine::small);
  CHECK(choose(4, 600, 150, true) == Routine::sgemm);  // turning B round would cost more than the product
}

TEST_CASE("panels and oneDNN's routine, whatever the choice between them") {
  std::vector<Case> some;
  for (const Case& c : kCases) {
    if (c.m > 0 && c.n > 0 && c.k > 0) some.push_back(c);
  }
  check_all<float>([](auto... x) { dnnl_wall::sgemm(x...); }, some);
  some.push_back({30, 70, 1600});  // three blocks of the inner dimension, on the last one columns are left
  some.push_back({40, 300, 20});   // enough columns for two threads to have panels of their own
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    check_all<float>([](auto... x) { panel_gemm(x...); }, some);
  }
  set_num_threads(0);
  CHECK(choose(70, 100, 500, true) == Routine::panels);
}

TEST_CASE("panels: the same bits on one thread and on two") {
  std::mt19937 random(11);
  for (const Case& c : {Case{600, 450, 150}, Case{700, 100, 80}, Case{40, 600, 900}}) {
    Room<float> a(c.m, c.k, false, 0, random), b(c.k, c.n, true, 0, random), out(c.m, c.n, false, 0, random);
    Room<float> other = out;
    const auto run = [&](int threads, Room<float>& to) {
      set_num_threads(threads);
      gemm(c.m, c.n, c.k, Matrix<const float>{a.memory.data(), a.matrix.row, 1},
           Matrix<const float>{b.memory.data(), 1, b.matrix.col}, Matrix<float>{to.memory.data(), c.n, 1}, 1);
    };
    run(1, out);
    run(2, other);
    CHECK(out.memory == other.memory);
  }
  set_num_threads(0);
}

TEST_CASE("a factor of zero hides no NaN, and the values left of a product never matter") {
  for (const Case& c : {Case{1, 40, 3}, Case{3, 4, 5}, Case{70, 60, 50}}) {
    std::vector<float> a(static_cast<size_t>(c.m * c.k), 0), b(static_cast<size_t>(c.k * c.n), 1),
        out(static_cast<size_t>(c.m * c.n));
    b[0] = NAN;
    gemm(c.m, c.n, c.k, Matrix<const float>{a.data(), c.k, 1}, Matrix<const float>{b.data(), c.n, 1},
         Matrix<float>{out.data(), c.n, 1}, 0);
    CHECK(std::isnan(out[0]));
    CHECK(out[1] == 0);
  }
}

TEST_CASE("ready primitives are found again and their number is bounded") {
  if (!dnnl_wall::has_bf16()) return;
  const auto product = [](int64_t m, int64_t n, int64_t k) {
    constexpr Bf16 kOne{0x3f80};
    const std::vector<Bf16> a(static_cast<size_t>(m * k), kOne), b(static_cast<size_t>(k * n), kOne);
    std::vector<float> c(static_cast<size_t>(m * n));
    dnnl_wall::matmul(m, n, k, {a.data(), k, 1}, {b.data(), 1, k}, {c.data(), n, 1});
    CHECK(std::all_of(c.begin(), c.end(), [&](float x) { return x == static_cast<float>(k); }));
  };
  product(30, 31, 40);
  const auto before = dnnl_wall::cache_stats();
  product(30, 31, 40);
  CHECK(dnnl_wall::cache_stats().hits == before.hits + 1);
  product(30, 31, 41);
  CHECK(dnnl_wall::cache_stats().misses == before.misses + 1);
  for (int64_t n = 1; n < 700; ++n) product(2, n, 3);
  CHECK(dnnl_wall::cache_stats().held <= dnnl_wall::kPrimitives);
  product(2, 699, 3);
  product(2, 1, 3);  // dropped and made anew
}

TEST_CASE("the same product gives the same bits every time") {
  std::mt19937 random(5);
  for (const Case& c : {Case{1, 100, 100}, Case{32, 128, 128}, Case{100, 90, 80}}) {
    Room<float> a(c.m, c.k, false, 0, random), b(c.k, c.n, true, 0, random),
        first(c.m, c.n, false, 0, random);
    const auto run = [&](Room<float>& out) {
      gemm(c.m, c.n, c.k, Matrix<const float>{a.memory.data(), a.matrix.row, 1},
           Matrix<const float>{b.memory.data(), 1, b.matrix.col}, Matrix<float>{out.memory.data(), c.n, 1},
           0);
    };
    run(first);
    for (int k = 0; k < 20; ++k) {
      Room<float> again = first;
      run(again);
      CHECK(again.memory == first.memory);
    }
  }
}

}  // namespace
}  // namespace reel
