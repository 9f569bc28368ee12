#include "product.h"

#include <algorithm>

#include "../numerics/aligned.h"

namespace lmhead {

namespace {
// Bytes of f32 at a time, so that they are still in a second-level cache when they are multiplied.
constexpr size_t kWideBytes = size_t{128} << 10;

bool are_rows_unpacked(const Kernels& kernels, Dtype dtype, size_t columns) {
  return !is_float(dtype) && columns >= (is_for_one_column(dtype) ? 2 : kernels.unpack_from);
}

// Calls use(matrix, row): rows of f32 values, some at a time, the first of them row `row` of those wanted.
template <class Use>
void unpacked(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, Use use) {
  const size_t d = e.columns, step = std::clamp<size_t>(kWideBytes / (d * sizeof(float)), 1, rows);
  thread_local AlignedFloats wide;
  if (wide.size() < step * d) wide.resize(step * d);
  for (size_t r = 0; r < rows; r += step) {
    const size_t height = std::min(step, rows - r);
    for (size_t i = 0; i < height; i++)
      kernels.unpack_row[static_cast<size_t>(e.dtype)](e, first_row + r + i, wide.data() + i * d);
    use(Matrix{reinterpret_cast<const uint8_t*>(wide.data()), Dtype::f32, height, d}, r);
  }
}

}  // namespace

void dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const float* hidden,
                  size_t hidden_stride, size_t columns, float* out, size_t out_stride) {
  if (!are_rows_unpacked(kernels, e.dtype, columns))
    kernels.product[static_cast<size_t>(e.dtype)](e, first_row, rows, hidden, hidden_stride, columns, out, out_stride);
  else
    unpacked(kernels, e, first_row, rows, [&](const Matrix& some, size_t r) {
      kernels.product[static_cast<size_t>(Dtype::f32)](some, 0, some.rows, hidden, hidden_stride, columns, out + r, out_stride);
    });
}

const PackedProduct* packed_product_of(const Kernels& kernels, Dtype dtype, size_t columns) {
  return kernels.packed[static_cast<size_t>(are_rows_unpacked(kernels, dtype, columns) ? Dtype::f32 : dtype)];
}

void packed_dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const PackedProduct& product,
                         const void* packed, size_t first_column, size_t columns, float* out, size_t out_stride) {
  if (is_float(e.dtype))
    product.product(e, first_row, rows, packed, first_column, columns, out, out_stride);
  else
    unpacked(kernels, e, first_row, rows, [&](const Matrix& some, size_t r) {
      product.product(some, 0, some.rows, packed, first_column, columns, out + r, out_stride);
    });
}

}  // namespace lmhead
