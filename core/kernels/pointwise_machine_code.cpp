// Which pointwise programs run as machine code, and what that reads and writes.
#include "core/kernels/pointwise.h"

namespace reel {

using lanes::Code;
using lanes::Instruction;
using lanes::Program;

// Marks what the outputs need, in uses_; how many instructions that is.
size_t PreparedPointwise::find_needed(const Program& program) {
  size_t count = 0;
  uses_.assign(operands_, 0);
  for (const Output& o : outputs_) uses_[o.operand] = 1;
  for (size_t x = operands_; x-- > program.inputs;) {
    if (!uses_[x]) continue;
    const Instruction& ins = program.code[x - program.inputs];
    const int arity = lanes::arity(ins.code);
    count += arity > 0;
    for (int i = 0; i < arity; ++i) uses_[alias_[i == 0 ? ins.a : i == 1 ? ins.b : ins.c]] = 1;
  }
  return count;
}

// What is needed of the program, numbered anew; and in which slots it finds what it reads and writes.
void PreparedPointwise::write_lane_code(const Program& program) {
  using From = LaneCode::From;
  std::vector<uint16_t>& number = free_;
  number.assign(operands_, 0);
  code_ = {};
  addresses_.clear();
  for (size_t x = 0; x < operands_; ++x) {
    if (!uses_[x]) continue;
    number[x] = static_cast<uint16_t>(code_.operands.size());
    const Instruction* ins = x < program.inputs ? nullptr : &program.code[x - program.inputs];
    if (!ins || lanes::arity(ins->code) == 0) {
      code_.operands.push_back(ins || inputs_[x].splat ? From::splat : From::lanes);
      addresses_.push_back(static_cast<uint16_t>(x));
      continue;
    }
    code_.operands.push_back(From::result);
    const auto at = [&](uint16_t operand) { return number[alias_[operand]]; };
    const int arity = lanes::arity(ins->code);
    const uint16_t a = at(ins->a);
    code_.steps.push_back({ins->code, number[x], a, arity > 1 ? at(ins->b) : a, arity > 2 ? at(ins->c) : a});
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    code_.stores.push_back({number[outputs_[j].operand], is_direct(j) && outputs_[j].add});
    addresses_.push_back(static_cast<uint16_t>(operands_ + j));
  }
}

// Whether the machine code writes an output where it lies.
bool PreparedPointwise::is_direct(size_t output) const {
  const Output& o = outputs_[output];
  return !o.sums && o.dtype == DType::f32 &&
         strides_[inputs_.size() + output][static_cast<size_t>(shape_.rank() - 1)] == 1;
}

// All instructions as one loop; false where there is none.
bool PreparedPointwise::find_machine_code(const Program& program) {
  if (wide_) return false;
  for (const Output& o : outputs_) {
    if (narrow_[o.operand]) return false;
  }
  if (find_needed(program) < 2) return false;
  write_lane_code(program);
  loop_ = machine_code(code_);
  if (!loop_) return false;

  const size_t inputs = program.inputs;
  rooms_ = 0;
  for (size_t i = 0; i < inputs; ++i) {
    last_read_[i] = uses_[i] ? 0 : -1;
    if (inputs_[i].packed && uses_[i]) inputs_[i].room = static_cast<uint16_t>(rooms_++);
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    outputs_[j].direct = is_direct(j);
    outputs_[j].slot = static_cast<uint16_t>(operands_ + j);
    if (!outputs_[j].direct) outputs_[j].room = static_cast<uint16_t>(rooms_++);
  }
  for (size_t x = inputs; x < operands_; ++x) {
    const Instruction& ins = program.code[x - inputs];
    if (uses_[x] && lanes::arity(ins.code) == 0)
      constants_.push_back({static_cast<uint16_t>(x), ins.scalar, ins.code == Code::number, ins.number});
  }
  return true;
}

}  // namespace reel
