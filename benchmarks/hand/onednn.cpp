#include "benchmarks/hand/onednn.h"

#include <cstring>
#include <new>
#include <string>

#include "benchmarks/hand/team.h"
#include "core/error.h"

namespace reel::bench::hand {

namespace {

constexpr std::align_val_t kLine{64};

dnnl::memory::data_type dnnl_type(Type type) {
  return type == Type::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// The primitive runs on the calling thread, whatever others do; its scratch memory is its own, since
// oneDNN's default one belongs to the thread that made the primitive.
dnnl::matmul::primitive_desc describe(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                      const dnnl::memory::desc& c, Product::Into into) {
  limit_library_threads(1);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (into == Product::Into::add) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
#if DNNL_VERSION_MAJOR >= 3
  return {engine(), a, b, c, attr};
#else
  return {dnnl::matmul::desc(a, b, c), attr, engine()};
#endif
}

}  // namespace

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::stream& stream() {
  static thread_local dnnl::stream own(engine());
  return own;
}

dnnl::memory::dims strides(Layout layout) {
  return layout.transposed ? dnnl::memory::dims{1, layout.ld} : dnnl::memory::dims{layout.ld, 1};
}

Floats::Floats(int64_t size)
    : data_(static_cast<float*>(::operator new[](static_cast<size_t>(size) * sizeof(float), kLine))),
      size_(size) {
  std::memset(data_.get(), 0, static_cast<size_t>(size) * sizeof(float));
}

void Floats::Free::operator()(float* p) const { ::operator delete[](p, kLine); }

void sgemm(Sizes s, const float* a, Layout la, const float* b, Layout lb, float* c, int64_t ldc, float beta) {
  if (s.m == 0 || s.n == 0) return;
  const dnnl_status_t status = dnnl_sgemm(la.transposed ? 'T' : 'N', lb.transposed ? 'T' : 'N', s.m, s.n, s.k,
                                          1.0f, a, la.ld, b, lb.ld, beta, c, ldc);
  if (status != dnnl_success) fail("oneDNN refused sgemm [{}, {}] x [{}, {}]", s.m, s.k, s.k, s.n);
}

Packed::Packed(Sizes s, Layout layout, Type type)
    : plain_desc_({s.k, s.n}, dnnl::memory::data_type::f32, strides(layout)) {
  const auto any = dnnl::memory::format_tag::any;
  const auto f32 = dnnl::memory::data_type::f32;
  const auto description =
      describe(dnnl::memory::desc({s.m, s.k}, dnnl_type(type), strides({s.k})),
               dnnl::memory::desc({s.k, s.n}, dnnl_type(type), any),
               dnnl::memory::desc({s.m, s.n}, f32, strides({s.n})), Product::Into::store);
  desc_ = description.weights_desc();
  memory_ = dnnl::memory(desc_, engine());
  plain_ = dnnl::memory(plain_desc_, engine(), nullptr);
  reorder_ = dnnl::reorder(plain_, memory_);
}

void Packed::pack(const float* b) {
  plain_.set_data_handle(const_cast<float*>(b));
  reorder_.execute(stream(), plain_, memory_);
}

Product::Product(Sizes s, Layout a, Layout b, int64_t ldc, Into into, Type type)
    : Product(s, a, dnnl::memory::desc({s.k, s.n}, dnnl_type(type), strides(b)), nullptr, ldc, into, type) {}

Product::Product(Sizes s, Layout a, const Packed& b, int64_t ldc, Into into, Type type)
    : Product(s, a, b.desc(), b.data(), ldc, into, type) {}

Product::Product(Sizes s, Layout a, const dnnl::memory::desc& b, const void* packed, int64_t ldc, Into into,
                 Type type)
    : packed_(packed) {
  const dnnl::memory::desc da({s.m, s.k}, dnnl_type(type), strides(a));
  const dnnl::memory::desc dc({s.m, s.n}, dnnl::memory::data_type::f32, strides({ldc}));
  const auto description = describe(da, b, dc, into);
  if (std::string(description.impl_info_str()).starts_with("ref")) {
    fail(
        "oneDNN has no fast product [{}, {}] x [{}, {}] for these layouts (2.6 wants dense rows beside a "
        "packed B)",
        s.m, s.k, s.k, s.n);
  }
  matmul_ = dnnl::matmul(description);
  a_ = dnnl::memory(da, engine(), nullptr);
  b_ = dnnl::memory(b, engine(), const_cast<void*>(packed));
  c_ = dnnl::memory(dc, engine(), nullptr);
  scratch_ = dnnl::memory(description.scratchpad_desc(), engine());
}

void Product::operator()(const void* a, const void* b, float* c) {
  a_.set_data_handle(const_cast<void*>(a));
  b_.set_data_handle(const_cast<void*>(b));
  c_.set_data_handle(c);
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, a_.get()},
                                       {DNNL_ARG_WEIGHTS, b_.get()},
                                       {DNNL_ARG_DST, c_.get()},
                                       {DNNL_ARG_SCRATCHPAD, scratch_.get()}};
  const dnnl_status_t status = dnnl_primitive_execute(matmul_.get(), stream().get(), 4, arguments);
  if (status != dnnl_success) fail("oneDNN failed in a matmul (status {})", static_cast<int>(status));
}

}  // namespace reel::bench::hand
