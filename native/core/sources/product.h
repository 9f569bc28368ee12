// Dot products of rows of E and hidden states, the best way for so many of them. The bits are those of kernels.product, always.
#pragma once

#include "../kernels/kernels.h"

namespace lmhead {

// out[c * out_stride + r] = E[first_row + r] . hidden[c], for r < rows and c < columns. Throws std::bad_alloc.
void dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const float* hidden,
                  size_t hidden_stride, size_t columns, float* out, size_t out_stride);
// What lays out so many hidden states for packed_dot_products; null: they are for dot_products.
const PackedProduct* packed_product_of(const Kernels& kernels, Dtype dtype, size_t columns);
// The same of columns [first_column, first_column + columns) of those.
void packed_dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const PackedProduct& product,
                         const void* packed, size_t first_column, size_t columns, float* out, size_t out_stride);

}  // namespace lmhead
