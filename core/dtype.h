// Element types. f32 for work, f64 for reference kernels and gradient checks, i64 for ids, boolean for masks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace reel {

enum class DType : uint8_t { f32, f64, i64, boolean };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f32: return 4;
    case DType::f64: return 8;
    case DType::i64: return 8;
    case DType::boolean: return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::f64: return "f64";
    case DType::i64: return "i64";
    case DType::boolean: return "bool";
  }
  return "?";
}

constexpr bool is_float(DType t) { return t == DType::f32 || t == DType::f64; }

template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<bool> = DType::boolean;

// What a new parameter or random tensor gets when nothing is said: f32, unless --dtype f64 or a check asks.
DType default_dtype();
void set_default_dtype(DType t);

// Sets the default for a scope.
class DefaultDType {
 public:
  explicit DefaultDType(DType t) : before_(default_dtype()) { set_default_dtype(t); }
  ~DefaultDType() { set_default_dtype(before_); }
  DefaultDType(const DefaultDType&) = delete;
  DefaultDType& operator=(const DefaultDType&) = delete;

 private:
  DType before_;
};

}  // namespace reel
