// Weights packed by another thread while this one plans: a backward() whose structure is new takes as long to
// plan as to pack what the last one packed.
#pragma once

#include <span>

#include "core/kernels/packed.h"
#include "core/plan/plan.h"

namespace reel::plan {

// While it lives, what was packed before of these leaves is being packed again.
class PackingAhead {
 public:
  explicit PackingAhead(std::span<Node* const> leaves);
  ~PackingAhead();
  PackingAhead(const PackingAhead&) = delete;
  PackingAhead& operator=(const PackingAhead&) = delete;
};

// Packs B as this matrix has it: into that memory, or finds it packed ahead elsewhere.
void pack(Matrix<const float> b, PackedMatrix& packed, std::byte* memory);

}  // namespace reel::plan
