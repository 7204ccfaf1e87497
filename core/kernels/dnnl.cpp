#include "core/kernels/dnnl.h"

#include <dnnl.hpp>

#include <algorithm>
#include <list>
#include <unordered_map>

#include "core/error.h"
#include "core/kernels/parallel.h"

namespace reel::dnnl_wall {

namespace {

struct Key {
  int64_t m, n, k, lda, ldb, ldc;
  bool ta, tb, add;
  int threads;
  bool operator==(const Key&) const = default;
};

struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0;
    for (int64_t v :
         {key.m, key.n, key.k, key.lda, key.ldb, key.ldc,
          int64_t{key.ta} | int64_t{key.tb} << 1 | int64_t{key.add} << 2 | int64_t{key.threads} << 3}) {
      h = (h ^ static_cast<uint64_t>(v)) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    return h;
  }
};

struct Ready {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

Ready make(const Key& key) {
  using dnnl::memory;
  const auto f32 = memory::data_type::f32;
  const auto strides = [](bool transposed, int64_t ld) {
    return transposed ? memory::dims{1, ld} : memory::dims{ld, 1};
  };
  Ready ready;
  ready.a = memory::desc({key.m, key.k}, f32, strides(key.ta, key.lda));
  ready.b = memory::desc({key.k, key.n}, f32, strides(key.tb, key.ldb));
  ready.c = memory::desc({key.m, key.n}, f32, memory::dims{key.ldc, 1});
  dnnl::primitive_attr attr;
  if (key.add) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc description(engine(), ready.a, ready.b, ready.c, attr);
#else
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(ready.a, ready.b, ready.c), attr,
                                                 engine());
#endif
  ready.primitive = dnnl::matmul(description);
  return ready;
}

// Primitives in the order of their last use; the oldest go first.
class Cache {
 public:
  Ready& find(const Key& key) {
    if (const auto found = index_.find(key); found != index_.end()) {
      ++stats.hits;
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    ++stats.misses;
    order_.emplace_front(key, make(key));
    index_[key] = order_.begin();
    if (order_.size() > kPrimitives) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    stats.held = order_.size();
    return order_.front().second;
  }
  CacheStats stats;

 private:
  std::list<std::pair<Key, Ready>> order_;
  std::unordered_map<Key, std::list<std::pair<Key, Ready>>::iterator, Hash> index_;
};
thread_local Cache cache;

// The distance between the rows of a matrix, or of its transpose. A single row may claim any; oneDNN wants
// its length.
int64_t leading(Matrix<const float> x, int64_t rows, int64_t columns) {
  return x.col != 1 ? std::max(x.col, rows) : std::max(x.row, columns);
}

std::string describe(int64_t m, int64_t n, int64_t k) {
  return fmt::format("[{}, {}] x [{}, {}]", m, k, k, n);
}

}  // namespace

void sgemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
           float beta) {
  limit_library_threads(threads_for(m * n * k / 16));
  const bool ta = a.col != 1, tb = b.col != 1;
  const dnnl_status_t status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1.0f, a.data,
                                          leading(a, m, k), b.data, leading(b, k, n), beta, c.data, c.row);
  if (status != dnnl_success) {
    fail("oneDNN {} refused sgemm {} (status {})", version(), describe(m, n, k), static_cast<int>(status));
  }
}

void matmul(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
            float beta) {
  const int threads = threads_for(m * n * k / 16);
  limit_library_threads(threads);
  const bool ta = a.col != 1, tb = b.col != 1;
  const Key key{m, n, k, leading(a, m, k), leading(b, k, n), c.row, ta, tb, beta != 0, threads};
  try {
    Ready& ready = cache.find(key);
    static thread_local dnnl::stream stream(engine());
    const auto memory = [](const dnnl::memory::desc& desc, const float* data) {
      return dnnl::memory(desc, engine(), const_cast<float*>(data));  // oneDNN's handles have no const
    };
    ready.primitive.execute(stream, {{DNNL_ARG_SRC, memory(ready.a, a.data)},
                                     {DNNL_ARG_WEIGHTS, memory(ready.b, b.data)},
                                     {DNNL_ARG_DST, memory(ready.c, c.data)}});
    stream.wait();
  } catch (const dnnl::error& e) {
    fail("oneDNN {} failed in a matmul {} (leading dimensions {}, {}, {}): {}", version(), describe(m, n, k),
         key.lda, key.ldb, key.ldc, e.what());
  }
}

CacheStats cache_stats() { return cache.stats; }

std::string version() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("{}.{}.{}", v->major, v->minor, v->patch);
}

std::string compiled_version() {
  return fmt::format("{}.{}.{}", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
}

}  // namespace reel::dnnl_wall
