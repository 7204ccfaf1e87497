// How a matrix product is read from memory that the plan has laid out.
#include "core/plan/plan.h"

namespace reel::plan {

namespace {

// Strides of a matrix, read transposed or not; false where neither rows nor columns lie together.
bool strides_of(const PlannedValue& v, bool transposed, int64_t& row, int64_t& col) {
  const size_t r = transposed ? 1 : 0, c = transposed ? 0 : 1;
  const int64_t rows = v.shape[static_cast<int>(r)], columns = v.shape[static_cast<int>(c)];
  row = rows == 1 ? columns : v.strides[r];  // an axis of size 1 has no stride to speak of
  col = columns == 1 ? 1 : v.strides[c];
  if (col == 1) return row >= columns;
  return row == 1 && col >= rows;
}

}  // namespace

bool is_product(const GraphNode& n) {
  return n.op->kind == Kind::matmul && n.dtype == DType::f32 && n.shape.rank() == 2 && n.shape.numel() > 0;
}

// Few rows are cheaper to bring together than to multiply by what is not packed.
bool packable(const Product& p) {
  constexpr int64_t kFewRows = 64;
  return p.a_col == 1 && (p.a_row == p.k || p.m <= kFewRows) && p.c_row == p.n && p.k > 0;
}

bool describe(const GraphNode& n, const PlannedValue& a, const PlannedValue& b, const PlannedValue& c,
              Product& p) {
  if (a.shape.rank() != 2 || b.shape.rank() != 2) return false;
  p = {.m = n.shape[0], .n = n.shape[1], .k = a.shape[n.i[0] ? 0 : 1]};
  p.precision = n.i[2] ? Precision::bf16 : Precision::f32;
  int64_t c_col = 1;
  return p.k > 0 && strides_of(a, n.i[0] != 0, p.a_row, p.a_col) &&
         strides_of(b, n.i[1] != 0, p.b_row, p.b_col) && strides_of(c, false, p.c_row, c_col) && c_col == 1;
}

}  // namespace reel::plan
