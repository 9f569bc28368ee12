// Products of bfloat16 weights by AVX-512 BF16: Zen 4 (2022) and later, Cooper Lake, Sapphire Rapids. Everything else as in the
// AVX-512 table.
//
// Its instruction adds the products of two pairs of bfloat16 values to a sum in f32, one after the other, each rounded to
// nearest even. So it serves hidden states that bfloat16 holds; others take the AVX-512 product. It takes subnormal values for
// 0: rows of E and hidden states with such values take the AVX-512 product, too, each by its own values alone, so that bits are
// the same in any batch. Infinities and NaN are what they are everywhere.
//
// Every (row, state) has one accumulator whose lanes run over pairs, in ascending order, and one tree that adds its lanes.
#include <cstring>
#include <limits>

#include "../numerics/aligned.h"
#include "bfloat16_states.h"
#include "kernels.h"

#include "generic/region.h"

#if LMHEAD_AVX512
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512bf16,avx512vnni,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512bf16 {

#include "generic/avx512.inc"

constexpr size_t kElements = 32;  // in a vector
constexpr size_t kGroup = 4;      // hidden states that are multiplied side by side
constexpr int kGroupRows = 6;     // with so many rows: 24 accumulators
// Numbers of a row and of a group's states that stay in a first-level cache while groups and rows pass.
constexpr size_t kPart = 1024;
// Hidden states at a time, so that they stay in a second-level cache beside a strip of E, which they all pass over.
constexpr size_t kStatesBytes = size_t{384} << 10, kStripBytes = size_t{256} << 10;
constexpr size_t kMostStates = 96;

static inline __m512bh as_values(Q x) {
  __m512bh values;
  std::memcpy(&values, &x, sizeof values);
  return values;
}
static inline F add_products(F sum, Q w, Q x) { return _mm512_dpbf16_ps(sum, as_values(w), as_values(x)); }
static inline __mmask32 first_values(size_t count) { return count >= kElements ? ~__mmask32{0} : (__mmask32{1} << count) - 1; }
static inline Q load_values(const uint8_t* p, __mmask32 mask) { return _mm512_maskz_loadu_epi16(mask, p); }

// Whether there was a subnormal number among those seen: without signs these are 1 to 0x7f, so twice that, less one, is at most
// 0xfd, which no other number comes to.
struct Watch {
  Q least;
  Watch() : least(_mm512_set1_epi32(-1)) {}
  void see(Q w) { least = _mm512_min_epu16(least, _mm512_add_epi16(_mm512_add_epi16(w, w), _mm512_set1_epi32(-1))); }
  bool has_subnormal() const { return _mm512_cmplt_epu16_mask(least, _mm512_set1_epi16(0xff)) != 0; }
};

static bool has_subnormal(const uint8_t* row, size_t d) {
  Watch watch;
  for (size_t k = 0; k < d; k += kElements) watch.see(load_values(row + 2 * k, first_values(d - k)));
  return watch.has_subnormal();
}

// Hidden states as products read them: this header, a byte for each (1: for the AVX-512 product), and groups of kGroup, the last
// perhaps of fewer: [vector of E's columns][state of the group].
struct alignas(64) Packed {
  const float* hidden;
  size_t hidden_stride, columns, d, plain_count;

  static size_t round_up(size_t n) { return (n + 63) / 64 * 64; }
  static size_t vectors(size_t d) { return (d + kElements - 1) / kElements; }
  static size_t size(size_t columns, size_t d) { return sizeof(Packed) + round_up(columns) + columns * vectors(d) * 64; }
  uint8_t* plain() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* plain() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  uint8_t* group(size_t g) { return plain() + round_up(columns) + g * kGroup * vectors(d) * 64; }
  const uint8_t* group(size_t g) const { return const_cast<Packed*>(this)->group(g); }
  size_t width(size_t g) const { return columns - g * kGroup < kGroup ? columns - g * kGroup : kGroup; }
};

// Whether bfloat16 does not hold it, or only as a subnormal number.
static bool is_plain(const float* h, size_t d) {
  __mmask16 plain = 0;
  for (size_t k = 0; k < d; k += kLanes) {
    const I bits = _mm512_castps_si512(load(h + k));  // zeros beyond d
    const I magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    plain |= _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0xffff));
    plain |= _mm512_cmplt_epu32_mask(_mm512_sub_epi32(magnitude, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x007fffff));
  }
  return plain != 0;
}

static void pack_states(const float* hidden, size_t hidden_stride, size_t columns, size_t d, void* to) {
  Packed& packed = *static_cast<Packed*>(to);
  packed.hidden = hidden;
  packed.hidden_stride = hidden_stride;
  packed.columns = columns;
  packed.d = d;
  packed.plain_count = 0;
  for (size_t c = 0; c < columns; c++) {
    const float* const h = hidden + c * hidden_stride;
    const size_t width = packed.width(c / kGroup);
    packed.plain()[c] = is_plain(h, d);
    packed.plain_count += packed.plain()[c];
    uint8_t* at = packed.group(c / kGroup) + c % kGroup * 64;
    for (size_t k = 0; k < d; k += kLanes) {
      const I upper = _mm512_srli_epi32(_mm512_castps_si512(load(h + k)), 16);
      _mm256_store_si256(reinterpret_cast<__m256i*>(at + k / kElements * width * 64 + k % kElements * 2),
                         _mm512_cvtepi32_epi16(packed.plain()[c] ? _mm512_setzero_si512() : upper));
    }
    if (d % kElements > 0 && d % kElements <= kLanes)
      _mm256_store_si256(reinterpret_cast<__m256i*>(at + d / kElements * width * 64 + 32), _mm256_setzero_si256());
  }
}

// Rows of E as products read them: in place for the first group of states, which leaves them in a panel, [vector][row], for the
// others. Rows of 4096 bytes or so lie so far apart that all of a panel's lines would share a few sets of a first-level cache.
enum class From { rows, panel };

struct Part {
  const uint8_t* e;
  size_t row_bytes, height;  // of kGroupRows
  size_t count;              // values of each row
  uint8_t* panel;
  // What to ask memory for meanwhile, as it will be wanted next: `ahead_step` bytes a step.
  const uint8_t* ahead;
  size_t ahead_step;
};

// Adds the products of a part of R rows and a group of C states to their accumulators. Whether a row has a subnormal number,
// where rows are read in place.
template <From from, int R, int C>
static inline bool part_block(const Part& part, const uint8_t* states, float* sums) {
  F acc[R][C];
  const uint8_t* rows[R];
  LMHEAD_UNROLL
  for (int r = 0; r < R; r++) {
    const size_t row = static_cast<size_t>(r) < part.height ? static_cast<size_t>(r) : part.height - 1;  // the last one again
    rows[r] = part.e + row * part.row_bytes;
    LMHEAD_UNROLL
    for (int c = 0; c < C; c++) acc[r][c] = load(sums + (r * C + c) * kLanes);
  }
  const uint8_t* ahead = part.ahead;
  uint8_t* panel = part.panel;
  Watch watch;
  for (size_t k = 0; k < part.count; k += kElements) {
    LMHEAD_UNROLL
    for (size_t line = 0; line < R; line++)
      if (line * 64 < part.ahead_step) prefetch_far(ahead + line * 64);
    ahead += part.ahead_step;
    Q x[C];
    LMHEAD_UNROLL
    for (int c = 0; c < C; c++) x[c] = load_q(states + c * 64);
    states += C * 64;
    const __mmask32 mask = first_values(part.count - k);
    LMHEAD_UNROLL
    for (int r = 0; r < R; r++) {
      const Q w = from == From::panel ? load_q(panel + r * 64) : load_values(rows[r] + 2 * k, mask);
      if constexpr (from == From::rows) {
        if constexpr (R == kGroupRows) _mm512_store_si512(panel + r * 64, w);
        watch.see(w);
      }
      LMHEAD_UNROLL
      for (int c = 0; c < C; c++) acc[r][c] = add_products(acc[r][c], w, x[c]);
    }
    panel += R * 64;
  }
  LMHEAD_UNROLL
  for (int r = 0; r < R; r++) {
    LMHEAD_UNROLL
    for (int c = 0; c < C; c++) store(sums + (r * C + c) * kLanes, acc[r][c]);
  }
  return from == From::rows && watch.has_subnormal();
}

// The same for a group of `width` states; C: at most so many.
template <From from, int C>
static inline bool group_block(size_t width, const Part& part, const uint8_t* states, float* sums) {
  if constexpr (C > 1)
    if (width < C) return group_block<from, C - 1>(width, part, states, sums);
  return part_block<from, kGroupRows, C>(part, states, sums);
}

constexpr size_t kSums = kGroupRows * kGroup;  // of a group
constexpr size_t kMostGroups = kMostStates / kGroup;
alignas(64) static thread_local float sums_memory[kMostGroups * kSums * kLanes];
alignas(64) static thread_local uint8_t panel_memory[kGroupRows * kPart * 2];

// What a product is asked for: columns [first, end) of the packed ones.
struct Wanted {
  const Kernels& plain;
  const Matrix& e;
  const Packed& states;
  size_t first, end;
  float* out;  // of the first column
  size_t out_stride;

  void by_plain(size_t row, size_t first_row, size_t rows, size_t from, size_t to) const {
    plain.product[static_cast<size_t>(Dtype::bf16)](e, first_row + row, rows, states.hidden + from * states.hidden_stride,
                                                    states.hidden_stride, to - from, out + (from - first) * out_stride + row,
                                                    out_stride);
  }
};

// A strip of rows times some groups.
static void strip_product(const Wanted& wanted, size_t first_row, size_t begin, size_t end, size_t first_group,
                          size_t end_group) {
  const Packed& states = wanted.states;
  const size_t row_bytes = wanted.e.row_bytes(), d = wanted.e.columns;
  const size_t from = first_group * kGroup < wanted.first ? wanted.first : first_group * kGroup;
  const size_t to = end_group * kGroup < wanted.end ? end_group * kGroup : wanted.end;
  const bool is_single = end_group - first_group == 1 && states.width(first_group) == 1;
  const size_t height = is_single ? 2 : kGroupRows, most = is_single ? d : kPart;
  const size_t steps = Packed::vectors(d) * (end_group - first_group);
  const size_t ahead_step = height * row_bytes / steps;
  float* const all_sums = sums_memory;
  uint8_t* const panel = panel_memory;
  for (size_t r = begin; r < end; r += height) {
    const uint8_t* const e = wanted.e.row(first_row + r);
    const size_t rows = end - r < height ? end - r : height;
    const uint8_t* ahead = e + rows * row_bytes + (is_single ? kPrefetchDistance : 0);
    bool has_subnormals = false;
    std::memset(all_sums, 0, (end_group - first_group) * kSums * kLanes * sizeof(float));
    for (size_t k = 0; k < d; k += most) {
      Part part = {e + 2 * k, row_bytes, rows, d - k < most ? d - k : most, panel, ahead, ahead_step};
      for (size_t g = first_group; g < end_group; g++) {
        const size_t width = states.width(g);
        const uint8_t* const x = states.group(g) + k / kElements * width * 64;
        float* const sums = all_sums + (g - first_group) * kSums * kLanes;
        if (is_single)
          has_subnormals |= part_block<From::rows, 2, 1>(part, x, sums);
        else if (g == first_group)
          has_subnormals |= group_block<From::rows, kGroup>(width, part, x, sums);
        else
          group_block<From::panel, kGroup>(width, part, x, sums);
        part.ahead += part.count / kElements * ahead_step;
      }
      ahead = part.ahead;
    }
    for (size_t g = first_group; g < end_group; g++) {
      const size_t width = states.width(g);
      const float* const sums = all_sums + (g - first_group) * kSums * kLanes;
      float added[kSums];  // [row][state]
      LMHEAD_ROLLED
      for (size_t i = 0; i < rows * width; i += 4) {
        const float* const at = sums + i * kLanes;
        reduce4(load(at), load(at + kLanes), load(at + 2 * kLanes), load(at + 3 * kLanes), added + i);
      }
      for (size_t c = 0; c < width; c++) {
        const size_t column = g * kGroup + c;
        if (column < from || column >= to) continue;
        float* const out = wanted.out + (column - wanted.first) * wanted.out_stride + r;
        for (size_t i = 0; i < rows; i++) out[i] = added[i * width + c];
      }
    }
    for (size_t i = 0; has_subnormals && i < rows; i++)
      if (has_subnormal(e + i * row_bytes, d)) wanted.by_plain(r + i, first_row, 1, from, to);
  }
}

static void product(const Kernels& plain, const Matrix& e, size_t first_row, size_t rows, const Packed& states,
                    size_t first_column, size_t columns, float* out, size_t out_stride) {
  const size_t end_column = first_column + columns;
  const Wanted wanted = {plain, e, states, first_column, end_column, out, out_stride};
  const size_t first_group = first_column / kGroup, end_group = (end_column + kGroup - 1) / kGroup;
  size_t strip = kStripBytes / e.row_bytes() / kGroupRows * kGroupRows;
  if (strip == 0) strip = kGroupRows;
  size_t most = kStatesBytes / (Packed::vectors(e.columns) * 64 * kGroup);
  most = most == 0 ? 1 : most < kMostGroups ? most : kMostGroups;
  const size_t blocks = (end_group - first_group + most - 1) / most;
  for (size_t r = 0; r < rows && states.plain_count < states.columns; r += strip) {
    const size_t end = rows - r < strip ? rows : r + strip;
    for (size_t b = 0, g = first_group; b < blocks; b++) {
      const size_t share = (end_group - g + blocks - b - 1) / (blocks - b);
      strip_product(wanted, first_row, r, end, g, g + share);
      g += share;
    }
  }
  for (size_t c = first_column, next; states.plain_count > 0 && c < end_column; c = next) {
    for (next = c + 1; next < end_column && states.plain()[next] == states.plain()[c]; next++) continue;
    if (states.plain()[c]) wanted.by_plain(0, first_row, rows, c, next);
  }
}

// As generic/kernels.inc has it of floats.
static float multiply_adds(size_t count) {
  constexpr int kChains = 12;
  F acc[kChains];
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) acc[j] = set(static_cast<float>(j));
  const Q a = _mm512_set1_epi16(0x3080);  // 2^-30: sums stay
  for (size_t i = 0; i < count; i += kChains * kElements) {
    LMHEAD_UNROLL
    for (int j = 0; j < kChains; j++) acc[j] = add_products(acc[j], a, a);
  }
  F all = acc[0];
  LMHEAD_UNROLL
  for (int j = 1; j < kChains; j++) all = add(all, acc[j]);
  return reduce(all);
}

}  // namespace avx512bf16
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
const Kernels* avx512_bf16_kernels() {
#if LMHEAD_AVX512
  static const Kernels table = [] {
    Kernels all = *avx512_vnni_kernels();
    all.name = "avx512bf16";
    Bfloat16States<avx512bf16::Packed, avx512bf16::pack_states, avx512bf16::product, avx512_kernels>::put_into(all);
    all.bf16_multiply_adds = avx512bf16::multiply_adds;
    return all;
  }();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
