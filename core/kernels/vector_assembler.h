// Formulas over vectors of f32 as AVX-512 instructions: those of math-inl.h, which explains them, to the same
// bits.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include <xbyak/xbyak.h>

namespace reel {

// Numbers of the formulas.
enum Number : uint8_t {
  kOne,
  kTwo,
  kLog2e,
  kLn2High,
  kLn2Low,
  kC0,
  kC1,
  kC2,
  kC3,
  kC4,
  kC5,
  kTop,
  kLowExp,
  kLowTanh,
  kSign,
  kRest
};
constexpr uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
alignas(64) inline constexpr std::array<uint32_t, 16> kNumbers = {bits_of(1.f),
                                                                  bits_of(2.f),
                                                                  bits_of(1.44269504f),
                                                                  bits_of(-0.693145751953125f),
                                                                  bits_of(-1.428606765330187045e-6f),
                                                                  bits_of(0.5f),
                                                                  bits_of(0.166666671633720397949219f),
                                                                  bits_of(0.0416664853692054748535156f),
                                                                  bits_of(0.00833336077630519866943359f),
                                                                  bits_of(0.00139304355252534151077271f),
                                                                  bits_of(0.000198527617612853646278381f),
                                                                  bits_of(100.f),
                                                                  bits_of(-104.f),
                                                                  bits_of(-40.f),
                                                                  0x80000000u,
                                                                  0x7fffffffu};

// One vector or two, each in a register: what is done to both is written side by side, since one formula's
// instructions wait for each other.
using Vectors = std::array<int, 2>;

class VectorAssembler : public Xbyak::CodeGenerator {
 public:
  struct Impossible {};  // registers ran out

 protected:
  using Zmm = Xbyak::Zmm;
  explicit VectorAssembler(size_t bytes) : CodeGenerator(bytes, Xbyak::DontSetProtectRWE) {}

  // ---- Registers ----

  int width_ = 1;  // vectors at a time
  std::vector<int> free_;
  virtual void make_room() { throw Impossible(); }  // frees a register

  template <class F>
  void each(const F& f) const {
    for (size_t k = 0; k < static_cast<size_t>(width_); ++k) f(k);
  }
  int take_one() {
    if (free_.empty()) make_room();
    const int reg = free_.back();
    free_.pop_back();
    return reg;
  }
  Vectors take() {
    Vectors v{-1, -1};
    each([&](size_t k) { v[k] = take_one(); });
    return v;
  }
  void give(
      const Vectors& v) {  // the next to be taken: its first where the first was, so that it may overwrite it
    for (size_t k = static_cast<size_t>(width_); k-- > 0;) free_.push_back(v[k]);
  }

  // ---- Numbers: r11 holds where they lie ----

  void find_numbers() { mov(r11, reinterpret_cast<uintptr_t>(kNumbers.data())); }
  Xbyak::Address number(Number n) { return ptr_b[r11 + 4 * n]; }
  void set(const Vectors& to, Number n) {
    each([&](size_t k) { vbroadcastss(Zmm(to[k]), ptr[r11 + 4 * n]); });
  }
  Vectors taken(Number n) {
    const Vectors v = take();
    set(v, n);
    return v;
  }

  // ---- Formulas ----

  static Xbyak::Opmask mask(size_t k) { return Xbyak::Opmask(static_cast<int>(k) + 2); }

  void negate(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpxord(Zmm(to[k]), Zmm(x[k]), number(kSign)); });
  }
  void magnitude(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpandd(Zmm(to[k]), Zmm(x[k]), number(kRest)); });
  }
  void minus_magnitude(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpord(Zmm(to[k]), Zmm(x[k]), number(kSign)); });
  }
  void root(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vsqrtps(Zmm(to[k]), Zmm(x[k])); });
  }
  // The larger of x and a number; NaN stays.
  void at_least(const Vectors& x, Number n) {
    const Vectors low = taken(n);
    each([&](size_t k) { vmaxps(Zmm(x[k]), Zmm(low[k]), Zmm(x[k])); });
    give(low);
  }
  void select(const Vectors& to, const Vectors& a, const Vectors& b, const Vectors& c) {
    each([&](size_t k) {
      vfpclassps(mask(k), Zmm(a[k]), 0x06);  // zeros of either sign
      vblendmps(Zmm(to[k]) | mask(k), Zmm(b[k]), Zmm(c[k]));
    });
  }

  // For x = power ln 2 + r: e^r - 1, and r where x was.
  void reduce_exp(const Vectors& x, const Vectors& power, const Vectors& p) {
    each([&](size_t k) { vmulps(Zmm(power[k]), Zmm(x[k]), number(kLog2e)); });
    each([&](size_t k) { vrndscaleps(Zmm(power[k]), Zmm(power[k]), 8); });
    each([&](size_t k) { vfmadd231ps(Zmm(x[k]), Zmm(power[k]), number(kLn2High)); });
    each([&](size_t k) { vfmadd231ps(Zmm(x[k]), Zmm(power[k]), number(kLn2Low)); });
    const Vectors square = take(), u = taken(kC5), v = taken(kC3);
    set(p, kC1);
    each([&](size_t k) { vmulps(Zmm(square[k]), Zmm(x[k]), Zmm(x[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(u[k]), Zmm(x[k]), number(kC4)); });
    each([&](size_t k) { vfmadd213ps(Zmm(v[k]), Zmm(x[k]), number(kC2)); });
    each([&](size_t k) { vfmadd213ps(Zmm(p[k]), Zmm(x[k]), number(kC0)); });
    each([&](size_t k) { vfmadd231ps(Zmm(p[k]), Zmm(v[k]), Zmm(square[k])); });
    each([&](size_t k) { vmulps(Zmm(v[k]), Zmm(square[k]), Zmm(square[k])); });
    each([&](size_t k) { vfmadd231ps(Zmm(p[k]), Zmm(u[k]), Zmm(v[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(p[k]), Zmm(square[k]), Zmm(x[k])); });
    give(square);
    give(u);
    give(v);
  }
  void exp_within(const Vectors& to, const Vectors& x) {  // x is spent
    const Vectors power = take();
    reduce_exp(x, power, to);
    each([&](size_t k) { vaddps(Zmm(to[k]), Zmm(to[k]), number(kOne)); });
    each([&](size_t k) { vscalefps(Zmm(to[k]), Zmm(to[k]), Zmm(power[k])); });
    give(power);
  }
  void quotient(const Vectors& to, const Vectors& a, const Vectors& b) {  // 1 <= b <= 2; a is spent
    const Vectors guess = take(), inverse = taken(kOne);
    each([&](size_t k) { vrcp14ps(Zmm(guess[k]), Zmm(b[k])); });
    each([&](size_t k) { vfnmadd231ps(Zmm(inverse[k]), Zmm(b[k]), Zmm(guess[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(inverse[k]), Zmm(guess[k]), Zmm(guess[k])); });
    each([&](size_t k) { vmulps(Zmm(to[k]), Zmm(a[k]), Zmm(inverse[k])); });
    each([&](size_t k) { vfnmadd231ps(Zmm(a[k]), Zmm(to[k]), Zmm(b[k])); });
    each([&](size_t k) { vfmadd231ps(Zmm(to[k]), Zmm(a[k]), Zmm(inverse[k])); });
    give(guess);
    give(inverse);
  }

  void exp(const Vectors& to, const Vectors& x) {
    const Vectors r = taken(kTop);
    each([&](size_t k) { vminps(Zmm(r[k]), Zmm(r[k]), Zmm(x[k])); });
    at_least(r, kLowExp);
    exp_within(to, r);
    give(r);
  }
  void sigmoid(const Vectors& to, const Vectors& x) {
    const Vectors r = take(), e = take();
    minus_magnitude(r, x);
    at_least(r, kLowExp);
    exp_within(e, r);
    set(r, kOne);
    each([&](size_t k) {
      vpmovd2m(mask(k), Zmm(x[k]));
      vmovaps(Zmm(r[k]) | mask(k), Zmm(e[k]));
    });
    each([&](size_t k) { vaddps(Zmm(e[k]), Zmm(e[k]), number(kOne)); });
    quotient(to, r, e);
    give(r);
    give(e);
  }
  void tanh(const Vectors& to, const Vectors& x) {
    const Vectors r = take(), power = take(), u = take();
    minus_magnitude(r, x);
    each([&](size_t k) { vaddps(Zmm(r[k]), Zmm(r[k]), Zmm(r[k])); });
    at_least(r, kLowTanh);
    reduce_exp(r, power, u);
    set(r, kOne);
    each([&](size_t k) { vscalefps(Zmm(power[k]), Zmm(r[k]), Zmm(power[k])); });
    each([&](size_t k) { vsubps(Zmm(r[k]), Zmm(power[k]), Zmm(r[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(u[k]), Zmm(power[k]), Zmm(r[k])); });
    each([&](size_t k) { vaddps(Zmm(r[k]), Zmm(u[k]), number(kTwo)); });
    quotient(to, u, r);
    each([&](size_t k) { vpternlogd(Zmm(to[k]), Zmm(x[k]), number(kSign), 0xd8); });  // x's sign
    give(r);
    give(power);
    give(u);
  }
};

}  // namespace reel
