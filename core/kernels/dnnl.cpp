#include "core/kernels/dnnl.h"

#include <bit>
#include <dnnl.hpp>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <list>
#include <map>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/kernels/parallel.h"

namespace reel::dnnl_wall {

namespace {

using dnnl::memory;

enum Flags : int64_t { kTransposedA = 1, kTransposedB = 2, kPacked = 4, kReorder = 8 };

int64_t when(bool holds, Flags flag) { return holds ? int64_t{flag} : 0; }

struct Key {
  int64_t m, n, k, lda, ldb, ldc, flags;
  bool operator==(const Key&) const = default;
  bool has(Flags flag) const { return (flags & flag) != 0; }
};

struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0;
    for (int64_t v : {key.m, key.n, key.k, key.lda, key.ldb, key.ldc, key.flags}) {
      h = mix(h, static_cast<uint64_t>(v));
    }
    return h;
  }
};

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream own(engine());
  return own;
}

memory::desc strided(int64_t rows, int64_t columns, memory::data_type type, bool transposed, int64_t ld) {
  return {{rows, columns}, type, transposed ? memory::dims{1, ld} : memory::dims{ld, 1}};
}

dnnl::primitive_attr user_scratch() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, c, user_scratch()};
#else
  return {dnnl::matmul::desc(a, b, c), user_scratch(), engine()};
#endif
}

constexpr auto kBf16 = memory::data_type::bf16;

// What oneDNN would choose for a right side in bf16, asked with a number of rows as a recurrent step has
// them. 2.6.3 gives the same answer for any number.
memory::desc packed_desc(int64_t k, int64_t n) {
  const LibraryOnOneThread limit;
  return describe(strided(32, k, kBf16, false, k), memory::desc({k, n}, kBf16, memory::format_tag::any),
                  strided(32, n, memory::data_type::f32, false, n))
      .weights_desc();
}

// Memory that grows and belongs to a thread.
class Scratch {
 public:
  ~Scratch() { std::free(data_); }
  void* get(size_t bytes) {
    if (bytes > bytes_) {
      std::free(data_);
      bytes_ = (bytes + 4095) / 4096 * 4096;
      data_ = std::aligned_alloc(64, bytes_);
      if (!data_) bytes_ = 0;
    }
    if (bytes > bytes_) fail("out of memory: oneDNN wants {} bytes to work in", bytes);
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};
thread_local Scratch scratch;

// A primitive with its memory objects, which get their addresses at each call.
class Ready {
 public:
  explicit Ready(const Key& key) {
    if (key.has(kReorder)) {
      const dnnl::reorder::primitive_desc description(
          engine(), strided(key.k, key.n, memory::data_type::f32, key.has(kTransposedB), key.ldb), engine(),
          packed_desc(key.k, key.n), user_scratch());
      primitive_ = dnnl::reorder(description);
      give(DNNL_ARG_FROM, description.src_desc());
      give(DNNL_ARG_TO, description.dst_desc());
      give_scratch(description.scratchpad_desc());
      return;
    }
    const auto description =
        describe(strided(key.m, key.k, kBf16, key.has(kTransposedA), key.lda),
                 key.has(kPacked) ? packed_desc(key.k, key.n)
                                  : strided(key.k, key.n, kBf16, key.has(kTransposedB), key.ldb),
                 strided(key.m, key.n, memory::data_type::f32, false, key.ldc));
    primitive_ = dnnl::matmul(description);
    give(DNNL_ARG_SRC, description.src_desc());
    give(DNNL_ARG_WEIGHTS, description.weights_desc());
    give(DNNL_ARG_DST, description.dst_desc());
    give_scratch(description.scratchpad_desc());
  }

  // Addresses in the order of the arguments; oneDNN's have no const.
  void run(std::initializer_list<const void*> addresses) {
    int i = 0;
    for (const void* address : addresses) set_address(i++, const_cast<void*>(address));
    if (scratch_ > 0) set_address(i++, scratch.get(scratch_));
    check(dnnl_primitive_execute(primitive_.get(), stream().get(), i, arguments_));
  }

 private:
  static void check(dnnl_status_t status) {
    dnnl::error::wrap_c_api(status, "a ready primitive did not run");
  }
  void give(int name, const memory::desc& desc) {
    memories_[count_] = memory(desc, engine(), nullptr);
    arguments_[count_] = {name, memories_[count_].get()};
    ++count_;
  }
  void give_scratch(const memory::desc& desc) {
    scratch_ = desc.get_size();
    if (scratch_ > 0) give(DNNL_ARG_SCRATCHPAD, desc);
  }
  void set_address(int i, void* address) {
    if (addresses_[i] == address) return;
    check(dnnl_memory_set_data_handle(memories_[i].get(), address));
    addresses_[i] = address;
  }

  dnnl::primitive primitive_;
  memory memories_[4];
  void* addresses_[4] = {};
  dnnl_exec_arg_t arguments_[4];
  int count_ = 0;
  size_t scratch_ = 0;
};

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
    order_.emplace_front(std::piecewise_construct, std::forward_as_tuple(key), std::forward_as_tuple(key));
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
template <class T>
int64_t leading(Matrix<const T> x, int64_t rows, int64_t columns) {
  return x.col != 1 ? std::max(x.col, rows) : std::max(x.row, columns);
}

std::string shapes(int64_t m, int64_t n, int64_t k) { return fmt::format("[{}, {}] x [{}, {}]", m, k, k, n); }

void run(const Key& key, std::initializer_list<const void*> addresses) {
  const LibraryOnOneThread limit;
  try {
    cache.find(key).run(addresses);
  } catch (const dnnl::error& e) {
    fail("oneDNN {} failed in a bf16 {} {} (leading dimensions {}, {}, {}; flags {}): {}", version(),
         key.has(kReorder) ? "reorder" : "matmul", shapes(key.m, key.n, key.k), key.lda, key.ldb, key.ldc,
         key.flags, e.what());
  }
}

// A primitive is made for one number of rows, which takes up to a millisecond. Where a product comes with
// ever other numbers (trees, sequences of any length), the first few have primitives of their own, and the
// others are cut into powers of two.
constexpr size_t kRowCounts = 8;

bool has_its_own(const Key& key) {
  static thread_local std::unordered_map<Key, std::vector<int64_t>, Hash> known;
  Key product = key;
  product.m = 0;
  if (known.size() >= kPrimitives) known.clear();
  std::vector<int64_t>& rows = known[product];
  if (std::find(rows.begin(), rows.end(), key.m) != rows.end()) return true;
  if (rows.size() >= kRowCounts) return false;
  rows.push_back(key.m);
  return true;
}

// Calls product(first row, key for so many rows).
template <class F>
void for_rows(Key key, const F& product) {
  if (has_its_own(key)) return product(0, key);
  const int64_t m = key.m;
  for (int64_t i = 0; i < m; i += key.m) {
    key.m = std::min(int64_t{512}, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(m - i))));
    product(i, key);
  }
}

template <class T>
Key plain(int64_t m, int64_t n, int64_t k, Matrix<const T> a, Matrix<const T> b, Matrix<float> c) {
  return {m,
          n,
          k,
          leading(a, m, k),
          leading(b, k, n),
          std::max(c.row, n),
          when(a.col != 1, kTransposedA) | when(b.col != 1, kTransposedB)};
}

}  // namespace

void sgemm(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
           float beta) {
  const LibraryOnOneThread limit;
  const bool ta = a.col != 1, tb = b.col != 1;
  const dnnl_status_t status =
      dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1.0f, a.data, leading(a, m, k), b.data,
                 leading(b, k, n), beta, c.data, std::max(c.row, n));
  if (status != dnnl_success) {
    fail("oneDNN {} refused sgemm {} (status {})", version(), shapes(m, n, k), static_cast<int>(status));
  }
}

void matmul(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<float> c) {
  const Key key = plain(m, n, k, a, b, c);
  for_rows(key, [&](int64_t i, const Key& rows) {
    run(rows, {a.from(i, 0).data, b.data, c.from(i, 0).data});
  });
}

void matmul_packed(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, const void* b, Matrix<float> c) {
  const Key key{m, n, k, leading(a, m, k), 0, std::max(c.row, n), when(a.col != 1, kTransposedA) | kPacked};
  for_rows(key, [&](int64_t i, const Key& rows) { run(rows, {a.from(i, 0).data, b, c.from(i, 0).data}); });
}

namespace {

PackedLayout ask_layout(int64_t k, int64_t n) {
  try {
    const memory::desc desc = packed_desc(k, n);
#if DNNL_VERSION_MAJOR >= 3
    const memory::dims blocks = desc.get_inner_blks(), axes = desc.get_inner_idxs(),
                       strides = desc.get_strides();
#else
    const auto& blocking = desc.data.format_desc.blocking;
    const memory::dims blocks(blocking.inner_blks, blocking.inner_blks + blocking.inner_nblks);
    const memory::dims axes(blocking.inner_idxs, blocking.inner_idxs + blocking.inner_nblks);
    const memory::dims strides(blocking.strides, blocking.strides + 2);
#endif
    constexpr int64_t kDeep = 32, kSize = 2;
    const int64_t panel = (k + kDeep - 1) / kDeep * kDeep * kPanel;
    PackedLayout layout{.bytes = desc.get_size()};
    const bool known = blocks == memory::dims{16, kPanel, 2} && axes == memory::dims{0, 1, 0} &&
                       strides == memory::dims{kDeep * kPanel, panel} &&
                       layout.bytes == static_cast<size_t>((n + kPanel - 1) / kPanel * panel * kSize);
    if (known) layout.panel_bytes = static_cast<size_t>(panel * kSize);
    return layout;
  } catch (const dnnl::error& e) {
    fail("oneDNN {} knows no packed layout for a bf16 matrix [{}, {}]: {}", version(), k, n, e.what());
  }
}

}  // namespace

PackedLayout packed_layout(int64_t k, int64_t n) {
  static thread_local std::map<std::pair<int64_t, int64_t>, PackedLayout> known;  // asking takes microseconds
  const std::pair key(k, n);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  if (known.size() >= kPrimitives) known.clear();
  return known[key] = ask_layout(k, n);
}

void reorder(int64_t k, int64_t n, Matrix<const float> from, void* packed) {
  run({0, n, k, 0, leading(from, k, n), 0, kReorder | when(from.col != 1, kTransposedB)},
      {from.data, packed});
}

bool has_bf16() {
  static const bool fast = [] {
    const LibraryOnOneThread limit;
    try {
      const std::string name =
          describe(strided(64, 64, kBf16, false, 64), memory::desc({64, 64}, kBf16, memory::format_tag::any),
                   strided(64, 64, memory::data_type::f32, false, 64))
              .impl_info_str();
      return name.find("bf16") != std::string::npos || name.find("amx") != std::string::npos;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return fast;
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
