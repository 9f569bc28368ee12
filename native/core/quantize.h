// From f32 rows to int8 ones with scales of the least squared error: lib/dtypes/quantize.ts defines it, and the bits are the
// same.
#pragma once

#include "kernels/kernels.h"
#include "threads/parallel_for.h"

namespace lmhead {

// Of one row, as WeightErrorSums of lib/dtypes/quantize.ts: the largest |w - w'|, the sum of (w - w')^2, the sum of w^2.
struct WeightErrors {
  double max = 0, squares = 0, total = 0;
};

// w: [d], finite. bytes: row_bytes(to, d) of them, where `to` is i8 or q8_0, and d a number of whole blocks. trial: room for d.
WeightErrors quantize_row(const float* w, size_t d, Dtype to, uint8_t* bytes, int8_t* trial);

// Rows [first, first + count) of e. errors: [count]. Returns the first row with NaN or an infinity, or e.rows where there is
// none; what it leaves is complete only then, and where it was not aborted. Throws std::bad_alloc.
size_t quantize_rows(const Kernels& kernels, const Matrix& e, size_t first, size_t count, Dtype to, const ParallelFor& workers,
                     uint8_t* bytes, WeightErrors* errors);

}  // namespace lmhead
