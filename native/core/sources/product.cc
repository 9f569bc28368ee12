#include "product.h"

#include <algorithm>

#include "../numerics/aligned.h"

namespace lmhead {

namespace {
// Bytes of f32 at a time, so that they are still in a second-level cache when they are multiplied.
constexpr size_t kWideBytes = size_t{128} << 10;
}  // namespace

void dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const float* hidden,
                  size_t hidden_stride, size_t columns, float* out, size_t out_stride) {
  const size_t dtype = static_cast<size_t>(e.dtype), d = e.columns;
  const size_t unpack_from = is_for_one_column(e.dtype) ? 2 : kernels.unpack_from;
  if (is_float(e.dtype) || columns < unpack_from) {
    kernels.product[dtype](e, first_row, rows, hidden, hidden_stride, columns, out, out_stride);
    return;
  }
  const size_t step = std::clamp<size_t>(kWideBytes / (d * sizeof(float)), 1, rows);
  thread_local AlignedFloats wide;
  if (wide.size() < step * d) wide.resize(step * d);
  for (size_t r = 0; r < rows; r += step) {
    const size_t height = std::min(step, rows - r);
    for (size_t i = 0; i < height; i++) kernels.unpack_row[dtype](e, first_row + r + i, wide.data() + i * d);
    const Matrix unpacked{reinterpret_cast<const uint8_t*>(wide.data()), Dtype::f32, height, d};
    kernels.product[static_cast<size_t>(Dtype::f32)](unpacked, 0, height, hidden, hidden_stride, columns, out + r, out_stride);
  }
}

}  // namespace lmhead
