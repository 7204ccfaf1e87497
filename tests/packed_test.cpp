// Packed and bf16 products against plain loops in double: sizes, strides, both precisions, adding, packing
// again.
#include "core/kernels/packed.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/kernels/bf16.h"
#include "core/kernels/parallel.h"
#include "core/tensor.h"

namespace reel {
namespace {

// rows x columns, by rows or by columns, lines `slack` longer than they need to be.
struct Values {
  int64_t rows, columns;
  std::vector<float> memory;
  Matrix<float> matrix;

  Values(int64_t r, int64_t c, bool by_columns, int64_t slack, std::mt19937& random) : rows(r), columns(c) {
    const int64_t line = (by_columns ? r : c) + slack;
    memory.resize(static_cast<size_t>(line * (by_columns ? c : r) + 1));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& x : memory) x = uniform(random);
    matrix = {memory.data(), by_columns ? 1 : line, by_columns ? line : 1};
  }
  Matrix<const float> view() const { return {memory.data(), matrix.row, matrix.col}; }
  double at(int64_t i, int64_t j) const {
    return static_cast<double>(memory[static_cast<size_t>(i * matrix.row + j * matrix.col)]);
  }
};

float one_bf16(float x) {
  Bf16 half{};
  to_bf16(1, 1, {&x, 1, 1}, {&half, 1, 1});
  const uint32_t bits = uint32_t{half.bits} << 16;
  std::memcpy(&x, &bits, 4);
  return x;
}

// The largest difference to A B + beta C in double, A and B rounded to bf16 first where asked.
template <class Product>
double error(const Values& a, const Values& b, bool narrow, float beta, int64_t slack, std::mt19937& random,
             const Product& product) {
  const auto value = [narrow](double x) {
    return narrow ? static_cast<double>(one_bf16(static_cast<float>(x))) : x;
  };
  Values c(a.rows, b.columns, false, slack, random);
  const Values before = c;
  if (beta == 0) {
    for (int64_t i = 0; i < c.rows; ++i) {
      for (int64_t j = 0; j < c.columns; ++j) c.matrix.data[i * c.matrix.row + j] = NAN;
    }
  }
  product(a, b, c.matrix, beta);
  std::vector<double> left, right;
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t p = 0; p < a.columns; ++p) left.push_back(value(a.at(i, p)));
  }
  for (int64_t j = 0; j < b.columns; ++j) {
    for (int64_t p = 0; p < b.rows; ++p) right.push_back(value(b.at(p, j)));
  }
  double worst = 0;
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.columns; ++j) {
      const double* row = left.data() + i * a.columns;
      const double first = beta == 0 ? 0 : before.at(i, j);
      const double want = std::inner_product(row, row + a.columns, right.data() + j * a.columns, first);
      const double off = std::fabs(want - c.at(i, j));
      if (!(off <= worst)) worst = std::isnan(off) ? INFINITY : off;
    }
    for (int64_t j = c.columns; j < c.columns + slack && i + 1 < c.rows; ++j) {
      if (c.at(i, j) != before.at(i, j)) worst = INFINITY;  // what lies between the rows stays
    }
  }
  return worst;
}

struct Case {
  int64_t m, n, k;
};
// Around a panel of 64 columns, a block of 32 rows and one of 768, odd numbers of rows, several panels a
// thread.
const std::vector<Case> kCases = {{1, 1, 1},     {1, 64, 32}, {2, 65, 33},   {3, 63, 31},    {8, 128, 16},
                                  {16, 200, 65}, {17, 1, 40}, {33, 129, 1},  {20, 520, 130}, {70, 300, 97},
                                  {5, 7, 0},     {0, 5, 3},   {7, 300, 1100}};

template <class Make>
void check_cases(bool narrow, const Make& make) {
  std::mt19937 random(11);
  for (int threads : {1, 2}) {
    set_num_threads(threads);
    for (const Case& x : kCases) {
      for (int way = 0; way < 4; ++way) {
        for (float beta : {0.0f, 1.0f}) {
          const int64_t slack = way * 3;
          const Values a(x.m, x.k, (way & 1) != 0, slack, random), b(x.k, x.n, (way & 2) != 0, slack, random);
          const double off = error(a, b, narrow, beta, slack, random, make);
          CHECK_MESSAGE(off <= 1e-6 * (4 + 2 * std::sqrt(static_cast<double>(x.k))),
                        "m " << x.m << " n " << x.n << " k " << x.k << " way " << way << " threads "
                             << threads << " beta " << static_cast<double>(beta) << ": " << off);
        }
      }
    }
  }
  set_num_threads(0);
}

TEST_CASE("packed products agree with plain loops") {
  check_cases(false, [](const Values& a, const Values& b, Matrix<float> c, float beta) {
    PackedMatrix packed(b.rows, b.columns);
    packed.pack(b.view());
    gemm_packed(a.rows, a.view(), packed, c, beta);
  });
}

std::vector<Bf16> room(int64_t rows, int64_t columns) {
  return std::vector<Bf16>(static_cast<size_t>(rows * columns));
}

Matrix<const Bf16> convert(const Values& x, std::vector<Bf16>& memory) {
  const bool by_rows = x.matrix.col == 1;
  const Matrix<Bf16> to{memory.data(), by_rows ? x.columns : 1, by_rows ? 1 : x.rows};
  to_bf16(x.rows, x.columns, x.view(), to);
  return {to.data, to.row, to.col};
}

TEST_CASE(
    "bf16 products agree with plain loops over rounded operands, with and without instructions for it") {
  for (bool slow : {false, true}) {
    pretend_bf16_is_slow(slow);
    check_cases(true, [](const Values& a, const Values& b, Matrix<float> c, float beta) {
      gemm_bf16(a.rows, b.columns, a.columns, a.view(), b.view(), c, beta);
    });
    check_cases(true, [](const Values& a, const Values& b, Matrix<float> c, float beta) {
      std::vector<Bf16> left = room(a.rows, a.columns), right = room(b.rows, b.columns);
      gemm(a.rows, b.columns, a.columns, convert(a, left), convert(b, right), c, beta);
    });
    check_cases(true, [](const Values& a, const Values& b, Matrix<float> c, float beta) {
      PackedMatrix packed(b.rows, b.columns, Precision::bf16);
      packed.pack(b.view());
      gemm_packed(a.rows, a.view(), packed, c, beta);
    });
    check_cases(true, [](const Values& a, const Values& b, Matrix<float> c, float beta) {
      PackedMatrix packed(b.rows, b.columns, Precision::bf16);
      packed.pack(b.view());
      std::vector<Bf16> left = room(a.rows, a.columns);
      gemm_packed(a.rows, convert(a, left), packed, c, beta);
    });
  }
  pretend_bf16_is_slow(false);
}

TEST_CASE(
    "a matrix is packed again in the same memory, its own or the caller's, and nothing is left of the "
    "first") {
  std::mt19937 random(3);
  const Values a(20, 70, false, 0, random), first(70, 130, false, 0, random),
      second(70, 130, true, 2, random);
  for (Precision precision : {Precision::f32, Precision::bf16}) {
    const size_t bytes = PackedMatrix::bytes(70, 130, precision);
    Buffer given(bytes + 64);
    std::memset(given.data(), 0xff, bytes + 64);  // NaNs
    const auto product = [&](PackedMatrix& packed) {
      return [&](const Values& x, const Values& b, Matrix<float> c, float beta) {
        packed.pack(b.view());
        gemm_packed(x.rows, x.view(), packed, c, beta);
      };
    };
    const bool narrow = precision == Precision::bf16;
    PackedMatrix own(70, 130, precision), there(70, 130, precision, given.data());
    for (PackedMatrix* packed : {&own, &there}) {
      for (const Values* b : {&first, &second, &first}) {
        CHECK(error(a, *b, narrow, 0, 0, random, product(*packed)) < 3e-5);
      }
    }
    for (size_t i = 0; i < 64; ++i) CHECK(given.data()[bytes + i] == std::byte{0xff});
  }
}

TEST_CASE("bf16 is the nearest, ties go to even, NaN stays NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(one_bf16(1.0f) == 1.0f);
  CHECK(one_bf16(1.00390625f) == 1.0f);       // half way between 1 and 1.0078125
  CHECK(one_bf16(1.01171875f) == 1.015625f);  // half way, the lower one is odd
  CHECK(one_bf16(1.0039064f) == 1.0078125f);  // just above half way
  CHECK(one_bf16(-1.01171875f) == -1.015625f);
  CHECK(one_bf16(inf) == inf);
  CHECK(one_bf16(-inf) == -inf);
  CHECK(one_bf16(std::numeric_limits<float>::max()) == inf);
  std::vector<float> nans(40, std::numeric_limits<float>::quiet_NaN());
  for (size_t i = 0; i < nans.size(); ++i) {
    const uint32_t bits = (i % 2 ? 0x7fffffffu : 0xff800001u);  // all ones, and a signalling one
    std::memcpy(&nans[i], &bits, 4);
  }
  std::vector<Bf16> out(40);
  std::vector<float> back(40);
  to_bf16(1, 40, {nans.data(), 40, 1}, {out.data(), 40, 1});
  from_bf16(1, 40, {out.data(), 40, 1}, {back.data(), 40, 1});
  for (float x : back) CHECK(std::isnan(x));
  Bf16 h{};
  const float x = 1;
  CHECK_THROWS_WITH_AS(to_bf16(2, 2, {&x, 2, 1}, {&h, 1, 2}), doctest::Contains("by columns"), Error);
  PackedMatrix plain(1, 1);
  float c = 0;
  CHECK_THROWS_WITH_AS(gemm_packed<Bf16>(1, {&h, 1, 1}, plain, {&c, 1, 1}, 0), doctest::Contains("bf16"),
                       Error);
}

TEST_CASE("a residual is added once: its size does not coarsen the sum") {
  const int64_t n = 64, k = 4096;
  const std::vector<float> a(static_cast<size_t>(32 * k), 1.0f), b(static_cast<size_t>(k * n), 0.0009765625f);
  for (bool slow : {false, true}) {
    pretend_bf16_is_slow(slow);
    std::vector<float> c(static_cast<size_t>(32 * n), 65536.0f);  // its unit is 1/128
    gemm_bf16(32, n, k, {a.data(), k, 1}, {b.data(), n, 1}, {c.data(), n, 1}, 1);
    for (float x : c) CHECK(x == 65540.0f);
  }
  pretend_bf16_is_slow(false);
}

TEST_CASE("each thread multiplies its rows by the same packed matrix, with the bits of one thread alone") {
  std::mt19937 random(9);
  const Values a(32, 128, false, 0, random), b(128, 512, false, 0, random);
  for (Precision precision : {Precision::f32, Precision::bf16}) {
    PackedMatrix packed(128, 512, precision);
    packed.pack(b.view());
    const auto steps = [&](int threads) {
      set_num_threads(threads);
      std::vector<float> c(32 * 512, 0.5f);
      run_on_threads(2, [&](int i) {
        for (int step = 0; step < 10; ++step)
          gemm_packed(16, a.view().from(16 * i, 0), packed, {c.data() + 16 * 512 * i, 512, 1}, 1);
      });
      return c;
    };
    const std::vector<float> one = steps(1);
    for (int round = 0; round < 20; ++round) CHECK(steps(2) == one);
  }
  set_num_threads(0);
}

TEST_CASE(
    "packed for one row: as the product unpacked, for all widths, plain and transposed, into and onto") {
  std::mt19937 random(3);
  for (int64_t n : {1, 2, 3, 4, 15, 16, 17, 18, 19, 21, 65, 100, 112, 130, 200}) {
    for (int64_t k : {1, 3, 16, 37, 74, 101}) {
      const bool transposed = k % 2 == 1;
      const Values a(1, k, transposed, 2, random), b(k, n, transposed, 3, random);
      PackedMatrix packed = PackedMatrix::for_one_row(k, n);
      packed.pack(b.view());
      for (float beta : {0.0f, 1.0f}) {
        std::vector<float> got(static_cast<size_t>(n + 1), 0.5f), want = got;
        gemm_packed(1, a.view(), packed, {got.data(), n, 1}, beta);
        for (int64_t j = 0; j < n; ++j) {
          double sum = beta * 0.5;
          for (int64_t i = 0; i < k; ++i) sum += a.at(0, i) * b.at(i, j);
          want[static_cast<size_t>(j)] = static_cast<float>(sum);
        }
        for (size_t j = 0; j < want.size(); ++j) CHECK(got[j] == doctest::Approx(want[j]).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("packing pays for a weight that many products read") {
  CHECK(worth_packing(16, 512, 128, false, 50));
  CHECK(worth_packing(16, 128, 512, true, 50));
  CHECK(worth_packing(1, 100, 100, false, 25));
  CHECK(!worth_packing(1, 512, 128, false, 1000));  // its rows are whole cache lines already
  CHECK(worth_packing(1, 512, 128, true, 1000));
  CHECK(!worth_packing(1, 5000, 1000, true, 1000));  // no cache holds it
  CHECK(!worth_packing(16, 512, 128, false, 1));
  CHECK(!worth_packing(2048, 512, 128, false, 100));
}

}  // namespace
}  // namespace reel
