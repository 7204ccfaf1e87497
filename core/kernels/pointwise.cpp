#include "core/kernels/pointwise.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/kernels/parallel.h"
#include "core/kernels/simd.h"

namespace reel {

namespace {

using lanes::Code;
using lanes::Instruction;
using lanes::Program;

constexpr int64_t kBlock = 256;

// The f64 reference: the standard library's functions, one element after another.
void run_block(Code code, const double* a, const double* b, const double* c, double* out, int64_t n) {
  const auto one = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i]);
  };
  const auto two = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  };
  switch (code) {
    case Code::number:
    case Code::scalar: return;  // filled in by the interpreter
    case Code::neg: return one([](double x) { return -x; });
    case Code::abs: return one([](double x) { return std::fabs(x); });
    case Code::sign: return one([](double x) { return x > 0 ? 1 : x < 0 ? -1 : x; });
    case Code::exp: return one([](double x) { return std::exp(x); });
    case Code::log: return one([](double x) { return std::log(x); });
    case Code::log1p: return one([](double x) { return std::log1p(x); });
    case Code::expm1: return one([](double x) { return std::expm1(x); });
    case Code::sqrt: return one([](double x) { return std::sqrt(x); });
    case Code::tanh: return one([](double x) { return std::tanh(x); });
    case Code::sigmoid:
      return one([](double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); });
    case Code::erf: return one([](double x) { return std::erf(x); });
    case Code::add: return two([](double x, double y) { return x + y; });
    case Code::sub: return two([](double x, double y) { return x - y; });
    case Code::mul: return two([](double x, double y) { return x * y; });
    case Code::div: return two([](double x, double y) { return x / y; });
    case Code::min: return two([](double x, double y) { return std::isnan(x) || x < y ? x : y; });
    case Code::max: return two([](double x, double y) { return std::isnan(x) || x > y ? x : y; });
    case Code::pow: return two([](double x, double y) { return std::pow(x, y); });
    case Code::less: return two([](double x, double y) { return x < y ? 1.0 : 0.0; });
    case Code::less_equal: return two([](double x, double y) { return x <= y ? 1.0 : 0.0; });
    case Code::equal: return two([](double x, double y) { return x == y ? 1.0 : 0.0; });
    case Code::select:
      for (int64_t i = 0; i < n; ++i) out[i] = a[i] != 0 ? b[i] : c[i];
      return;
  }
}

void run_block(Code code, const float* a, const float* b, const float* c, float* out, int64_t n) {
  simd::run(code, a, b, c, out, static_cast<size_t>(n));
}

template <class T, class From>
void load(const From* from, int64_t stride, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i * stride]);
}

// A block of an input as lanes of T: in place where it lies so already.
template <class T>
const T* block_of(const Array& in, int64_t offset, int64_t stride, T* room, int64_t n) {
  switch (in.dtype) {
    case DType::f32: {
      const float* from = in.as<float>() + offset;
      if constexpr (std::is_same_v<T, float>) {
        if (stride == 1) return from;
      }
      load(from, stride, room, n);
      return room;
    }
    case DType::f64: {
      const double* from = in.as<double>() + offset;
      if constexpr (std::is_same_v<T, double>) {
        if (stride == 1) return from;
      }
      load(from, stride, room, n);
      return room;
    }
    case DType::i64: load(in.as<int64_t>() + offset, stride, room, n); return room;
    case DType::boolean: load(in.as<uint8_t>() + offset, stride, room, n); return room;
  }
  return room;
}

template <class T>
void store(const T* from, const Array& out, int64_t offset, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    switch (out.dtype) {
      case DType::f32: out.as<float>()[offset + i] = static_cast<float>(from[i]); break;
      case DType::f64: out.as<double>()[offset + i] = static_cast<double>(from[i]); break;
      case DType::i64: out.as<int64_t>()[offset + i] = static_cast<int64_t>(from[i]); break;
      case DType::boolean: out.as<uint8_t>()[offset + i] = from[i] != 0; break;
    }
  }
}

// The loop nest: dimensions that all operands walk alike are merged, so that the inner one is long.
struct Loops {
  Shape shape;
  std::vector<Strides>& strides;  // of the inputs

  Loops(std::span<const Array> in, const Array& out) : strides(room()) {
    static thread_local std::vector<Strides> wide;  // kept from call to call: small calls are many
    wide.clear();
    for (const Array& a : in) wide.push_back(broadcast_strides(a.shape, a.strides, out.shape));
    strides.assign(in.size(), {});
    for (int axis = 0; axis < out.shape.rank(); ++axis) {
      if (out.shape[axis] == 1) continue;
      const auto at = static_cast<size_t>(axis);
      const int last = shape.rank() - 1;
      bool merges = last >= 0;
      for (size_t k = 0; merges && k < in.size(); ++k) {
        merges = strides[k][static_cast<size_t>(last)] == wide[k][at] * out.shape[axis];
      }
      if (merges) {
        shape[last] *= out.shape[axis];
      } else {
        shape.push_back(out.shape[axis]);
      }
      for (size_t k = 0; k < in.size(); ++k) strides[k][static_cast<size_t>(shape.rank() - 1)] = wide[k][at];
    }
    if (shape.rank() == 0) shape.push_back(1);
  }

 private:
  static std::vector<Strides>& room() {
    static thread_local std::vector<Strides> strides;
    return strides;
  }
};

// A thread's registers, kept from call to call.
template <class T>
struct Registers {
  std::vector<T> room;  // kBlock lanes each: of inputs, then of results
  std::vector<const T*> at;
  std::vector<int64_t> offsets;  // of inputs, at the row's start

  static Registers& of_thread(size_t count) {
    static thread_local Registers registers;
    if (registers.at.size() < count) {
      registers.room.resize(count * kBlock);
      registers.at.resize(count);
    }
    return registers;
  }
};

// One thread's run over whole rows of the inner dimension, or over a stretch of the only row.
template <class T>
class Interpreter {
 public:
  Interpreter(const Program& program, std::span<const Array> in, const Array& out, const Loops& loops,
              std::span<const double> scalars)
      : program_(program),
        in_(in),
        out_(out),
        loops_(loops),
        registers_(Registers<T>::of_thread(program.inputs + program.code.size())),
        room_(registers_.room.data()),
        at_(registers_.at.data()) {
    const int64_t longest = std::min(kBlock, loops.shape[loops.shape.rank() - 1]);
    for (size_t k = 0; k < program.code.size(); ++k) {
      const Instruction& ins = program.code[k];
      T* room = room_ + (program.inputs + k) * kBlock;
      at_[program.inputs + k] = room;
      if (lanes::arity(ins.code) > 0) continue;
      const double value = ins.code == Code::number ? ins.number : scalars[ins.scalar];
      std::fill(room, room + longest, static_cast<T>(value));
    }
  }

  void row(int64_t row, int64_t begin, int64_t end) {
    const int inner = loops_.shape.rank() - 1;
    std::vector<int64_t>& offsets = registers_.offsets;
    offsets.assign(in_.size(), 0);
    int64_t rest = row;
    for (int axis = inner; axis-- > 0;) {
      const int64_t index = rest % loops_.shape[axis];
      rest /= loops_.shape[axis];
      for (size_t k = 0; k < in_.size(); ++k) {
        offsets[k] += index * loops_.strides[k][static_cast<size_t>(axis)];
      }
    }
    const int64_t row_start = row * loops_.shape[inner];
    for (int64_t i = begin; i < end; i += kBlock) block(inner, row_start, i, std::min(kBlock, end - i));
  }

 private:
  void block(int inner, int64_t row_start, int64_t i, int64_t n) {
    for (size_t k = 0; k < in_.size(); ++k) {
      const int64_t stride = loops_.strides[k][static_cast<size_t>(inner)];
      at_[k] = block_of<T>(in_[k], registers_.offsets[k] + i * stride, stride, room_ + k * kBlock, n);
    }
    const size_t last = program_.code.size() - 1;
    const bool direct = out_.dtype == dtype_of<T>;
    for (size_t k = 0; k <= last; ++k) {
      const Instruction& ins = program_.code[k];
      if (lanes::arity(ins.code) == 0 && k != last) continue;
      T* to = room_ + (program_.inputs + k) * kBlock;
      if (lanes::arity(ins.code) > 0) {
        if (k == last && direct) to = out_.as<T>() + row_start + i;
        run_block(ins.code, at_[ins.a], at_[ins.b], at_[ins.c], to, n);
      }
      if (k == last && (!direct || lanes::arity(ins.code) == 0)) store(to, out_, row_start + i, n);
    }
  }

  const Program& program_;
  std::span<const Array> in_;
  const Array& out_;
  const Loops& loops_;
  Registers<T>& registers_;
  T* room_;
  const T** at_;
};

int64_t cost_of(const Program& program) {
  int64_t cost = 1;
  for (const Instruction& ins : program.code) {
    cost += ins.code >= Code::exp && ins.code <= Code::erf ? 8 : ins.code == Code::pow ? 32 : 1;
  }
  return cost;
}

template <class T>
void run_as(const Program& program, std::span<const Array> in, const Array& out,
            std::span<const double> scalars) {
  const Loops loops(in, out);
  const int64_t inner = loops.shape[loops.shape.rank() - 1];
  const int64_t rows = loops.shape.numel() / inner;
  const int64_t cost = cost_of(program) * (std::is_same_v<T, double> ? 8 : 1) / 4 + 1;
  const auto blocks = [&](int64_t begin, int64_t end) {
    Interpreter<T> run(program, in, out, loops, scalars);
    if (rows == 1) return run.row(0, begin * kBlock, std::min(end * kBlock, inner));
    for (int64_t r = begin; r < end; ++r) run.row(r, 0, inner);
  };
  if (rows == 1) {
    parallel_for((inner + kBlock - 1) / kBlock, cost * kBlock, blocks);
  } else {
    parallel_for(rows, cost * inner, blocks);
  }
}

}  // namespace

void run_pointwise(const Program& program, std::span<const Array> in, const Array& out,
                   std::span<const double> scalars) {
  if (out.shape.numel() == 0) return;
  bool wide = out.dtype == DType::f64 || out.dtype == DType::i64;
  for (const Array& a : in) wide = wide || a.dtype == DType::f64 || a.dtype == DType::i64;
  if (wide) return run_as<double>(program, in, out, scalars);
  run_as<float>(program, in, out, scalars);
}

namespace {

template <class T>
void copy_rows(const Array& in, const Array& out) {
  const Array* view = &in;
  const Loops loops({view, 1}, out);
  const int inner = loops.shape.rank() - 1;
  const int64_t n = loops.shape[inner];
  const int64_t stride = loops.strides[0][static_cast<size_t>(inner)];
  parallel_for(loops.shape.numel() / n, n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t offset = 0, rest = row;
      for (int axis = inner; axis-- > 0;) {
        offset += rest % loops.shape[axis] * loops.strides[0][static_cast<size_t>(axis)];
        rest /= loops.shape[axis];
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
  static const Program identity = lanes::trace(1, [](const lanes::Inputs& x) { return x[0]; });
  run_pointwise(identity, {&in, 1}, out, {});
}

}  // namespace reel
