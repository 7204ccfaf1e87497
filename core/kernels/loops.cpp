#include "core/kernels/loops.h"

namespace reel {

Shape merge_loops(const Shape& space, std::vector<Strides>& strides) {
  Shape shape;
  for (int axis = 0; axis < space.rank(); ++axis) {
    if (space[axis] == 1) continue;
    const auto from = static_cast<size_t>(axis);
    const auto last = static_cast<size_t>(shape.rank() - 1);
    bool merges = shape.rank() > 0;
    for (const Strides& s : strides) merges = merges && s[last] == s[from] * space[axis];
    if (merges) {
      shape[shape.rank() - 1] *= space[axis];
    } else {
      shape.push_back(space[axis]);
    }
    const auto to = static_cast<size_t>(shape.rank() - 1);
    for (Strides& s : strides) s[to] = s[from];
  }
  if (shape.rank() == 0) {  // one element, which every operand has
    shape.push_back(1);
    for (Strides& s : strides) s[0] = 1;
  }
  return shape;
}

}  // namespace reel
