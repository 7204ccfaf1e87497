// Pointwise programs over broadcast, strided operands: blocks of rows that stay in L1, one SIMD loop an
// instruction, several outputs, sums along axes. What depends on shapes alone is prepared once.
#pragma once

#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/kernels/lane_kernels.h"
#include "core/kernels/machine_code.h"
#include "core/lanes.h"

namespace reel {

// Where an output of a program goes: an array of the space's shape or one that broadcasts to it. Where it is
// 1 long and the space is longer, the results are summed.
struct PointwiseOutput {
  Array array;
  bool add = false;  // onto what is there
};

// A program made ready for operands of given shapes, strides and types. It is run with the operands'
// addresses: the inputs', then the outputs'. An output that is not summed may lie where an input lies,
// element for element; outputs do not overlap. Lanes are f64 where an operand is f64 or i64, else f32;
// booleans are 0 and 1. A sum's order depends on shapes alone. Objects are read-only when run: threads may
// share one.
class PreparedPointwise {
 public:
  PreparedPointwise() = default;
  PreparedPointwise(const lanes::Program& program, std::span<const Array> in, const Shape& space,
                    std::span<const PointwiseOutput> out) {
    prepare(program, in, space, out);
  }
  // Anew, in the memory that is there.
  void prepare(const lanes::Program& program, std::span<const Array> in, const Shape& space,
               std::span<const PointwiseOutput> out);

  void run(std::span<std::byte* const> data, std::span<const double> scalars) const;

  // For callers with threads of their own: rows [begin, end) of the space's first axis, on this thread. Only
  // where rows are independent: no output is summed over that axis.
  bool rows_independent() const { return !sums_rows_; }
  int64_t rows() const { return rows_; }
  void run_rows(std::span<std::byte* const> data, std::span<const double> scalars, int64_t begin,
                int64_t end) const;

  int64_t cost() const { return cost_; }  // of all elements, in elementary operations
  // Whether the output can lie where the input lies without a copy of that.
  bool replaces(size_t input, size_t output) const;

 private:
  template <class T>
  friend class PointwiseRun;
  static constexpr size_t kMostAddresses = 24;  // of a run by machine code alone

  struct Input {
    bool packed = false;  // copied into its register: lanes that do not lie side by side, or another type
    bool splat = false;   // one number a row
    uint16_t room = 0;    // its register
  };
  struct Step {
    LaneKernel<float> f32;
    LaneKernel<double> f64;
    uint16_t out, a, b, c;  // operands of the program
    uint16_t room;
    bool narrow;  // one number a row
    bool direct;  // into an output's memory
  };
  struct Constant {
    uint16_t operand, scalar;
    bool is_number;
    double number;
  };
  struct Output {
    uint16_t operand;
    uint16_t slot;  // where its block is made: the operand's, or with machine code its own
    uint16_t room;  // likewise
    DType dtype;
    bool add;
    bool direct;   // its instruction writes it
    bool sums;     // along some axis
    bool partial;  // summed apart, by chunk, then stored
    int64_t numel;
    Shape shape;
    Strides strides;  // over `shape`
  };
  struct Hazard {  // an input that is read after an output was written
    uint16_t input, output;
  };

  void read_operands(const lanes::Program& program, std::span<const Array> in, const Shape& space,
                     std::span<const PointwiseOutput> out);
  void read_program(const lanes::Program& program);
  void find_operands(const lanes::Program& program);
  bool find_machine_code(const lanes::Program& program);
  size_t find_needed(const lanes::Program& program);
  void write_lane_code(const lanes::Program& program);
  bool is_direct(size_t output) const;
  void pair_instructions(const lanes::Program& program);
  void find_hazards(const lanes::Program& program);
  void choose_block();
  const uint8_t* copied_inputs(std::span<std::byte* const> data) const;
  template <class T>
  void run_as(std::span<std::byte* const> data, std::span<const double> scalars) const;
  template <class T>
  void run_in_chunks(std::span<std::byte* const> data, const uint8_t* copied,
                     std::span<const double> scalars) const;
  bool apart(size_t input, size_t output, const std::byte* a, const std::byte* b) const;
  size_t size(size_t operand) const { return size_of(dtypes_[operand]); }

  bool wide_ = false;  // f64 lanes
  Shape shape_;        // the loop nest
  int64_t rows_ = 0, inner_ = 0, width_ = 0, block_rows_ = 0, cost_ = 0, chunks_ = 1, numel_ = 0;
  int64_t row_size_ = 1;  // of the nest's first dimension, into which the space's may be merged: a row
  bool sums_rows_ = false, sums_ = false, partial_ = false;
  bool bare_ = false;  // machine code alone does it: nothing is packed, nothing summed
  size_t operands_ = 0, rooms_ = 0;
  std::vector<Strides> strides_;  // of inputs, then outputs, over the nest
  std::vector<DType> dtypes_;
  std::vector<Input> inputs_;
  std::vector<Step> steps_;
  std::vector<Constant> constants_;
  std::vector<Output> outputs_;
  std::vector<Hazard> hazards_;
  LaneLoop loop_ = nullptr;          // all instructions, where there is machine code
  std::vector<uint16_t> addresses_;  // the slots whose addresses it takes
  // Used while preparing, kept for their memory.
  std::vector<uint16_t> alias_, free_;
  std::vector<int> last_read_;
  std::vector<uint8_t> narrow_;
  struct Pair {  // an instruction and the operand whose instruction runs with it
    LaneKernel<float> kernel = nullptr;
    uint16_t first = 0;
    uint16_t other = 0;
  };
  std::vector<Pair> pairs_;
  std::vector<uint16_t> uses_;
  LaneCode code_;
};

// Prepares and runs once.
void run_fused(const lanes::Program& program, std::span<const Array> in, const Shape& space,
               std::span<const PointwiseOutput> out, std::span<const double> scalars);

// out[...] = program(in[...]...), the program's only output.
void run_pointwise(const lanes::Program& program, std::span<const Array> in, const Array& out,
                   std::span<const double> scalars);

// out = in, whatever the strides of `in`, converting the dtype; `out` is contiguous.
void copy(const Array& in, const Array& out);

}  // namespace reel
