// Integer products by AVX-512 VNNI: Cascade Lake (2019), Zen 4 (2022) and later. Everything else as in the AVX-512 table.
#include <cstring>
#include <limits>

#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_AVX512
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512vnni,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512vnni {

#include "generic/avx512.inc"

// Of weights plus 128, which have no sign: 128 times the sum of the state's values is then too much.
struct Biased {
  Q values;
};
constexpr int kBias = 128;
static inline Biased with_bias(Q w) { return {_mm512_xor_si512(w, _mm512_set1_epi8(-128))}; }
static inline I add_dots(I sum, const Biased& w, Q x) { return _mm512_dpbusd_epi32(sum, w.values, x); }

// Any bytes without a sign, so that those with one are 128 too large.
constexpr bool kAnyBytes = true;
constexpr int kWideOffset = kBias;
static inline Q wide(Q w) { return with_bias(w).values; }
static inline I add_narrow(I sum, Q w, Q x) { return _mm512_dpbusd_epi32(sum, w, x); }
static inline I add_narrow(I sum, Q w0, Q x0, Q w1, Q x1) { return add_narrow(add_narrow(sum, w0, x0), w1, x1); }

#include "generic/avx512_scales.inc"

#include "generic/blocks.inc"
#include "generic/integer.inc"

#include "generic/integer_lanes.inc"

// ---- rows of bytes, times many planes ---------------------------------------------------------------------------------------
//
// Sums of integers are exact, whatever the order: so rows are interleaved, once for all planes, and a vector is 16 columns of
// four rows. A lane then sums a quarter of a row, and sums of 16 rows are added up by 9 operations, not 48.

// Fewer planes are multiplied with rows in place.
constexpr size_t kFewPlanes = 8;
constexpr size_t kPanelRows = 16, kGroupBytes = 16;
constexpr int kGroups4 = 4;

// Panels are [16 columns][group of four rows], biased, zeros behind a row's end. Group g has rows g, g + 4, g + 8 and g + 12, so
// that sums come out in order.
static void fill_panel(const uint8_t* rows, size_t row_bytes, size_t count, uint8_t* panel) {
  const auto fill = [&](size_t k, auto get) {
    LMHEAD_UNROLL
    for (size_t g = 0; g < kGroups4; g++) {
      const auto row = [&](size_t i) { return with_bias(get(rows + (4 * i + g) * row_bytes + k)).values; };
      const Q a = row(0), b = row(1), c = row(2), d = row(3);
      const Q even = _mm512_shuffle_i32x4(a, b, 0x88), odd = _mm512_shuffle_i32x4(a, b, 0xdd);
      const Q last_even = _mm512_shuffle_i32x4(c, d, 0x88), last_odd = _mm512_shuffle_i32x4(c, d, 0xdd);
      const auto put = [&](size_t i, Q x) { _mm512_store_si512(panel + k * kPanelRows + (i * kGroups4 + g) * kIntegers, x); };
      put(0, _mm512_shuffle_i32x4(even, last_even, 0x88));
      put(1, _mm512_shuffle_i32x4(odd, last_odd, 0x88));
      put(2, _mm512_shuffle_i32x4(even, last_even, 0xdd));
      put(3, _mm512_shuffle_i32x4(odd, last_odd, 0xdd));
    }
  };
  const size_t whole = count / kIntegers * kIntegers;
  for (size_t k = 0; k < whole; k += kIntegers) fill(k, [&](const uint8_t* p) { return load_q(p); });
  const __mmask64 left = (__mmask64{1} << count % kIntegers) - 1;
  if (left) fill(whole, [&](const uint8_t* p) { return _mm512_maskz_loadu_epi8(left, p); });
}

static inline I add_pairs(I a, I b) { return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)); }

// Adds the products of a panel of `count` columns, whole vectors of a row, and C planes to sums[c * kPanelRows + r]. ahead: what
// to ask memory for meanwhile, so many bytes a step.
template <int C>
static void add_panel(const uint8_t* panel, size_t count, const int8_t* x, size_t stride, const uint8_t* ahead, size_t ahead_step,
                      int32_t* sums) {
  I acc[kGroups4][C];
  LMHEAD_UNROLL
  for (int g = 0; g < kGroups4; g++) {
    LMHEAD_UNROLL
    for (int c = 0; c < C; c++) acc[g][c] = zero_i();
  }
  for (size_t k = 0; k < count; k += kGroupBytes, ahead += ahead_step) {
    prefetch_far(ahead);
    prefetch_far(ahead + ahead_step / 2);
    Q w[kGroups4];
    LMHEAD_UNROLL
    for (int g = 0; g < kGroups4; g++) w[g] = load_q(panel + k * kPanelRows + static_cast<size_t>(g) * kIntegers);
    LMHEAD_UNROLL
    for (int c = 0; c < C; c++) {
      const Q its = repeat(reinterpret_cast<const uint8_t*>(x + static_cast<size_t>(c) * stride + k));
      LMHEAD_UNROLL
      for (int g = 0; g < kGroups4; g++) acc[g][c] = add_narrow(acc[g][c], w[g], its);
    }
  }
  I kept[C][kGroups4];
  LMHEAD_UNROLL
  for (int c = 0; c < C; c++) {
    LMHEAD_UNROLL
    for (int g = 0; g < kGroups4; g++) kept[c][g] = acc[g][c];
  }
  LMHEAD_ROLLED
  for (int c = 0; c < C; c++, sums += kPanelRows) {
    const I first = add_pairs(kept[c][0], kept[c][1]), last = add_pairs(kept[c][2], kept[c][3]);
    const I all = _mm512_add_epi32(_mm512_unpacklo_epi64(first, last), _mm512_unpackhi_epi64(first, last));
    _mm512_storeu_si512(sums, _mm512_add_epi32(load_q(sums), all));
  }
}

// The products of a panel's rows and a state: sums of its planes, each kBias times the sum of their values too large.
static void put_panel_products(const int32_t* sums, const IntegerStates& states, size_t column, const double* row_scales,
                               float* out) {
  const auto exact_sums = [&](size_t plane) {
    const int32_t bias = kBias * states.sums[column * states.planes + plane];
    return _mm512_sub_epi32(load_q(sums + plane * kPanelRows), _mm512_set1_epi32(bias));
  };
  const I high = exact_sums(0), low = states.planes == 2 ? exact_sums(1) : zero_i();
  const D state_scale = set_d(static_cast<double>(states.scales[column])), factor = set_d(kHighPlane);
  const auto half = [&](size_t first, __m256i its_high, __m256i its_low) {
    D sum = _mm512_cvtepi32_pd(its_high);
    if (states.planes == 2) sum = add_d(multiply_d(factor, sum), _mm512_cvtepi32_pd(its_low));
    return multiply_d(sum, multiply_d(_mm512_loadu_pd(row_scales + first), state_scale));
  };
  store(out, join(half(0, _mm512_castsi512_si256(high), _mm512_castsi512_si256(low)),
                  half(8, _mm512_extracti64x4_epi64(high, 1), _mm512_extracti64x4_epi64(low, 1))));
}

static void panel_product(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states, size_t first_column,
                          size_t columns, float* out, size_t out_stride) {
  // A panel's part is in a first-level cache while all planes pass; and sums are of so many planes.
  constexpr size_t kPart = 1024, kMostPlanes = 96, kTile = 6;
  const size_t whole = columns * states.planes < kFewPlanes ? 0 : rows / kPanelRows * kPanelRows;
  alignas(64) uint8_t panel[kPanelRows * kPart];
  alignas(64) int32_t sums[kMostPlanes * kPanelRows];
  const size_t row_bytes = e.row_bytes(), d = e.columns;
  const size_t blocks = (columns * states.planes + kMostPlanes - 1) / kMostPlanes;
  for (size_t r = 0; r < whole; r += kPanelRows) {
    const uint8_t* const its = e.row(first_row + r);
    double row_scales[kPanelRows];
    for (size_t i = 0; i < kPanelRows; i++) row_scales[i] = scale_of_row(its + i * row_bytes);
    for (size_t b = 0, c = 0; b < blocks; b++) {
      const size_t width = (columns - c + blocks - b - 1) / (blocks - b), planes = width * states.planes;
      const int8_t* const x = states.values + (first_column + c) * states.planes * states.stride;
      const size_t tiles = (planes + kTile - 1) / kTile;
      // The next panel's rows, while the first planes pass.
      const uint8_t* ahead = its + kPanelRows * row_bytes;
      const size_t ahead_step = b == 0 ? kPanelRows * kGroupBytes / tiles : 0;
      std::memset(sums, 0, planes * kPanelRows * sizeof *sums);
      for (size_t k = 0; k < d; k += kPart) {
        const size_t count = d - k < kPart ? d - k : kPart;
        fill_panel(its + row_format(Dtype::i8).header + k, row_bytes, count, panel);
        for (size_t t = 0, plane = 0; t < tiles; t++) {
          const size_t taken = (planes - plane + tiles - t - 1) / (tiles - t);
          (taken == 6   ? add_panel<6>
           : taken == 5 ? add_panel<5>
                        : add_panel<4>)(panel, count, x + plane * states.stride + k, states.stride, ahead, ahead_step,
                                        sums + plane * kPanelRows);
          ahead += count / kGroupBytes * ahead_step;
          plane += taken;
        }
      }
      for (size_t i = 0; i < width; i++)
        put_panel_products(sums + i * states.planes * kPanelRows, states, first_column + c + i, row_scales,
                           out + (c + i) * out_stride + r);
      c += width;
    }
  }
  if (whole < rows) byte_product(e, first_row + whole, rows - whole, states, first_column, columns, out + whole, out_stride);
}

// As generic/kernels.inc has it of floats.
static float int8_multiply_adds(size_t count) {
  constexpr int kChains = 12;
  I acc[kChains];
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) acc[j] = _mm512_set1_epi32(j);  // or compilers make one chain of equal ones
  const Q a = _mm512_set1_epi8(1);
  for (size_t i = 0; i < count; i += kChains * kIntegers) {
    LMHEAD_UNROLL
    for (int j = 0; j < kChains; j++) acc[j] = _mm512_dpbusd_epi32(acc[j], acc[j], a);
  }
  I all = acc[0];
  LMHEAD_UNROLL
  for (int j = 1; j < kChains; j++) all = _mm512_add_epi32(all, acc[j]);
  return static_cast<float>(reduce_i(all));
}

constexpr decltype(Kernels::integer_product) kProducts = LMHEAD_INTEGER_PRODUCTS;
constexpr decltype(Kernels::packed_planes) kPacked = LMHEAD_PACKED_PLANES;

}  // namespace avx512vnni
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
// Out of the region: whoever asks for a table need not be a CPU that can use it.
const Kernels* avx512_vnni_kernels() {
#if LMHEAD_AVX512
  static const Kernels table = [] {
    Kernels all = with_integer_products(*avx512_kernels(), avx512vnni::kProducts, avx512vnni::kPacked);
    all.integer_product[static_cast<size_t>(Dtype::i8)] = avx512vnni::panel_product;
    all.int8_multiply_adds = avx512vnni::int8_multiply_adds;
    return all;
  }();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
