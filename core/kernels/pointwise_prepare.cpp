// What of a pointwise program depends on shapes, strides and types alone.
#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/kernels/loops.h"
#include "core/kernels/parallel.h"
#include "core/kernels/pointwise.h"

namespace reel {

using lanes::Code;
using lanes::Instruction;
using lanes::Program;

namespace {

int64_t cost_of(Code code) { return code >= Code::exp && code <= Code::erf ? 8 : code == Code::pow ? 32 : 1; }

// Sums over the first axis are made in at most so many chunks of at least so much work, whatever the threads.
constexpr int64_t kChunks = 16;
constexpr int64_t kChunkWork = 2 * kWorkPerThread;

bool sums_over(const Shape& from, const Shape& space, int axis) {
  const int own = axis - (space.rank() - from.rank());
  return space[axis] != 1 && (own < 0 || from[own] == 1);
}

void check_broadcasts(const Shape& from, const Shape& space, const char* what) {
  Shape joined;
  if (!broadcast(from, space, joined) || !(joined == space)) {
    fail("pointwise program: {} of shape {} does not broadcast to {}", what, from, space);
  }
}

}  // namespace

void PreparedPointwise::prepare(const Program& program, std::span<const Array> in, const Shape& space,
                                std::span<const PointwiseOutput> out) {
  const size_t results = std::max<size_t>(program.outputs.size(), 1);
  if (in.size() != program.inputs || out.size() != results) {
    fail("pointwise program: got {} inputs and {} outputs, want {} and {}", in.size(), out.size(),
         program.inputs, results);
  }
  read_operands(program, in, space, out);
  bare_ = false;
  if (numel_ > 0) {
    read_program(program);
    choose_block();
    row_size_ = rows_ > 0 ? shape_[0] / rows_ : 1;
    bare_ = loop_ && rooms_ == 0 && shape_.rank() <= 2 && addresses_.size() <= kMostAddresses;
  }
}

void PreparedPointwise::read_operands(const Program& program, std::span<const Array> in, const Shape& space,
                                      std::span<const PointwiseOutput> out) {
  strides_.clear();
  dtypes_.clear();
  inputs_.assign(in.size(), {});
  outputs_.clear();
  operands_ = program.inputs + program.code.size();
  rows_ = space.rank() > 0 ? space[0] : 1;
  numel_ = space.numel();
  int64_t element = 0;
  for (const Instruction& ins : program.code) element += cost_of(ins.code);
  wide_ = false;
  for (const Array& a : in) {
    check_broadcasts(a.shape, space, "an input");
    strides_.push_back(broadcast_strides(a.shape, a.strides, space));
    dtypes_.push_back(a.dtype);
  }
  for (const PointwiseOutput& o : out) dtypes_.push_back(o.array.dtype);
  for (DType t : dtypes_) wide_ = wide_ || t == DType::f64 || t == DType::i64;
  cost_ = numel_ * (element * (wide_ ? 8 : 1) / 4 + 1);

  int first = 0;
  while (first + 1 < space.rank() && space[first] == 1) ++first;
  bool sums_first = false;
  for (const PointwiseOutput& o : out) {
    sums_first = sums_first || (space.rank() > 0 && sums_over(o.array.shape, space, first));
  }
  chunks_ = sums_first ? std::clamp<int64_t>(cost_ / kChunkWork, 1, kChunks) : 1;
  sums_ = sums_rows_ = partial_ = false;
  for (size_t k = 0; k < out.size(); ++k) {
    const Array& a = out[k].array;
    check_broadcasts(a.shape, space, "an output");
    Output o{};
    o.operand = program.outputs.empty() ? static_cast<uint16_t>(operands_ - 1) : program.outputs[k];
    if (o.operand >= operands_)
      fail("pointwise program: output {} is operand {} of {}", k, o.operand, operands_);
    o.dtype = a.dtype;
    o.add = out[k].add;
    for (int axis = 0; axis < space.rank(); ++axis) o.sums = o.sums || sums_over(a.shape, space, axis);
    const bool own_type = a.dtype == (wide_ ? DType::f64 : DType::f32);
    const bool over_first = o.sums && sums_over(a.shape, space, first);
    o.partial = o.sums && (!own_type || (over_first && chunks_ > 1));
    o.numel = a.shape.numel();
    o.shape = a.shape;
    o.strides = a.strides;
    strides_.push_back(broadcast_strides(a.shape, o.partial ? row_major(a.shape) : a.strides, space));
    sums_ = sums_ || o.sums;
    partial_ = partial_ || o.partial;
    sums_rows_ = sums_rows_ || over_first || o.partial;
    outputs_.push_back(o);
  }
  if (numel_ > 0) shape_ = merge_loops(space, strides_);
  chunks_ = numel_ > 0 ? std::min(chunks_, shape_[0]) : 1;
}

// Which operand stands for which, and which are one number a row.
void PreparedPointwise::find_operands(const Program& program) {
  const size_t inputs = program.inputs;
  const auto inner = static_cast<size_t>(shape_.rank() - 1);
  const auto is_number = [&](uint16_t x) {
    return x >= inputs && program.code[x - inputs].code == Code::number;
  };

  // select(number, b, c) is one of the two: so are bare inputs traced.
  alias_.resize(operands_);
  for (size_t x = 0; x < operands_; ++x) {
    alias_[x] = static_cast<uint16_t>(x);
    if (x < inputs) continue;
    const Instruction& ins = program.code[x - inputs];
    for (int k = 0; k < lanes::arity(ins.code); ++k) {
      if ((k == 0 ? ins.a : k == 1 ? ins.b : ins.c) >= x)
        fail("pointwise program: instruction {} reads ahead", x - inputs);
    }
    if (ins.code == Code::select && is_number(alias_[ins.a])) {
      alias_[x] = alias_[program.code[alias_[ins.a] - inputs].number != 0 ? ins.b : ins.c];
    }
  }
  for (Output& o : outputs_) o.slot = o.operand = alias_[o.operand];
  narrow_.assign(operands_, 0);
  for (size_t x = 0; x < operands_; ++x) {
    if (x < inputs) {
      narrow_[x] = strides_[x][inner] == 0;
      continue;
    }
    const Instruction& ins = program.code[x - inputs];
    const int arity = lanes::arity(ins.code);
    narrow_[x] = (arity < 1 || narrow_[alias_[ins.a]]) && (arity < 2 || narrow_[alias_[ins.b]]) &&
                 (arity < 3 || narrow_[alias_[ins.c]]);
  }
  const DType lane = wide_ ? DType::f64 : DType::f32;
  for (size_t i = 0; i < inputs; ++i) {
    const int64_t stride = strides_[i][inner];
    inputs_[i].splat = stride == 0;
    inputs_[i].packed = dtypes_[i] != lane || (stride != 0 && stride != 1);
  }
}

// Which instructions are needed, what they write, and in which register: that of a result read for the last
// time is taken by the next.
void PreparedPointwise::read_program(const Program& program) {
  const size_t inputs = program.inputs;
  const auto inner = static_cast<size_t>(shape_.rank() - 1);
  const auto count = static_cast<int>(program.code.size());
  find_operands(program);
  loop_ = nullptr;
  steps_.clear();
  constants_.clear();
  hazards_.clear();
  last_read_.assign(operands_, -1);
  if (find_machine_code(program)) return;
  for (size_t j = 0; j < outputs_.size(); ++j) last_read_[outputs_[j].operand] = count + static_cast<int>(j);
  pair_instructions(program);
  for (int k = count; k-- > 0;) {
    const size_t x = inputs + static_cast<size_t>(k);
    const Instruction& ins = program.code[static_cast<size_t>(k)];
    if (last_read_[x] < 0) continue;
    const auto read = [&](uint16_t operand) {
      int& last = last_read_[alias_[operand]];
      last = std::max(last, k);
    };
    if (pairs_[x].kernel) {  // the first of the two is not run, its operands are read here
      const Instruction& first = program.code[pairs_[x].first - inputs];
      read(first.a);
      read(first.b);
      if (lanes::arity(ins.code) == 2) read(pairs_[x].other);
      continue;
    }
    const int arity = lanes::arity(ins.code);
    for (int i = 0; i < arity; ++i) read(i == 0 ? ins.a : i == 1 ? ins.b : ins.c);
  }

  const DType lane = wide_ ? DType::f64 : DType::f32;
  rooms_ = 0;
  for (Input& input : inputs_) input.room = static_cast<uint16_t>(rooms_++);
  free_.clear();
  for (int k = 0; k < count; ++k) {
    const auto x = static_cast<uint16_t>(inputs + static_cast<size_t>(k));
    const Instruction& ins = program.code[static_cast<size_t>(k)];
    if (last_read_[x] < 0) continue;
    int arity = lanes::arity(ins.code);
    if (arity == 0) {
      constants_.push_back({x, ins.scalar, ins.code == Code::number, ins.number});
      continue;
    }
    Step step{};
    if (wide_) {
      step.f64 = lane_kernel<double>(ins.code);
    } else {
      step.f32 = lane_kernel<float>(ins.code);
    }
    step.out = x;
    step.a = alias_[ins.a];
    step.b = arity > 1 ? alias_[ins.b] : step.a;
    step.c = arity > 2 ? alias_[ins.c] : step.a;
    if (const Pair& pair = pairs_[x]; pair.kernel) {
      const Instruction& first = program.code[pair.first - inputs];
      step.f32 = pair.kernel;
      step.a = alias_[first.a];
      step.b = alias_[first.b];
      step.c = arity == 2 ? pair.other : step.b;
      ++arity;
    }
    step.narrow = narrow_[step.a] && narrow_[step.b] && narrow_[step.c];
    for (size_t j = 0; j < outputs_.size() && !step.narrow && !step.direct; ++j) {
      Output& o = outputs_[j];
      if (o.operand != x || o.add || o.sums || o.dtype != lane) continue;
      if (strides_[inputs + j][inner] != 1) continue;
      o.direct = step.direct = true;
    }
    // A register whose last reader this is: where rows are numbers, not before the instruction is through.
    const auto release = [&](bool narrow) {
      const uint16_t reads[] = {step.a, step.b, step.c};
      for (int i = 0; i < arity; ++i) {
        bool again = false;
        for (int before = 0; before < i; ++before) again = again || reads[before] == reads[i];
        if (again || reads[i] < inputs || last_read_[reads[i]] != k || narrow_[reads[i]] != narrow) continue;
        for (const Step& s : steps_) {
          if (s.out == reads[i] && !s.direct) free_.push_back(s.room);
        }
      }
    };
    release(step.narrow);
    if (!step.direct) {
      if (free_.empty()) {
        step.room = static_cast<uint16_t>(rooms_++);
      } else {
        step.room = free_.back();
        free_.pop_back();
      }
    }
    release(!step.narrow);
    steps_.push_back(step);
  }
  find_hazards(program);
}

// A result that one instruction alone reads is made where it is read, if there is a kernel for the two.
void PreparedPointwise::pair_instructions(const Program& program) {
  const size_t inputs = program.inputs;
  pairs_.assign(operands_, {});
  if (wide_) return;
  uses_.assign(operands_, 0);
  for (const Output& o : outputs_) uses_[o.operand] = 2;
  for (size_t x = operands_; x-- > inputs;) {
    if (uses_[x] == 0) continue;
    const Instruction& ins = program.code[x - inputs];
    const int arity = lanes::arity(ins.code);
    for (int i = 0; i < arity; ++i) {
      uint16_t& uses = uses_[alias_[i == 0 ? ins.a : i == 1 ? ins.b : ins.c]];
      uses = static_cast<uint16_t>(std::min(uses + 1, 2));
    }
  }
  for (size_t x = operands_; x-- > inputs;) {
    const Instruction& ins = program.code[x - inputs];
    const int arity = lanes::arity(ins.code);
    for (int side = 0; side < std::min(arity, 2) && uses_[x] > 0; ++side) {
      const uint16_t m = alias_[side == 0 ? ins.a : ins.b];
      if (m < inputs || uses_[m] != 1 || pairs_[x].kernel) continue;
      const Instruction& first = program.code[m - inputs];
      const uint16_t other = arity == 2 ? alias_[side == 0 ? ins.b : ins.a] : m;
      if (lanes::arity(first.code) != 2) continue;
      const int splats =
          narrow_[alias_[first.a]] + narrow_[alias_[first.b]] + (arity == 2 ? narrow_[other] : 0);
      if (splats > 1) continue;
      const LaneKernel<float> kernel = lane_kernel(first.code, ins.code, side == 0);
      if (!kernel) continue;
      pairs_[x] = {kernel, m, other};
      uses_[m] = 0;  // run with x, and in no other pair
    }
  }
}

void PreparedPointwise::find_hazards(const Program& program) {
  const auto count = static_cast<int>(program.code.size());
  for (size_t j = 0; j < outputs_.size(); ++j) {
    const Output& o = outputs_[j];
    if (o.sums) continue;
    const int written = o.direct ? o.operand - program.inputs : count + static_cast<int>(j);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i].packed || inputs_[i].splat || last_read_[i] <= written) continue;
      if (dtypes_[i] == o.dtype) hazards_.push_back({static_cast<uint16_t>(i), static_cast<uint16_t>(j)});
    }
  }
}

// As many lanes as registers leave room for in L1; several rows where they are short.
void PreparedPointwise::choose_block() {
  constexpr int64_t kRoom = 24 * 1024;
  inner_ = shape_[shape_.rank() - 1];
  if (loop_ && rooms_ == 0) {  // all there is
    width_ = inner_;
    block_rows_ = shape_.rank() > 1 ? shape_[shape_.rank() - 2] : 1;
    return;
  }
  size_t live = 0;
  for (const Input& input : inputs_) live += input.packed;
  live += loop_ ? rooms_ : rooms_ - inputs_.size() + outputs_.size();
  const auto bytes = static_cast<int64_t>(std::max<size_t>(live, 1) * (wide_ ? 8 : 4));
  width_ = std::clamp<int64_t>(kRoom / bytes / 128 * 128, 128, 512);
  block_rows_ = std::max<int64_t>(1, width_ / inner_);
  if (block_rows_ > 1 || inner_ <= width_) {
    width_ = inner_;
  } else {  // blocks of one length rather than a short last one
    const int64_t pieces = (inner_ + width_ - 1) / width_;
    width_ = ((inner_ + pieces - 1) / pieces + 15) / 16 * 16;
  }
}

// Whether an input and an output share no element. What lies within the other's reach may still be other
// columns of the same rows.
bool PreparedPointwise::apart(size_t input, size_t output, const std::byte* a, const std::byte* b) const {
  const Strides &sa = strides_[input], &sb = strides_[inputs_.size() + output];
  const auto bytes = static_cast<int64_t>(size(input));
  const auto reach = [&](const Strides& s, int64_t& low, int64_t& high) {
    low = 0;
    high = bytes;
    for (int axis = 0; axis < shape_.rank(); ++axis) {
      const int64_t far = s[static_cast<size_t>(axis)] * (shape_[axis] - 1) * bytes;
      (far < 0 ? low : high) += far;
    }
  };
  int64_t low_a, high_a, low_b, high_b;
  reach(sa, low_a, high_a);
  reach(sb, low_b, high_b);
  if (a + high_a <= b + low_b || b + high_b <= a + low_a) return true;
  if (shape_.rank() != 2 || sa[0] != sb[0] || sa[1] != 1 || sb[1] != 1 || sa[0] <= 0) return false;
  const int64_t row = sa[0] * bytes, used = shape_[1] * bytes;
  const int64_t gap = ((b - a) % row + row) % row;
  return gap >= used && row - gap >= used;
}

}  // namespace reel
