// A pointwise program as one loop of machine code over rows of lanes (LaneCode).
#pragma once

#include <algorithm>

#include "core/kernels/machine_code.h"
#include "core/kernels/vector_assembler.h"

namespace reel {

// False where an instruction is not among those that follow.
inline bool has_instructions(lanes::Code code) {
  using lanes::Code;
  switch (code) {
    case Code::sign:
    case Code::log:
    case Code::log1p:
    case Code::expm1:
    case Code::erf:
    case Code::pow: return false;
    default: return true;
  }
}

template <class F>
void each_operand(const LaneCode::Step& step, const F& f) {
  const int arity = lanes::arity(step.code);
  f(step.a);
  if (arity > 1) f(step.b);
  if (arity > 2) f(step.c);
}

class LoopAssembler : public VectorAssembler {
 public:
  // `width`: vectors at a time.
  LoopAssembler(const LaneCode& code, int width)
      : VectorAssembler(kMostBytes), code_(code), values_(code.operands.size()) {
    for (size_t x = 0; x < values_.size(); ++x) {
      if (code.operands[x] != LaneCode::From::result) values_[x].address = inputs_++;
    }
    function(width);
    setProtectModeRE();
  }
  LaneLoop loop() const { return getCode<LaneLoop>(); }

 private:
  using Code = lanes::Code;
  using Reg64 = Xbyak::Reg64;
  static constexpr size_t kMostBytes = 32 << 10;
  static constexpr int kMostPermanent = 14;

  struct Value {
    int address = -1;  // among the call's; -1: a result
    Vectors reg{-1, -1};
    int uses = 0;            // to come
    bool permanent = false;  // in its register for the whole row
    bool pinned = false;     // an operand of the present instruction

    bool held() const { return reg[0] >= 0; }
    bool input() const { return address >= 0; }
  };

  // ---- The loops ----

  // rdi: addresses, rsi: rows to go, rdx: bytes of a row, rcx: bytes done, r10: where the last whole `width`
  // vectors begin, rax and r9: whatever.
  void function(int width) {
    const Reg64 saved[] = {rbx, rbp, r12, r13, r14, r15};
    for (const Reg64& r : saved) push(r);
    shl(rdx, 2);
    lea(r10, ptr[rdx - 64 * width]);
    find_numbers();
    const int addresses = inputs_ + static_cast<int>(code_.stores.size());
    Xbyak::Label row, vectors, rest, row_done;
    L(row);
    for (int k = 0; k < std::min(addresses, kPointers); ++k) mov(pointer(k), ptr[rdi + 16 * k]);
    begin_row();
    xor_(ecx, ecx);
    L(vectors);
    cmp(rcx, r10);
    jg(rest, T_NEAR);
    body(width, false);
    add(rcx, 64 * width);
    jmp(vectors, T_NEAR);
    L(rest);  // a vector at a time, the last in part: k1 says which lanes
    mov(rax, rdx);
    sub(rax, rcx);
    jle(row_done, T_NEAR);
    shr(rax, 2);
    mov(r9d, 16);
    cmp(rax, r9);
    cmovg(rax, r9);
    mov(r9d, -1);
    bzhi(r9d, r9d, eax);
    kmovw(k1, r9d);
    body(1, true);
    add(rcx, 64);
    jmp(rest, T_NEAR);
    L(row_done);
    for (int k = 0; k < addresses; ++k) {
      mov(rax, ptr[rdi + 16 * k + 8]);
      add(ptr[rdi + 16 * k], rax);
    }
    dec(rsi);
    jnz(row, T_NEAR);
    vzeroupper();
    for (size_t k = std::size(saved); k-- > 0;) pop(saved[k]);
    ret();
  }

  // What is the same for all lanes of a row is made once: numbers, and what is computed from numbers alone.
  void begin_row() {
    width_ = 1;
    masked_ = false;
    free_.clear();
    for (int r = 32; r-- > 0;) free_.push_back(r);
    int permanent = 0;
    const auto keep = [&](Value& v) {
      if (++permanent > kMostPermanent) throw Impossible();
      v.permanent = true;
      v.reg[1] = v.reg[0];
    };
    for (size_t x = 0; x < values_.size(); ++x) {
      if (code_.operands[x] != LaneCode::From::splat) continue;
      values_[x].reg = take();
      vbroadcastss(Zmm(values_[x].reg[0]), ptr[base(values_[x].address)]);
      keep(values_[x]);
    }
    for (const LaneCode::Step& step : code_.steps) {
      bool numbers = true;
      each_operand(step, [&](uint16_t x) { numbers = numbers && values_[x].permanent; });
      if (!numbers) continue;
      each_operand(step, [&](uint16_t x) { ++values_[x].uses; });
      emit(step);
      keep(values_[step.out]);
    }
    row_free_ = free_;
    row_values_ = values_;
  }

  void body(int width, bool masked) {
    width_ = width;
    masked_ = masked;
    free_ = row_free_;
    values_ = row_values_;
    stored_ = 0;
    const auto made_here = [&](const LaneCode::Step& step) { return !row_values_[step.out].permanent; };
    for (const LaneCode::Step& step : code_.steps) {
      if (made_here(step)) each_operand(step, [&](uint16_t x) { ++values_[x].uses; });
    }
    for (const LaneCode::Store& store : code_.stores) ++values_[store.operand].uses;
    for (const LaneCode::Step& step : code_.steps) {
      if (!made_here(step)) continue;
      emit(step);
      store_ready();
    }
    for (size_t k = stored_; k < code_.stores.size(); ++k) use(code_.stores[k].operand);
    while (stored_ < code_.stores.size()) store();
  }

  // ---- Memory ----

  // Nothing is stored before all is loaded: it may lie where an input lies.
  void store_ready() {
    for (const Value& v : values_) {
      if (v.input() && !v.held() && v.uses > 0) return;
    }
    while (stored_ < code_.stores.size() && values_[code_.stores[stored_].operand].held()) store();
  }
  void store() {
    const LaneCode::Store& store = code_.stores[stored_];
    const Vectors from = use(store.operand);
    const int address = inputs_ + static_cast<int>(stored_++);
    if (store.add) {
      const Vectors sum = take();
      load(sum, address);
      each([&](size_t k) { vaddps(Zmm(sum[k]), Zmm(sum[k]), Zmm(from[k])); });
      write(address, sum);
      give(sum);
    } else {
      write(address, from);
    }
    spend(store.operand);
  }

  static constexpr int kPointers = 7;
  Reg64 pointer(int k) const {
    const Reg64 all[kPointers] = {r8, rbx, rbp, r12, r13, r14, r15};
    return all[k];
  }
  // The register that holds an address.
  Reg64 base(int address) {
    if (address < kPointers) return pointer(address);
    mov(rax, ptr[rdi + 16 * address]);
    return rax;
  }
  void load(const Vectors& to, int address) {
    const Reg64 from = base(address);
    each([&](size_t k) {
      const Zmm v(to[k]);
      const Xbyak::Address at = ptr[from + rcx + 64 * k];
      masked_ ? vmovups(v | k1 | T_z, at) : vmovups(v, at);
    });
  }
  void write(int address, const Vectors& from) {
    const Reg64 to = base(address);
    each([&](size_t k) {
      const Xbyak::Address at = ptr[to + rcx + 64 * k];
      masked_ ? vmovups(at | k1, Zmm(from[k])) : vmovups(at, Zmm(from[k]));
    });
  }

  // ---- Values ----

  // An input can be loaded again, while nothing is overwritten.
  void make_room() override {
    for (Value& v : values_) {
      if (!v.held() || !v.input() || v.permanent || v.pinned || stored_ > 0) continue;
      give(v.reg);
      v.reg = {-1, -1};
      return;
    }
    throw Impossible();
  }
  Vectors use(uint16_t x) {
    Value& v = values_[x];
    v.pinned = true;
    if (!v.held()) {
      const Vectors to = take();
      load(to, v.address);
      v.reg = to;
    }
    return v.reg;
  }
  void spend(uint16_t x) {
    Value& v = values_[x];
    v.pinned = false;
    if (--v.uses > 0 || v.permanent || !v.held()) return;
    give(v.reg);
    v.reg = {-1, -1};
  }
  // Read once, and not yet: an instruction reads it where it lies.
  bool in_memory(uint16_t x) const { return !values_[x].held() && values_[x].uses == 1 && !masked_; }

  // ---- Instructions ----

  void emit(const LaneCode::Step& step) {
    const int arity = lanes::arity(step.code);
    values_[step.out].reg = arity == 1 ? unary(step) : arity == 2 ? binary(step) : ternary(step);
  }

  Vectors unary(const LaneCode::Step& step) {
    const Vectors x = use(step.a), to = take();
    switch (step.code) {
      case Code::neg: negate(to, x); break;
      case Code::abs: magnitude(to, x); break;
      case Code::sqrt: root(to, x); break;
      case Code::exp: exp(to, x); break;
      case Code::tanh: tanh(to, x); break;
      case Code::sigmoid: sigmoid(to, x); break;
      default: throw Impossible();
    }
    spend(step.a);
    return to;
  }

  Vectors binary(const LaneCode::Step& step) {
    const bool either = step.code == Code::add || step.code == Code::mul;
    const bool swapped = either && in_memory(step.a) && !in_memory(step.b);
    const uint16_t first = swapped ? step.b : step.a, second = swapped ? step.a : step.b;
    const Vectors a = use(first);
    const bool memory = second != first && in_memory(second);
    const Vectors b = memory ? Vectors{} : use(second);
    const bool one_instruction = step.code <= Code::div;
    Vectors to{};
    if (!one_instruction) to = take();
    spend(first);
    spend(second);
    if (one_instruction) to = take();  // where an operand was, if that is done with
    const Reg64 from = memory ? base(values_[second].address) : rax;
    each([&](size_t k) {
      if (memory) {
        instruction(step.code, k, Zmm(to[k]), Zmm(a[k]), ptr[from + rcx + 64 * k]);
      } else {
        instruction(step.code, k, Zmm(to[k]), Zmm(a[k]), Zmm(b[k]));
      }
    });
    return to;
  }
  void instruction(Code code, size_t k, const Zmm& to, const Zmm& a, const Xbyak::Operand& b) {
    switch (code) {
      case Code::add: return vaddps(to, a, b);
      case Code::sub: return vsubps(to, a, b);
      case Code::mul: return vmulps(to, a, b);
      case Code::div: return vdivps(to, a, b);
      case Code::min: vminps(to, a, b); return unordered_to_nan(k, to, a, b);
      case Code::max: vmaxps(to, a, b); return unordered_to_nan(k, to, a, b);
      case Code::less: return compare(k, to, a, b, 17);
      case Code::less_equal: return compare(k, to, a, b, 18);
      case Code::equal: return compare(k, to, a, b, 0);
      default: throw Impossible();
    }
  }
  void unordered_to_nan(size_t k, const Zmm& to, const Zmm& a, const Xbyak::Operand& b) {
    vcmpps(mask(k), a, b, 3);
    vaddps(to | mask(k), a, b);
  }
  void compare(size_t k, const Zmm& to, const Zmm& a, const Xbyak::Operand& b, uint8_t predicate) {
    vcmpps(mask(k), a, b, predicate);
    vbroadcastss(to | mask(k) | T_z, ptr[at(&Numbers::one)]);
  }

  Vectors ternary(const LaneCode::Step& step) {
    const Vectors a = use(step.a), b = use(step.b), c = use(step.c), to = take();
    select(to, a, b, c);
    spend(step.a);
    spend(step.b);
    spend(step.c);
    return to;
  }

  const LaneCode& code_;
  int inputs_ = 0;  // addresses that come before those of the stores
  std::vector<Value> values_, row_values_;
  std::vector<int> row_free_;
  size_t stored_ = 0;
  bool masked_ = false;
};

}  // namespace reel
