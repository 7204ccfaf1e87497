#include "benchmarks/hand/gemm.h"

#include <algorithm>
#include <array>
#include <dnnl.hpp>
#include <unordered_map>

#include "benchmarks/hand/team.h"
#include "core/error.h"
#include "core/kernels/parallel.h"
#include "core/tensor.h"

namespace reel::bench::expert {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream s(engine());
  return s;
}
memory wrap(const memory::desc& desc, const float* data) {
  return memory(desc, engine(), const_cast<float*>(data));  // oneDNN's handles have no const
}

thread_local bool alone = false;  // inside on_threads

struct Product {
  memory::desc a, b, c;
  dnnl::matmul primitive;
};

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& bias,
                                      const memory::desc& c, const dnnl::primitive_attr& attr) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, bias, c, attr};
#else
  return {dnnl::matmul::desc(a, b, bias, c), attr, engine()};
#endif
}

Product make(const memory::desc& a, const memory::desc& b, const memory::desc& c, float beta) {
  dnnl::primitive_attr attr;
  if (beta != 0) {
    dnnl::post_ops ops;
    ops.append_sum(beta);
    attr.set_post_ops(ops);
  }
  const dnnl::matmul::primitive_desc desc = describe(a, b, memory::desc(), c, attr);
  return {a, desc.weights_desc(), c, dnnl::matmul(desc)};
}

void run(const Product& p, const float* a, const float* b, float* c) {
  p.primitive.execute(
      stream(),
      {{DNNL_ARG_SRC, wrap(p.a, a)}, {DNNL_ARG_WEIGHTS, wrap(p.b, b)}, {DNNL_ARG_DST, wrap(p.c, c)}});
}

using Key = std::array<int64_t, 12>;
struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0;
    for (int64_t v : key) h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    return h;
  }
};

// Primitives are made for as many threads as run them.
template <class Make>
const Product& cached(const Key& key, const Make& make_one) {
  static thread_local std::unordered_map<Key, Product, Hash> products;
  const auto found = products.find(key);
  return found != products.end() ? found->second : products.emplace(key, make_one()).first->second;
}
int64_t threads_now() { return alone ? 1 : num_threads(); }

}  // namespace

namespace {
constexpr size_t kKept = 64;
thread_local std::vector<std::vector<float>> kept;  // memory to use again
}  // namespace

Floats::Floats(int64_t count) : size_(count) {
  static thread_local int64_t made = 0;
  constexpr int64_t kLine = 16, kSets = 64;  // floats of a cache line; lines of 4 KiB
  const int64_t shift = count < kLine * kSets ? 0 : (made++ * 5 % kSets) * kLine;
  const auto room = static_cast<size_t>(count + 2 * kLine + kSets * kLine);
  const auto same =
      std::find_if(kept.begin(), kept.end(), [&](const auto& old) { return old.size() == room; });
  if (same != kept.end()) {
    room_ = std::move(*same);
    kept.erase(same);
  } else {
    room_.resize(room);
  }
  data_ = room_.data();
  while (reinterpret_cast<uintptr_t>(data_) % 64 != 0) ++data_;
  data_ += shift;
  zero();
}

Floats::~Floats() {
  if (!room_.empty() && kept.size() < kKept) kept.push_back(std::move(room_));
}

void Floats::zero() { std::fill_n(data_, size_, 0.f); }

void sgemm(char ta, char tb, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
           int64_t ldb, float beta, float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(ta, tb, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc);
  if (status != dnnl_success)
    fail("sgemm {} x {} x {}: oneDNN's status {}", m, n, k, static_cast<int>(status));
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, View va, const float* b, View vb, float* c,
            View vc, float beta) {
  const Key key{-5,           m, n, k, va.row, va.col, vb.row, vb.col, vc.row, vc.col, beta != 0 ? 1 : 0,
                threads_now()};
  const Product& product = cached(key, [&] {
    const auto desc = [](int64_t rows, int64_t columns, View v) {
      return memory::desc({rows, columns}, memory::data_type::f32, memory::dims{v.row, v.col});
    };
    return make(desc(m, k, va), desc(k, n, vb), desc(m, n, vc), beta);
  });
  run(product, a, b, c);
}

Packed::Packed(int64_t k, int64_t n, bool transposed, int64_t stride)
    : k_(k), n_(n), stride_(stride), transposed_(transposed) {}

namespace {

memory::desc dense(int64_t rows, int64_t columns, int64_t row) {
  return memory::desc({rows, columns}, memory::data_type::f32, memory::dims{row, 1});
}

// How oneDNN wants W [k, n] to lie for products with so many rows.
memory::desc packed_form(int64_t rows, int64_t n, int64_t k) {
  const Key key{-1, rows, n, k, threads_now()};
  return cached(key,
                [&] {
                  const memory::desc any({k, n}, memory::data_type::f32, memory::format_tag::any);
                  return make(dense(rows, k, k), any, dense(rows, n, n), 0);
                })
      .b;
}

}  // namespace

void Packed::pack(const float* weight, int64_t rows) {
  const auto f32 = memory::data_type::f32;
  const memory::desc to = packed_form(rows, n_, k_);
  const auto count = static_cast<int64_t>(to.get_size() / sizeof(float));
  if (rows_ != rows || room_.size() < count) room_ = Floats(count);
  rows_ = rows;
  const memory::desc from({k_, n_}, f32, transposed_ ? memory::dims{1, stride_} : memory::dims{stride_, 1});
  const Key key{-2, k_, n_, stride_, transposed_ ? 1 : 0, rows, threads_now()};
  static thread_local std::unordered_map<Key, dnnl::reorder, Hash> reorders;
  auto found = reorders.find(key);
  if (found == reorders.end()) {
    found = reorders.emplace(key, dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to)))
                .first;
  }
  memory source = wrap(from, weight), target = wrap(to, room_);
  found->second.execute(stream(), source, target);
}

void Packed::multiply(const float* a, int64_t lda, float beta, float* c, int64_t ldc) const {
  const Key key{-4, rows_, n_, k_, lda, ldc, beta != 0 ? 1 : 0, threads_now()};
  const Product& product = cached(key, [&] {
    return make(dense(rows_, k_, lda), packed_form(rows_, n_, k_), dense(rows_, n_, ldc), beta);
  });
  run(product, a, room_, c);
}

void on_threads(int64_t rows, const std::function<void(int64_t, int64_t)>& body) {
  parallel_for(rows, int64_t{1} << 40, [&](int64_t begin, int64_t end) {
    const bool before = alone;
    alone = true;
    hand::limit_library_threads(1);
    body(begin, end);
    alone = before;
  });
  use_all_threads();
}

void use_all_threads() { hand::limit_library_threads(alone ? 1 : num_threads()); }

void weight_gradient(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                     int64_t ldb, float* c, int64_t ldc) {
  on_threads(m, [&](int64_t begin, int64_t end) {
    matmul(end - begin, n, k, a + begin, {1, lda}, b, {ldb, 1}, c + begin * ldc, {ldc, 1});
  });
}

void linear(int64_t m, int64_t n, int64_t k, const float* a, const float* b, const float* bias, bool relu,
            float* c) {
  const Key key{-3, m, n, k, relu ? 1 : 0, threads_now()};
  const Product& product = cached(key, [&] {
    const auto f32 = memory::data_type::f32;
    const memory::desc da({m, k}, f32, memory::dims{k, 1}), db({k, n}, f32, memory::dims{1, k}),
        dc({m, n}, f32, memory::dims{n, 1}), dbias({1, n}, f32, memory::dims{n, 1});
    dnnl::primitive_attr attr;
    dnnl::post_ops ops;
    if (relu) {
#if DNNL_VERSION_MAJOR >= 3
      ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
#else
      ops.append_eltwise(1.f, dnnl::algorithm::eltwise_relu, 0.f, 0.f);
#endif
    }
    attr.set_post_ops(ops);
    return Product{da, db, dc, dnnl::matmul(describe(da, db, dbias, dc, attr))};
  });
  const memory::desc dbias({1, n}, memory::data_type::f32, memory::dims{n, 1});
  product.primitive.execute(stream(), {{DNNL_ARG_SRC, wrap(product.a, a)},
                                       {DNNL_ARG_WEIGHTS, wrap(product.b, b)},
                                       {DNNL_ARG_BIAS, wrap(dbias, bias)},
                                       {DNNL_ARG_DST, wrap(product.c, c)}});
}

void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  constexpr int64_t kBlock = 16;
  for (int64_t i = 0; i < rows; i += kBlock) {
    for (int64_t j = 0; j < columns; j += kBlock) {
      for (int64_t c = j; c < std::min(columns, j + kBlock); ++c) {
        for (int64_t r = i; r < std::min(rows, i + kBlock); ++r) to[c * rows + r] = from[r * columns + c];
      }
    }
  }
}

}  // namespace reel::bench::expert
