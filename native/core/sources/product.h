// Dot products of rows of E and hidden states, the best way for so many of them. The bits are those of kernels.product, always.
#pragma once

#include "../kernels/kernels.h"

namespace lmhead {

// out[c * out_stride + r] = E[first_row + r] . hidden[c], for r < rows and c < columns. Throws std::bad_alloc.
void dot_products(const Kernels& kernels, const Matrix& e, size_t first_row, size_t rows, const float* hidden,
                  size_t hidden_stride, size_t columns, float* out, size_t out_stride);

}  // namespace lmhead
