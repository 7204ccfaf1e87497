// Formulas over vectors of f32 as AVX-512 instructions: those of math-inl.h, which explains them, to the same
// bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <xbyak/xbyak.h>

namespace reel {

// Numbers of the formulas, as the code finds them in memory.
struct Numbers {
  float one = 1, two = 2;
  float log2e = 1.44269504f, ln2_high = -0.693145751953125f, ln2_low = -1.428606765330187045e-6f;
  float c0 = 0.5f, c1 = 0.166666671633720397949219f, c2 = 0.0416664853692054748535156f;
  float c3 = 0.00833336077630519866943359f, c4 = 0.00139304355252534151077271f;
  float c5 = 0.000198527617612853646278381f;
  float exp_top = 100, exp_low = -104, tanh_low = -40;  // beyond which nothing changes
  uint32_t sign = 0x80000000u, rest = 0x7fffffffu;
};
alignas(64) inline constexpr Numbers kNumbers;

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
  // The next to be taken lies as these do, so that it may overwrite them vector for vector.
  void give(const Vectors& v) {
    for (size_t k = static_cast<size_t>(width_); k-- > 0;) free_.push_back(v[k]);
  }

  // ---- Numbers: r11 holds where they lie ----

  void find_numbers() { mov(r11, reinterpret_cast<uintptr_t>(&kNumbers)); }
  template <class T>
  Xbyak::RegExp at(T Numbers::*n) {
    const auto* from = reinterpret_cast<const std::byte*>(&kNumbers);
    return r11 + static_cast<size_t>(reinterpret_cast<const std::byte*>(&(kNumbers.*n)) - from);
  }
  template <class T>
  Xbyak::Address number(T Numbers::*n) {  // the same in all lanes
    return ptr_b[at(n)];
  }
  template <class T>
  void set(const Vectors& to, T Numbers::*n) {
    each([&](size_t k) { vbroadcastss(Zmm(to[k]), ptr[at(n)]); });
  }
  template <class T>
  Vectors taken(T Numbers::*n) {
    const Vectors v = take();
    set(v, n);
    return v;
  }

  // ---- Formulas ----

  static Xbyak::Opmask mask(size_t k) { return Xbyak::Opmask(static_cast<int>(k) + 2); }

  void negate(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpxord(Zmm(to[k]), Zmm(x[k]), number(&Numbers::sign)); });
  }
  void magnitude(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpandd(Zmm(to[k]), Zmm(x[k]), number(&Numbers::rest)); });
  }
  void minus_magnitude(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vpord(Zmm(to[k]), Zmm(x[k]), number(&Numbers::sign)); });
  }
  void root(const Vectors& to, const Vectors& x) {
    each([&](size_t k) { vsqrtps(Zmm(to[k]), Zmm(x[k])); });
  }
  // The larger of x and a number; NaN stays.
  void at_least(const Vectors& x, float Numbers::*n) {
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
    each([&](size_t k) { vmulps(Zmm(power[k]), Zmm(x[k]), number(&Numbers::log2e)); });
    each([&](size_t k) { vrndscaleps(Zmm(power[k]), Zmm(power[k]), 8); });
    each([&](size_t k) { vfmadd231ps(Zmm(x[k]), Zmm(power[k]), number(&Numbers::ln2_high)); });
    each([&](size_t k) { vfmadd231ps(Zmm(x[k]), Zmm(power[k]), number(&Numbers::ln2_low)); });
    const Vectors square = take(), u = taken(&Numbers::c5), v = taken(&Numbers::c3);
    set(p, &Numbers::c1);
    each([&](size_t k) { vmulps(Zmm(square[k]), Zmm(x[k]), Zmm(x[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(u[k]), Zmm(x[k]), number(&Numbers::c4)); });
    each([&](size_t k) { vfmadd213ps(Zmm(v[k]), Zmm(x[k]), number(&Numbers::c2)); });
    each([&](size_t k) { vfmadd213ps(Zmm(p[k]), Zmm(x[k]), number(&Numbers::c0)); });
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
    each([&](size_t k) { vaddps(Zmm(to[k]), Zmm(to[k]), number(&Numbers::one)); });
    each([&](size_t k) { vscalefps(Zmm(to[k]), Zmm(to[k]), Zmm(power[k])); });
    give(power);
  }
  void quotient(const Vectors& to, const Vectors& a, const Vectors& b) {  // 1 <= b <= 2; a is spent
    const Vectors guess = take(), inverse = taken(&Numbers::one);
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
    const Vectors r = taken(&Numbers::exp_top);
    each([&](size_t k) { vminps(Zmm(r[k]), Zmm(r[k]), Zmm(x[k])); });
    at_least(r, &Numbers::exp_low);
    exp_within(to, r);
    give(r);
  }
  void sigmoid(const Vectors& to, const Vectors& x) {
    const Vectors r = take(), e = take();
    minus_magnitude(r, x);
    at_least(r, &Numbers::exp_low);
    exp_within(e, r);
    set(r, &Numbers::one);
    each([&](size_t k) {
      vpmovd2m(mask(k), Zmm(x[k]));
      vmovaps(Zmm(r[k]) | mask(k), Zmm(e[k]));
    });
    each([&](size_t k) { vaddps(Zmm(e[k]), Zmm(e[k]), number(&Numbers::one)); });
    quotient(to, r, e);
    give(r);
    give(e);
  }
  void tanh(const Vectors& to, const Vectors& x) {
    const Vectors r = take(), power = take(), u = take();
    minus_magnitude(r, x);
    each([&](size_t k) { vaddps(Zmm(r[k]), Zmm(r[k]), Zmm(r[k])); });
    at_least(r, &Numbers::tanh_low);
    reduce_exp(r, power, u);
    set(r, &Numbers::one);
    each([&](size_t k) { vscalefps(Zmm(power[k]), Zmm(r[k]), Zmm(power[k])); });
    each([&](size_t k) { vsubps(Zmm(r[k]), Zmm(power[k]), Zmm(r[k])); });
    each([&](size_t k) { vfmadd213ps(Zmm(u[k]), Zmm(power[k]), Zmm(r[k])); });
    each([&](size_t k) { vaddps(Zmm(r[k]), Zmm(u[k]), number(&Numbers::two)); });
    quotient(to, u, r);
    each([&](size_t k) { vpternlogd(Zmm(to[k]), Zmm(x[k]), number(&Numbers::sign), 0xd8); });  // x's sign
    give(r);
    give(power);
    give(u);
  }
};

}  // namespace reel
