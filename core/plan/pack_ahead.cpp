#include "core/plan/pack_ahead.h"

#include <algorithm>
#include <list>
#include <optional>

#include "core/kernels/parallel.h"

namespace reel::plan {

namespace {

// Smaller ones are packed before a thread has woken.
constexpr size_t kLeastBytes = size_t{1} << 17, kMostBytes = size_t{1} << 24;

// A matrix that was packed, and where it is packed ahead.
struct Weight {
  Matrix<const float> from;
  PackedMatrix packed;
  Buffer memory = {};
  bool ahead = false;

  bool is(Matrix<const float> b, const PackedMatrix& as) const {
    return from.data == b.data && from.row == b.row && from.col == b.col && packed.k() == as.k() &&
           packed.n() == as.n() && packed.precision() == as.precision() && packed.size() == as.size();
  }
};

struct Weights {
  std::list<Weight> known;  // the latest first
  size_t bytes = 0;
  std::optional<Ahead> packing;

  void operator()() {
    for (Weight& w : known) {
      if (w.ahead) w.packed.pack(w.from);
    }
  }
  void add(Matrix<const float> b, const PackedMatrix& packed) {
    known.push_front({b, packed});
    bytes += packed.size();
    while (bytes > kMostBytes && !known.back().ahead) {
      bytes -= known.back().packed.size();
      known.pop_back();
    }
  }
};
thread_local Weights weights;

}  // namespace

PackingAhead::PackingAhead(std::span<Node* const> leaves) {
  if (num_threads() == 1) return;
  bool any = false;
  for (Weight& w : weights.known) {
    w.ahead = std::ranges::any_of(leaves, [&](const Node* leaf) {
      const Array& value = leaf->array();
      return value.as<float>() == w.from.data && value.dtype == DType::f32 && value.contiguous() &&
             value.shape.numel() == w.packed.k() * w.packed.n();
    });
    if (!w.ahead) continue;
    if (!w.memory) w.memory = Buffer(w.packed.size());
    w.packed.move_to(w.memory.data());
    any = true;
  }
  if (any) weights.packing.emplace(weights);
}

PackingAhead::~PackingAhead() {
  weights.packing.reset();
  for (Weight& w : weights.known) w.ahead = false;
}

void pack(Matrix<const float> b, PackedMatrix& packed, std::byte* memory) {
  if (weights.packing) weights.packing->wait();
  const bool dense = (b.col == 1 && b.row == packed.n()) || (b.row == 1 && b.col == packed.k());
  if (num_threads() > 1 && packed.size() >= kLeastBytes && dense) {
    const auto known = std::ranges::find_if(weights.known, [&](const Weight& w) { return w.is(b, packed); });
    if (known == weights.known.end()) {
      weights.add(b, packed);
    } else if (known->ahead) {
      return packed.move_to(known->memory.data());
    }
  }
  packed.move_to(memory);
  packed.pack(b);
}

}  // namespace reel::plan
