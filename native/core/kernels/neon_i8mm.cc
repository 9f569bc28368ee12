// Products by ARM's instructions for matrices: of int8 by SMMLA (FEAT_I8MM), of bfloat16 by BFMMLA (FEAT_BF16). Neoverse V1
// (Graviton 3), N2, V2, Apple's since M2. Everything else as in the NEON table.
//
// Sums of int8 are exact, until those of a block are scaled. To a sum of bfloat16, BFMMLA adds the products of two columns, then
// those of the next two: the products, their sum, and what comes of adding it are each rounded to odd, within 2^-23 of
// themselves. So it serves hidden states that bfloat16 holds; others take the NEON product. It takes subnormal values for 0: rows
// of E and hidden states with such values take the NEON product, too, each by its own values alone, so that bits are the same in
// any batch.
//
// A product of d columns is the sum of parts of P columns, each from 0 on: the first P/2 roundings to odd, the others to nearest,
// (P/2 + (ceil(d/P) - 1)/2) 2^-23 of the sum of magnitudes in all, which part_columns keeps within the bound of every kernel,
// (ceil(d/8) + 16)/2 2^-23. What is taken for 0 is below 2^-126, four times for two columns.
#include <cstring>

#include "../numerics/aligned.h"
#include "bfloat16_states.h"
#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_ARM64
#include <arm_neon.h>

LMHEAD_BEGIN_REGION(LMHEAD_TARGET_I8MM_BF16)
namespace lmhead {
namespace neon_i8mm {

#include "generic/neon.inc"

#include "generic/neon_dots.inc"

#include "generic/blocks.inc"
#include "generic/integer.inc"

#include "generic/neon_tiles.inc"

#include "generic/neon_pairs.inc"

// ---- int8 -------------------------------------------------------------------------------------------------------------------

// Fewer planes are multiplied by SDOT.
constexpr size_t kFewPlanes = 4;

static size_t pairs_of_planes_size(Dtype, size_t columns, size_t planes, size_t stride) {
  return columns * planes < kFewPlanes ? 0 : round_up(columns * planes, 2) * stride;
}
static void pack_pairs_of_planes(Dtype, const int8_t* values, size_t columns, size_t planes, size_t stride, int8_t* to) {
  const size_t count = columns * planes;
  for (size_t plane = 0; plane < round_up(count, 2); plane++)
    for (size_t k = 0; k < stride; k += 8) {
      int8_t* const at = to + place_of_state(plane, k, 2 * stride);
      if (plane < count)
        std::memcpy(at, values + plane * stride + k, 8);
      else
        std::memset(at, 0, 8);
    }
}
constexpr PackedPlanes kPairsOfPlanes = {pairs_of_planes_size, pack_pairs_of_planes};

static void paired_product(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states, size_t first_column,
                           size_t columns, float* out, size_t out_stride) {
  const size_t planes = states.planes, first_plane = first_column * planes, end_plane = first_plane + columns * planes;
  if (!states.packed || end_plane - first_plane < kFewPlanes)
    return byte_product(e, first_row, rows, states, first_column, columns, out, out_stride);
  const Operands operands = {e.row(first_row) + row_format(Dtype::i8).header, e.row_bytes(), e.columns,
                             static_cast<const uint8_t*>(states.packed), 2 * states.stride};
  const auto done = [&](size_t row, size_t height, size_t first_pair, size_t pairs, const int32_t* sums, bool) {
    // Both planes of a state are of one pair.
    const size_t begin = 2 * first_pair < first_plane ? first_plane : 2 * first_pair;
    const size_t end = least(2 * (first_pair + pairs), end_plane);
    for (size_t r = 0; r < height; r++) {
      const double row_scale = scale_of_row(e.row(first_row + row + r));
      for (size_t plane = begin; plane < end; plane += planes) {
        const int32_t* const its = sums + place_of_sum(r, plane - 2 * first_pair);
        const double sum = planes == 2 ? join_planes(its[0], its[1]) : its[0];
        const size_t column = plane / planes;
        out[(column - first_column) * out_stride + row + r] = scale_sum(sum, row_scale, states.scales[column]);
      }
    }
  };
  multiply<Int8>(operands, rows, first_plane / 2, (end_plane + 1) / 2, done);
}

// ---- bfloat16 ---------------------------------------------------------------------------------------------------------------

// Hidden states as products read them: this header, a byte for each (1: for the NEON product), and pairs of them.
struct alignas(64) Packed {
  const float* hidden;
  size_t hidden_stride, columns, d, plain_count;

  static size_t pair_bytes(size_t d) { return 2 * round_up(2 * d, kStep); }
  static size_t size(size_t columns, size_t d) {
    return sizeof(Packed) + round_up(columns, 64) + round_up((columns + 1) / 2 * pair_bytes(d), 64);
  }
  uint8_t* plain() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* plain() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  uint8_t* pairs() { return plain() + round_up(columns, 64); }
  const uint8_t* pairs() const { return plain() + round_up(columns, 64); }
};

// Whether bfloat16 does not hold it, or only as a subnormal number.
static bool is_plain(const float* h, size_t d) {
  uint32x4_t plain = vdupq_n_u32(0);
  for (size_t k = 0; k < d; k += 4) {
    const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(h + k));  // zeros beyond d
    const uint32x4_t magnitude = vandq_u32(bits, vdupq_n_u32(0x7fffffff));
    plain = vorrq_u32(plain, vtstq_u32(bits, vdupq_n_u32(0xffff)));
    plain = vorrq_u32(plain, vcltq_u32(vsubq_u32(magnitude, vdupq_n_u32(1)), vdupq_n_u32(0x007fffff)));
  }
  return vmaxvq_u32(plain) != 0;
}

static void pack_states(const float* hidden, size_t hidden_stride, size_t columns, size_t d, void* to) {
  Packed& packed = *static_cast<Packed*>(to);
  packed.hidden = hidden;
  packed.hidden_stride = hidden_stride;
  packed.columns = columns;
  packed.d = d;
  packed.plain_count = 0;
  for (size_t c = 0; c < round_up(columns, 2); c++) {
    const float* const h = c < columns ? hidden + c * hidden_stride : nullptr;
    if (h) {
      packed.plain()[c] = is_plain(h, d);
      packed.plain_count += packed.plain()[c];
    }
    for (size_t k = 0; k < round_up(d, kStep / 2); k += 4) {
      const bool has = h && k < d && !packed.plain()[c];
      const uint16x4_t upper = has ? vshrn_n_u32(vreinterpretq_u32_f32(vld1q_f32(h + k)), 16) : vdup_n_u16(0);
      vst1_u8(packed.pairs() + place_of_state(c, 2 * k, Packed::pair_bytes(d)), vreinterpret_u8_u16(upper));
    }
  }
}

static void product(const Kernels& plain, const Matrix& e, size_t first_row, size_t rows, const Packed& states,
                    size_t first_column, size_t columns, float* out, size_t out_stride) {
  const size_t end_column = first_column + columns;
  const auto by_plain = [&](size_t row, size_t count, size_t from, size_t to) {
    plain.product[static_cast<size_t>(Dtype::bf16)](e, first_row + row, count, states.hidden + from * states.hidden_stride,
                                                    states.hidden_stride, to - from,
                                                    out + (from - first_column) * out_stride + row, out_stride);
  };
  const auto done = [&](size_t row, size_t height, size_t first_pair, size_t pairs, const float* sums, bool has_small) {
    const size_t begin = 2 * first_pair < first_column ? first_column : 2 * first_pair;
    const size_t end = least(2 * (first_pair + pairs), end_column);
    for (size_t c = begin; c < end; c++)
      for (size_t r = 0; r < height; r++)
        out[(c - first_column) * out_stride + row + r] = sums[place_of_sum(r, c - 2 * first_pair)];
    for (size_t r = 0; has_small && r < height; r++)
      if (has_subnormal(e.row(first_row + row + r), e.columns)) by_plain(row + r, 1, begin, end);
  };
  const Operands operands = {e.row(first_row), e.row_bytes(), e.row_bytes(), states.pairs(), Packed::pair_bytes(e.columns)};
  if (states.plain_count < states.columns) multiply<Bfloat16>(operands, rows, first_column / 2, (end_column + 1) / 2, done);
  for (size_t c = first_column, next; states.plain_count > 0 && c < end_column; c = next) {
    for (next = c + 1; next < end_column && states.plain()[next] == states.plain()[c]; next++) continue;
    if (states.plain()[c]) by_plain(0, rows, c, next);
  }
}

// ---- the roof ---------------------------------------------------------------------------------------------------------------

// As generic/kernels.inc has it of floats; `each`: those of one instruction. The number adds nothing to sums that lasts.
template <class Unit>
static float multiply_adds(size_t count, size_t each, uint8x16_t number) {
  constexpr int kChains = 16;
  typename Unit::Sums acc[kChains];
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) acc[j] = Unit::set(static_cast<typename Unit::Number>(j));
  for (size_t i = 0; i < count; i += kChains * each) {
    LMHEAD_UNROLL
    for (int j = 0; j < kChains; j++) Unit::multiply_add(acc[j], number, number);
  }
  typename Unit::Number all[4] = {};
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) Unit::add_to(all, acc[j]);
  return static_cast<float>(all[0]);
}
static float bf16_multiply_adds(size_t count) {
  return multiply_adds<Bfloat16>(count, 16, vreinterpretq_u8_u16(vdupq_n_u16(0x3080)));  // 2^-30
}
static float int8_multiply_adds(size_t count) { return multiply_adds<Int8>(count, 32, vdupq_n_u8(0)); }

constexpr decltype(Kernels::integer_product) kProducts = LMHEAD_INTEGER_PRODUCTS;
constexpr decltype(Kernels::packed_planes) kPacked = LMHEAD_PACKED_PLANES;

}  // namespace neon_i8mm
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
const Kernels* neon_i8mm_kernels() {
#if LMHEAD_ARM64
  static const Kernels table = [] {
    Kernels all = with_integer_products(*neon_kernels(), neon_i8mm::kProducts, neon_i8mm::kPacked);
    all.name = "neon_i8mm";
    all.integer_product[static_cast<size_t>(Dtype::i8)] = neon_i8mm::paired_product;
    all.packed_planes[static_cast<size_t>(Dtype::i8)] = &neon_i8mm::kPairsOfPlanes;
    Bfloat16States<neon_i8mm::Packed, neon_i8mm::pack_states, neon_i8mm::product, neon_kernels>::put_into(all);
    all.bf16_multiply_adds = neon_i8mm::bf16_multiply_adds;
    all.int8_multiply_adds = neon_i8mm::int8_multiply_adds;
    return all;
  }();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
