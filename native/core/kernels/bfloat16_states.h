// What tables that multiply hidden states of bfloat16 share: a layout for them, once for a pass, and products of such as have
// none.
#pragma once

#include "kernels.h"

namespace lmhead {

// By a table's Packed, pack_states() and product(), which leaves some rows and states to the table that plain() is.
template <class Packed, auto pack_states, auto product, auto plain>
struct Bfloat16States {
  static void pack(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to) {
    to.resize(Packed::size(columns, d) / sizeof(float));
    pack_states(hidden, hidden_stride, columns, d, to.data());
  }
  static void packed_product(const Matrix& e, size_t first_row, size_t rows, const void* packed, size_t first_column,
                             size_t columns, float* out, size_t out_stride) {
    product(*plain(), e, first_row, rows, *static_cast<const Packed*>(packed), first_column, columns, out, out_stride);
  }
  // The same for hidden states that are not packed yet.
  static void product_of_any(const Matrix& e, size_t first_row, size_t rows, const float* hidden, size_t hidden_stride,
                             size_t columns, float* out, size_t out_stride) {
    thread_local AlignedFloats packed;
    pack(hidden, hidden_stride, columns, e.columns, packed);
    packed_product(e, first_row, rows, packed.data(), 0, columns, out, out_stride);
  }
  static constexpr PackedProduct kPackedProduct = {pack, packed_product, false};
  static void put_into(Kernels& table) {
    constexpr size_t bf16 = static_cast<size_t>(Dtype::bf16);
    table.product[bf16] = product_of_any;
    table.packed[bf16] = &kPackedProduct;
  }
};

}  // namespace lmhead
