// Which pointwise programs run as machine code, and what that reads and writes.
#include "core/kernels/pointwise.h"

namespace reel {

using lanes::Code;
using lanes::Instruction;
using lanes::Program;

// All instructions as one loop: what is needed of the program, numbered anew.
bool PreparedPointwise::find_machine_code(const Program& program) {
  constexpr uint16_t kNone = 0xffff;
  const size_t inputs = program.inputs, inner = static_cast<size_t>(shape_.rank() - 1);
  uses_.assign(operands_, 0);
  for (const Output& o : outputs_) {
    if (narrow_[o.operand]) return false;
    uses_[o.operand] = 1;
  }
  size_t count = 0;
  for (size_t x = operands_; x-- > inputs;) {
    const Instruction& ins = program.code[x - inputs];
    if (!uses_[x]) continue;
    const int arity = lanes::arity(ins.code);
    count += arity > 0;
    for (int i = 0; i < arity; ++i) uses_[alias_[i == 0 ? ins.a : i == 1 ? ins.b : ins.c]] = 1;
  }
  if (wide_ || count < 2) return false;

  using From = LaneCode::From;
  std::vector<uint16_t>& number = free_;
  number.assign(operands_, kNone);
  code_ = {};
  addresses_.clear();
  for (size_t x = 0; x < operands_; ++x) {
    if (!uses_[x]) continue;
    number[x] = static_cast<uint16_t>(code_.operands.size());
    const Instruction* ins = x < inputs ? nullptr : &program.code[x - inputs];
    const bool result = ins && lanes::arity(ins->code) > 0;
    code_.operands.push_back(result ? From::result : ins || inputs_[x].splat ? From::splat : From::lanes);
    if (!result) addresses_.push_back(static_cast<uint16_t>(x));
    if (!result || !ins) continue;
    const auto at = [&](uint16_t operand) { return number[alias_[operand]]; };
    const int arity = lanes::arity(ins->code);
    const uint16_t a = at(ins->a);
    code_.steps.push_back({ins->code, number[x], a, arity > 1 ? at(ins->b) : a, arity > 2 ? at(ins->c) : a});
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    Output& o = outputs_[j];
    o.direct = !o.sums && o.dtype == DType::f32 && strides_[inputs + j][inner] == 1;
    code_.stores.push_back({number[o.operand], o.direct && o.add});
    addresses_.push_back(static_cast<uint16_t>(operands_ + j));
  }
  loop_ = machine_code(code_);
  if (!loop_) {
    for (Output& o : outputs_) o.direct = false;
    return false;
  }

  rooms_ = 0;
  for (size_t i = 0; i < inputs; ++i) {
    last_read_[i] = uses_[i] ? 0 : -1;
    if (inputs_[i].packed && uses_[i]) inputs_[i].room = static_cast<uint16_t>(rooms_++);
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
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
