// AMX: the matrix unit of Sapphire Rapids (2023) and later, for bfloat16 weights, and for int8 ones where hidden states are
// integers, too; everything else as in the AVX-512 table.
//
// It multiplies bfloat16 values exactly and sums in f32. A hidden state in f32 is the sum of three bfloat16 values, cut off at
// 8 bits each, so its product is three products with the same tile of E. A state that bfloat16 holds needs one; the parts of 0
// that another state in the batch may make of it add +0, so it has the same bits in any batch.
//
// The unit takes subnormal values for 0. Rows of E with subnormal, infinite or NaN weights, and hidden states with such values
// or parts, take the AVX-512 product: each by its own values alone, so that this too is the same in any batch.
//
// Of int8 values both products and sums are exact: a plane of a hidden state takes a column of a tile, and has the bits that
// every other table gives it.
#include "amx.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "../../numerics/aligned.h"

#if LMHEAD_AMX
#include <immintrin.h>

#define LMHEAD_AMX_REGION "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"

LMHEAD_BEGIN_REGION(LMHEAD_AMX_REGION)
namespace lmhead {
namespace amx {

#include "../generic/tiles.inc"

#include "layout.inc"
#include "product.inc"
// These use both.
#include "floats.inc"
#include "int8.inc"

}  // namespace amx
}  // namespace lmhead
LMHEAD_END_REGION

namespace lmhead {
namespace {

using amx::MatrixUnit, amx::ElementType;

amx::Scratch scratch(size_t columns) {
  thread_local AlignedFloats memory;
  const size_t size = (amx::kPanelBytes + amx::sums_size(columns)) / sizeof(float);
  if (memory.size() < size) memory.resize(size);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(memory.data());
  return {bytes, bytes + amx::kPanelBytes};
}

void pack_states(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to) {
  const size_t parts = amx::parts_of(hidden, hidden_stride, columns, d);
  to.resize(amx::packed_size(columns, d, parts) / sizeof(float));
  amx::pack(hidden, hidden_stride, columns, d, parts, to.data());
}

template <class Unit>
void packed_product(const Matrix& e, size_t first_row, size_t rows, const void* packed, size_t first_column, size_t columns,
                    float* out, size_t out_stride) {
  const auto& states = *static_cast<const amx::Packed*>(packed);
  amx::float_product<Unit>(*avx512_kernels(), e, first_row, rows, states, first_column, columns, out, out_stride,
                           scratch(columns));
}

// The same for hidden states that are not packed yet.
template <class Unit>
void product(const Matrix& e, size_t first_row, size_t rows, const float* hidden, size_t hidden_stride, size_t columns,
             float* out, size_t out_stride) {
  thread_local AlignedFloats packed;
  pack_states(hidden, hidden_stride, columns, e.columns, packed);
  packed_product<Unit>(e, first_row, rows, packed.data(), 0, columns, out, out_stride);
}

template <class Unit>
constexpr PackedProduct kPackedProduct = {pack_states, packed_product<Unit>, false};

// rest: the table that multiplies with few planes.
template <class Unit, const Kernels* (*rest)()>
void integer_product(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states, size_t first_column,
                     size_t columns, float* out, size_t out_stride) {
  const size_t planes = columns * states.planes;
  if (!states.packed || planes < amx::kFewPlanes)
    rest()->integer_product[static_cast<size_t>(Dtype::i8)](e, first_row, rows, states, first_column, columns, out, out_stride);
  else
    amx::int8_product<Unit>(e, first_row, rows, states, first_column, columns, out, out_stride, scratch(planes));
}

constexpr PackedPlanes kPackedPlanes = {amx::packed_planes_size, amx::pack_planes};

template <template <ElementType> class Unit, const Kernels* (*rest)()>
Kernels table(const char* name, bool with_int8) {
  constexpr size_t bf16 = static_cast<size_t>(Dtype::bf16), i8 = static_cast<size_t>(Dtype::i8);
  Kernels k = *rest();
  k.name = name;
  k.product[bf16] = product<Unit<ElementType::bf16>>;
  k.packed[bf16] = &kPackedProduct<Unit<ElementType::bf16>>;
  k.bf16_multiply_adds = amx::multiply_adds<Unit<ElementType::bf16>>;
  if (with_int8) {
    k.integer_product[i8] = integer_product<Unit<ElementType::int8>, rest>;
    k.packed_planes[i8] = &kPackedPlanes;
    k.int8_multiply_adds = amx::multiply_adds<Unit<ElementType::int8>>;
  }
  return k;
}

}  // namespace

const Kernels* amx_kernels(bool with_int8) {
  static const Kernels all = table<MatrixUnit, avx512_vnni_kernels>("amx", true);
  static const Kernels without_int8 = table<MatrixUnit, avx512_vnni_kernels>("amx", false);
  return with_int8 ? &all : &without_int8;
}

#if LMHEAD_TEST_KERNELS
const Kernels* emulated_amx_kernels() {
  static const Kernels all = table<amx::EmulatedUnit, avx512_kernels>("amx-emulated", true);
  return &all;
}
#endif

namespace {
#include "self_test.inc"
}  // namespace

bool amx_agrees_with_avx512(bool with_int8) { return floats_agree() && (!with_int8 || integers_agree()); }

}  // namespace lmhead
#endif
