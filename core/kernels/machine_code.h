// Machine code for pointwise programs: one loop over the lanes, whose intermediate results stay in registers.
// For processors with AVX-512, and where the assembler (xbyak) was there when the library was built; else,
// and for what it has no instructions for, lane_kernels.h runs a loop an instruction, to the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/lanes.h"

namespace reel {

// A program whose operands are numbered: what it reads from memory, then results.
struct LaneCode {
  enum class From : uint8_t { result, lanes, splat };  // splat: one number a row

  struct Step {
    lanes::Code code;
    uint16_t out, a, b, c;
    bool operator==(const Step&) const = default;
  };
  struct Store {
    uint16_t operand;
    bool add;  // onto what is there
    bool operator==(const Store&) const = default;
  };
  std::vector<From> operands;
  std::vector<Step> steps;
  std::vector<Store> stores;

  bool operator==(const LaneCode&) const = default;
};

// Where an operand's or a store's rows lie.
struct LaneRows {
  std::byte* at;
  ptrdiff_t step;  // bytes
};

// Runs `rows` rows of n lanes. The addresses are those of all operands that are no results, in their order,
// then of the stores; they are spent. A store may lie where an operand lies, element for element.
using LaneLoop = void (*)(LaneRows* addresses, size_t rows, size_t n);

// Assembled now or before; null where it cannot be.
LaneLoop machine_code(const LaneCode& code);

// Off: none is assembled from now on (REEL_MACHINE_CODE=0 does it from the start).
void set_machine_code(bool on);

}  // namespace reel
