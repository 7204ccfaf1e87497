#include "core/kernels/pointwise.h"

#include <algorithm>

#include "core/error.h"
#include "core/kernels/loops.h"
#include "core/kernels/parallel.h"
#include "core/kernels/pointwise_run.h"
#include "core/kernels/simd.h"

namespace reel {

namespace {

// A thread's memory, kept from call to call: small calls are many.
struct CallRoom {
  std::vector<uint8_t> copied;
  std::vector<std::byte*> data;
  std::vector<std::byte> sums;
};
CallRoom& call_room() {
  static thread_local CallRoom room;
  return room;
}

// Calls f with every element's number and its offset in a strided array.
template <class F>
void each_element(const Shape& shape, const Strides& strides, F&& f) {
  const int64_t n = shape.numel();
  for (int64_t e = 0; e < n; ++e) {
    int64_t offset = 0, rest = e;
    for (int axis = shape.rank(); axis-- > 0;) {
      offset += rest % shape[axis] * strides[static_cast<size_t>(axis)];
      rest /= shape[axis];
    }
    f(e, offset);
  }
}

}  // namespace

// What outputs overwrite before it is read for the last time is copied, block by block.
const uint8_t* PreparedPointwise::copied_inputs(std::span<std::byte* const> data) const {
  std::vector<uint8_t>& copied = call_room().copied;
  copied.assign(inputs_.size(), 0);
  for (const Hazard& h : hazards_) {
    if (copied[h.input]) continue;
    copied[h.input] = !apart(h.input, h.output, data[h.input], data[inputs_.size() + h.output]);
  }
  return copied.data();
}

bool PreparedPointwise::replaces(size_t input, size_t output) const {
  return !outputs_[output].sums && std::none_of(hazards_.begin(), hazards_.end(), [&](const Hazard& h) {
    return h.input == input && h.output == output;
  });
}

template <class T>
void PreparedPointwise::run_as(std::span<std::byte* const> data, std::span<const double> scalars) const {
  const uint8_t* copied = copied_inputs(data);
  if (partial_) return run_in_chunks<T>(data, copied, scalars);
  const auto range = [&](int64_t begin, int64_t end) {
    if (bare_) return PointwiseRun<T>::bare_range(*this, data.data(), scalars, begin, end);
    PointwiseRun<T>(*this, data.data(), copied, scalars).range(begin, end);
  };
  if (sums_rows_ || threads_for(cost_) == 1) return range(0, shape_[0]);
  constexpr int64_t kStretch = 256;  // where there is one dimension, threads share no cache line
  const int64_t unit = shape_.rank() == 1 ? kStretch : 1;
  const int64_t units = (shape_[0] + unit - 1) / unit;
  parallel_for(units, cost_ / units,
               [&](int64_t begin, int64_t end) { range(begin * unit, std::min(end * unit, shape_[0])); });
}

// Sums over the first dimension: one for each chunk of it, added up in the chunks' order.
template <class T>
void PreparedPointwise::run_in_chunks(std::span<std::byte* const> data, const uint8_t* copied,
                                      std::span<const double> scalars) const {
  int64_t each = 0;
  for (const Output& o : outputs_) each += o.partial ? o.numel : 0;
  CallRoom& room = call_room();
  room.sums.resize(static_cast<size_t>(each * chunks_) * sizeof(T));
  T* const sums = reinterpret_cast<T*>(room.sums.data());
  const size_t inputs = inputs_.size();
  parallel_for(chunks_, cost_ / chunks_, [&](int64_t first, int64_t last) {
    std::vector<std::byte*>& own = call_room().data;
    for (int64_t c = first; c < last; ++c) {
      own.assign(data.begin(), data.end());
      T* at = sums + c * each;
      for (size_t j = 0; j < outputs_.size(); ++j) {
        if (!outputs_[j].partial) continue;
        own[inputs + j] = reinterpret_cast<std::byte*>(at);
        at += outputs_[j].numel;
      }
      PointwiseRun<T>(*this, own.data(), copied, scalars)
          .range(shape_[0] * c / chunks_, shape_[0] * (c + 1) / chunks_);
    }
  });
  T* at = sums;
  for (size_t j = 0; j < outputs_.size(); ++j) {
    const Output& o = outputs_[j];
    if (!o.partial) continue;
    with_type(o.dtype, data[inputs + j], [&](auto* to) {
      using To = std::remove_pointer_t<decltype(to)>;
      each_element(o.shape, o.strides, [&](int64_t e, int64_t offset) {
        T sum = at[e];
        for (int64_t c = 1; c < chunks_; ++c) sum += at[c * each + e];
        to[offset] = element<To>(o.add ? static_cast<T>(to[offset]) + sum : sum);
      });
    });
    at += o.numel;
  }
}

void PreparedPointwise::run(std::span<std::byte* const> data, std::span<const double> scalars) const {
  if (data.size() != inputs_.size() + outputs_.size()) {
    fail("pointwise program: got {} addresses, want {}", data.size(), inputs_.size() + outputs_.size());
  }
  if (numel_ > 0) return wide_ ? run_as<double>(data, scalars) : run_as<float>(data, scalars);
  for (size_t j = 0; j < outputs_.size(); ++j) {  // sums of nothing
    const Output& o = outputs_[j];
    if (o.add) continue;
    with_type(o.dtype, data[inputs_.size() + j], [&](auto* to) {
      each_element(o.shape, o.strides, [&](int64_t, int64_t offset) { to[offset] = 0; });
    });
  }
}

void PreparedPointwise::run_rows(std::span<std::byte* const> data, std::span<const double> scalars,
                                 int64_t begin, int64_t end) const {
  if (sums_rows_) fail("pointwise program: rows of which a sum is made are not independent");
  if (numel_ == 0) return begin == 0 ? run(data, scalars) : void();
  if (begin >= end) return;
  const int64_t each = row_size_;
  if (bare_) return PointwiseRun<float>::bare_range(*this, data.data(), scalars, begin * each, end * each);
  const uint8_t* copied = copied_inputs(data);
  if (wide_) return PointwiseRun<double>(*this, data.data(), copied, scalars).range(begin * each, end * each);
  PointwiseRun<float>(*this, data.data(), copied, scalars).range(begin * each, end * each);
}

void run_fused(const lanes::Program& program, std::span<const Array> in, const Shape& space,
               std::span<const PointwiseOutput> out, std::span<const double> scalars) {
  static thread_local PreparedPointwise prepared;
  static thread_local std::vector<std::byte*> data;
  prepared.prepare(program, in, space, out);
  data.clear();
  for (const Array& a : in) data.push_back(a.data);
  for (const PointwiseOutput& o : out) data.push_back(o.array.data);
  prepared.run(data, scalars);
}

void run_pointwise(const lanes::Program& program, std::span<const Array> in, const Array& out,
                   std::span<const double> scalars) {
  if (out.shape.numel() == 0) return;
  const PointwiseOutput only{out};
  run_fused(program, in, out.shape, {&only, 1}, scalars);
}

namespace {

template <class T>
void copy_rows(const Array& in, const Array& out) {
  static thread_local std::vector<Strides> strides;
  strides.assign(1, broadcast_strides(in.shape, in.strides, out.shape));
  const Shape shape = merge_loops(out.shape, strides);
  const Strides& from_strides = strides[0];
  const int inner = shape.rank() - 1;
  const int64_t n = shape[inner];
  const int64_t stride = from_strides[static_cast<size_t>(inner)];
  if constexpr (sizeof(T) == sizeof(float)) {
    if (shape.rank() == 2 && from_strides[0] == 1 && stride >= shape[0]) {  // the other way round
      const auto columns = static_cast<size_t>(n);
      return parallel_for(shape[0], n, [&](int64_t begin, int64_t end) {
        simd::transpose(out.as<float>() + begin * n, n, in.as<float>() + begin, stride, columns,
                        static_cast<size_t>(end - begin));
      });
    }
  }
  parallel_for(shape.numel() / n, n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t offset = 0, rest = row;
      for (int axis = inner; axis-- > 0;) {
        offset += rest % shape[axis] * from_strides[static_cast<size_t>(axis)];
        rest /= shape[axis];
      }
      const T* from = in.as<T>() + offset;
      T* to = out.as<T>() + row * n;
      if (stride == 1) {
        std::copy(from, from + n, to);
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
      }
    }
  });
}

}  // namespace

void copy(const Array& in, const Array& out) {
  if (out.shape.numel() == 0) return;
  if (in.dtype == out.dtype) {
    switch (size_of(in.dtype)) {
      case 1: return copy_rows<uint8_t>(in, out);
      case 4: return copy_rows<uint32_t>(in, out);
      default: return copy_rows<uint64_t>(in, out);
    }
  }
  static const lanes::Program identity = lanes::trace(1, [](const lanes::Inputs& x) { return x[0]; });
  run_pointwise(identity, {&in, 1}, out, {});
}

}  // namespace reel
