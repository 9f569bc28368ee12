// AMX: the matrix unit of Sapphire Rapids (2023) and later, for bfloat16 weights, and for int8 ones where hidden states are
// integers, too; everything else as in the AVX-512 table.
//
// It multiplies bfloat16 numbers exactly and sums in f32. A hidden state in f32 is the sum of three bfloat16 numbers, cut off at
// 8 bits each, so its product is three products with the same tile of E. A state that bfloat16 holds needs one; the parts of 0
// that another state in the batch may make of it add +0, so it has the same bits in any company.
//
// The unit takes subnormal numbers for 0. Rows of E with subnormal, infinite or NaN weights, and hidden states with such numbers
// or parts, take the AVX-512 product: each by its own numbers alone, so that this too is the same in any company.
//
// Of int8 numbers both products and sums are exact: a plane of a hidden state takes a column of a tile, and has the bits that
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

constexpr size_t kTileDepth = 32;      // columns of E in a tile of bfloat16
constexpr size_t kTileStates = 16;     // hidden states in a tile, or planes of them
constexpr size_t kPanelRows = 32;      // rows of E, two tiles, that are copied once and multiplied with every hidden state
constexpr size_t kSliceTiles = 8;      // tiles side by side that stay in the first-level cache while hidden states pass
constexpr uint32_t kLowHalf = 0xffff;  // the bits of an f32 that bfloat16 has not
constexpr size_t kMostPanelTiles = kPanelRows / kTileRows;

static inline size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }
static inline size_t tiles_of(size_t bytes) { return (bytes + kTileRowBytes - 1) / kTileRowBytes; }
static inline size_t blocks_of(size_t columns) { return (columns + kTileStates - 1) / kTileStates; }

// Sixteen rows of sixteen 32-bit words, transposed in place.
static inline void transpose(__m512i* x) {
  __m512i t[16];
  LMHEAD_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  // Of every four rows: each 128-bit lane holds one word of the four, lane l the words 4l to 4l + 3.
  LMHEAD_UNROLL
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  LMHEAD_UNROLL
  for (int i = 0; i < 4; i++) {
    const __m512i low = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88), low_odd = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    const __m512i high = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
    t[i] = _mm512_shuffle_i32x4(low, high, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(low, high, 0xdd);
    t[i + 4] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
  LMHEAD_UNROLL
  for (int i = 0; i < 16; i++) x[i] = t[i];
}

// Hidden states as products read them: tiles [block of 16][tile of E][part].
struct Blocks {
  const uint8_t* tiles;
  size_t depth, parts;
  const uint8_t* block(size_t i) const { return tiles + i * depth * parts * kTileBytes; }
};

// ---- hidden states of floats ------------------------------------------------------------------------------------------------

constexpr size_t kMostParts = 3;

struct Parts {
  __m512 part[kMostParts];  // their sum is the number, unless it is infinite, NaN or too small
};
static inline __m512 cut(__m512 x) {
  return _mm512_castsi512_ps(_mm512_andnot_si512(_mm512_set1_epi32(kLowHalf), _mm512_castps_si512(x)));
}
static inline Parts split(__m512 h) {
  Parts p;
  p.part[0] = cut(h);
  const __m512 rest = _mm512_sub_ps(h, p.part[0]);
  p.part[1] = cut(rest);
  p.part[2] = _mm512_sub_ps(rest, p.part[1]);
  return p;
}
static inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1); }

struct State {
  size_t parts;  // how many are not 0
  bool plain;    // not for the unit
};
static State examine(const float* hidden, size_t d) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff), one = _mm512_set1_epi32(1);
  __mmask16 plain = 0, second = 0, third = 0;
  for (size_t k = 0; k < d; k += 16) {
    const Parts p = split(_mm512_maskz_loadu_ps(first_lanes(d - k), hidden + k));
    for (size_t i = 0; i < kMostParts; i++) {
      const __m512i bits = _mm512_and_si512(_mm512_castps_si512(p.part[i]), magnitude);
      plain |= _mm512_cmpge_epu32_mask(bits, _mm512_set1_epi32(0x7f800000));                         // infinite or NaN
      plain |= _mm512_cmplt_epu32_mask(_mm512_sub_epi32(bits, one), _mm512_set1_epi32(0x007fffff));  // subnormal
    }
    second |= _mm512_cmp_ps_mask(p.part[1], _mm512_setzero_ps(), _CMP_NEQ_UQ);
    third |= _mm512_cmp_ps_mask(p.part[2], _mm512_setzero_ps(), _CMP_NEQ_UQ);
  }
  return {third ? size_t{3} : second ? size_t{2} : size_t{1}, plain != 0};
}

// Hidden states as the unit takes them: this header, a byte for each (1: plain), and Blocks' tiles.
struct alignas(64) Packed {
  const float* hidden;
  size_t hidden_stride, columns, d, parts;

  uint8_t* plain() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* plain() const { return reinterpret_cast<const uint8_t*>(this + 1); }
  uint8_t* tiles() { return plain() + round_up(columns, 64); }
  Blocks blocks() const { return {plain() + round_up(columns, 64), tiles_of(2 * d), parts}; }
};

static size_t parts_of(const float* hidden, size_t hidden_stride, size_t columns, size_t d) {
  size_t parts = 1;
  for (size_t c = 0; c < columns; c++) {
    const size_t own = examine(hidden + c * hidden_stride, d).parts;
    parts = own > parts ? own : parts;
  }
  return parts;
}

static size_t packed_size(size_t columns, size_t d, size_t parts) {
  return sizeof(Packed) + round_up(columns, 64) + blocks_of(columns) * tiles_of(2 * d) * parts * kTileBytes;
}

// to: packed_size bytes, from the start of a cache line. A state that has more parts than that loses them.
static void pack(const float* hidden, size_t hidden_stride, size_t columns, size_t d, size_t parts, void* to) {
  Packed& packed = *static_cast<Packed*>(to);
  packed.hidden = hidden;
  packed.hidden_stride = hidden_stride;
  packed.columns = columns;
  packed.d = d;
  packed.parts = parts;
  for (size_t c = 0; c < columns; c++) packed.plain()[c] = examine(hidden + c * hidden_stride, d).plain;

  // The upper halves of 32 floats, in order.
  alignas(64) uint16_t upper[32];
  for (uint16_t i = 0; i < 32; i++) upper[i] = static_cast<uint16_t>(2 * i + 1);
  const __m512i order = _mm512_load_si512(upper);
  uint8_t* tile = packed.tiles();
  for (size_t first = 0; first < columns; first += kTileStates)
    for (size_t k = 0; k < d; k += kTileDepth) {
      __m512i rows[kMostParts][kTileStates];
      for (size_t i = 0; i < kTileStates; i++) {
        const size_t c = first + i;
        const bool empty = c >= columns || packed.plain()[c];
        const size_t left = empty ? 0 : d - k;
        const float* const h = hidden + (empty ? 0 : c * hidden_stride) + k;
        const Parts low = split(_mm512_maskz_loadu_ps(first_lanes(left), h));
        const Parts high = split(_mm512_maskz_loadu_ps(first_lanes(left > 16 ? left - 16 : 0), h + 16));
        for (size_t p = 0; p < kMostParts; p++)
          rows[p][i] = _mm512_permutex2var_epi16(_mm512_castps_si512(low.part[p]), order, _mm512_castps_si512(high.part[p]));
      }
      for (size_t p = 0; p < packed.parts; p++) {
        transpose(rows[p]);
        for (size_t i = 0; i < kTileStates; i++, tile += kTileRowBytes) _mm512_store_si512(tile, rows[p][i]);
      }
    }
}

// ---- hidden states of integers -----------------------------------------------------------------------------------------

// Fewer planes are left to the AVX-512 table, whose bits are the same. In the time in which rows are copied into a tile and that
// is multiplied with 1 to 16 planes, about 32 cycles, VNNI multiplies them with 4, in place; and for a few more, memory is slower
// than either.
constexpr size_t kFewPlanes = 8;

static size_t packed_planes_size(size_t planes, size_t stride) {
  return planes < kFewPlanes ? 0 : blocks_of(planes) * tiles_of(stride) * kTileBytes;
}

static void pack_planes(const int8_t* numbers, size_t planes, size_t stride, void* to) {
  uint8_t* tile = static_cast<uint8_t*>(to);
  for (size_t first = 0; first < planes; first += kTileStates)
    for (size_t k = 0; k < stride; k += kTileRowBytes) {
      __m512i rows[kTileStates];
      for (size_t i = 0; i < kTileStates; i++)
        rows[i] = first + i < planes ? _mm512_loadu_si512(numbers + (first + i) * stride + k) : _mm512_setzero_si512();
      transpose(rows);
      for (size_t i = 0; i < kTileStates; i++, tile += kTileRowBytes) _mm512_store_si512(tile, rows[i]);
    }
}

// ---- product ---------------------------------------------------------------------------------------------------------------

// Asks for the next panel's bytes a little at a time, so that they stream in while this one is worked on.
class Ahead {
 public:
  Ahead(const uint8_t* next, size_t bytes, size_t beats)
      : at_(next), end_(next + bytes), step_((bytes << 8) / (beats > 0 ? beats : 1)) {}
  void beat(size_t count = 1) {
    for (due_ += count * step_; due_ >= (64 << 8) && at_ < end_; due_ -= 64 << 8, at_ += 64)
      _mm_prefetch(reinterpret_cast<const char*>(at_), _MM_HINT_T1);
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
  const size_t step_;  // bytes a beat, times 256
  size_t due_ = 0;
};

// What is worked on beside E and the hidden states.
struct Scratch {
  uint8_t* panel;  // tiles [tile of E][tile of rows]
  uint8_t* sums;   // tiles [block of hidden states][tile of rows]
};
static size_t panel_size(size_t depth) { return depth * kMostPanelTiles * kTileBytes; }
static size_t sums_size(size_t columns) { return (columns / kTileStates + 2) * kMostPanelTiles * kTileBytes; }

// Copies `bytes` bytes of each row of E into tiles, zeros behind them and below; returns a bit for each row that is not for the
// unit. The unit could load rows where they lie, but it loads each again for every two blocks of hidden states: rows of int8
// start anywhere in a cache line, so that each load would take two, and rows of 4096 columns or so lie so far apart that all of a
// tile's lines share one or two sets of the first-level cache.
template <Numbers numbers>
static uint32_t copy_panel(const uint8_t* e, size_t row_bytes, size_t height, size_t bytes, uint8_t* panel, Ahead& ahead) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff), one = _mm512_set1_epi16(1);
  const size_t depth = tiles_of(bytes), tiles = (height + kTileRows - 1) / kTileRows;
  uint32_t plain = 0;
  for (size_t begin = 0; begin < depth; begin += kSliceTiles) {
    const size_t end = begin + kSliceTiles < depth ? begin + kSliceTiles : depth;
    for (size_t r = 0; r < tiles * kTileRows; r++) {
      __mmask32 odd = 0;
      for (size_t k = begin; k < end; k++) {
        const size_t left = r < height ? bytes - k * kTileRowBytes : 0;
        const __mmask64 lanes = left >= kTileRowBytes ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
        const __m512i w = _mm512_maskz_loadu_epi8(lanes, r < height ? e + r * row_bytes + k * kTileRowBytes : e);
        if constexpr (numbers == Numbers::bf16) {
          const __m512i bits = _mm512_and_si512(w, magnitude);
          odd |= _mm512_cmpge_epu16_mask(bits, _mm512_set1_epi16(0x7f80));                         // infinite or NaN
          odd |= _mm512_cmplt_epu16_mask(_mm512_sub_epi16(bits, one), _mm512_set1_epi16(0x007f));  // subnormal
        }
        _mm512_store_si512(panel + ((k * tiles + r / kTileRows) * kTileRows + r % kTileRows) * kTileRowBytes, w);
      }
      plain |= uint32_t{odd != 0} << r;
      ahead.beat();
    }
  }
  return plain;
}

// Adds the products of R tiles of rows and C blocks of hidden states over `depth` tiles of E to their sums, or begins those.
template <class Unit, int R, int C>
static inline void multiply(Unit& unit, const uint8_t* panel, const uint8_t* const* hidden, size_t parts, size_t depth,
                            bool begins, uint8_t* const (*sums)[2], Ahead& ahead) {
  const auto each_sum = [&](auto&& use) {
    use.template operator()<0, 0>();
    if constexpr (C > 1) use.template operator()<0, 1>();
    if constexpr (R > 1) use.template operator()<1, 0>();
    if constexpr (R > 1 && C > 1) use.template operator()<1, 1>();
  };
  if (begins)
    each_sum([&]<int r, int c>() { unit.template clear_sum<r, c>(); });
  else
    each_sum([&]<int r, int c>() { unit.template load_sum<r, c>(sums[r][c]); });
  for (size_t k = 0; k < depth; k++) {
    unit.template load_weights<0>(panel + k * R * kTileBytes);
    if constexpr (R > 1) unit.template load_weights<1>(panel + (k * R + 1) * kTileBytes);
    for (size_t p = 0; p < parts; p++) {
      unit.template load_hidden<0>(hidden[0] + (k * parts + p) * kTileBytes);
      if constexpr (C > 1) unit.template load_hidden<1>(hidden[1] + (k * parts + p) * kTileBytes);
      each_sum([&]<int r, int c>() { unit.template multiply<r, c>(); });
    }
    ahead.beat(R * C * parts);
  }
  each_sum([&]<int r, int c>() { unit.template store_sum<r, c>(sums[r][c]); });
}

// All of a panel's R tiles of rows times the blocks of hidden states [first, end).
template <class Unit, int R>
static void multiply_panel(Unit& unit, const Blocks& blocks, size_t first, size_t end, const Scratch& scratch, Ahead& ahead) {
  const size_t depth = blocks.depth, parts = blocks.parts;
  for (size_t k = 0; k < depth; k += kSliceTiles) {
    const size_t tiles = depth - k < kSliceTiles ? depth - k : kSliceTiles;
    const uint8_t* const panel = scratch.panel + k * R * kTileBytes;
    for (size_t b = first; b < end; b += 2) {
      const uint8_t* hidden[2] = {};
      uint8_t* sums[2][2] = {};
      for (size_t c = 0; c < 2 && b + c < end; c++) {
        hidden[c] = blocks.block(b + c) + k * parts * kTileBytes;
        for (size_t r = 0; r < R; r++) sums[r][c] = scratch.sums + ((b + c - first) * R + r) * kTileBytes;
      }
      if (b + 1 < end)
        multiply<Unit, R, 2>(unit, panel, hidden, parts, tiles, k == 0, sums, ahead);
      else
        multiply<Unit, R, 1>(unit, panel, hidden, parts, tiles, k == 0, sums, ahead);
    }
  }
}

// A tile of sums, [row][hidden state], the other way round.
static inline void load_columns(const uint8_t* tile, __m512i* columns) {
  for (size_t r = 0; r < kTileRows; r++) columns[r] = _mm512_load_si512(tile + r * kTileRowBytes);
  transpose(columns);
}

// `rows` rows of E from first_row on times `count` columns of `blocks` from `first` on. results.write() takes a tile of sums with
// the row that it begins with, how many rows it has, which of its columns are wanted, begin <= i < end, and the place of the
// first of these; rows and places count from first_row and from `first`. results.write_plain_row() takes a row that is not for
// the unit.
template <class Unit, class Results>
static void product(const Matrix& e, size_t first_row, size_t rows, const Blocks& blocks, size_t first, size_t count,
                    const Scratch& scratch, const Results& results) {
  const size_t first_block = first / kTileStates, end_block = blocks_of(first + count);
  const size_t row_bytes = e.row_bytes(), header = row_format(e.dtype).header;
  // A beat is about as long as one product of tiles, and as eight lines' copying.
  const size_t slices = (blocks.depth + kSliceTiles - 1) / kSliceTiles;
  const size_t beats = kPanelRows * slices + kMostPanelTiles * (end_block - first_block) * blocks.parts * blocks.depth;

  Unit unit;
  for (size_t done = 0; done < rows; done += kPanelRows) {
    const size_t height = rows - done < kPanelRows ? rows - done : kPanelRows;
    const uint8_t* const panel = e.row(first_row + done);
    const size_t after = rows - done - height;
    if (done == 0) Ahead(panel, height * row_bytes, 1).beat();
    Ahead ahead(panel + height * row_bytes, (after < kPanelRows ? after : kPanelRows) * row_bytes, beats);
    const uint32_t plain_rows =
        copy_panel<Unit::kNumbers>(panel + header, row_bytes, height, row_bytes - header, scratch.panel, ahead);
    const size_t tiles = height > kTileRows ? 2 : 1;
    if (tiles == 2)
      multiply_panel<Unit, 2>(unit, blocks, first_block, end_block, scratch, ahead);
    else
      multiply_panel<Unit, 1>(unit, blocks, first_block, end_block, scratch, ahead);

    for (size_t b = first_block; b < end_block; b++) {
      const size_t start = b * kTileStates;  // the tile's first column
      const size_t begin = start < first ? first - start : 0;
      const size_t left = first + count - start, end = left < kTileStates ? left : kTileStates;
      for (size_t t = 0; t < tiles; t++) {
        const size_t row = done + t * kTileRows, most = rows - row < kTileRows ? rows - row : kTileRows;
        results.write(scratch.sums + ((b - first_block) * tiles + t) * kTileBytes, row, most, begin, end, start + begin - first);
      }
    }
    for (size_t r = 0; r < height; r++)
      if ((plain_rows >> r) & 1) results.write_plain_row(done + r);
  }
}

// ---- products of floats -----------------------------------------------------------------------------------------------------

struct Floats {
  const Kernels& plain;
  const Matrix& e;
  size_t first_row;
  const float* hidden;
  size_t hidden_stride, columns;
  float* out;
  size_t out_stride;

  void write(const uint8_t* tile, size_t row, size_t rows, size_t begin, size_t end, size_t column) const {
    __m512i sums[kTileStates];
    load_columns(tile, sums);
    // A sum that was flushed may be -0, unless a part of 0 was added to it.
    for (size_t c = begin; c < end; c++)
      _mm512_mask_storeu_ps(out + (column + c - begin) * out_stride + row, first_lanes(rows),
                            _mm512_add_ps(_mm512_castsi512_ps(sums[c]), _mm512_setzero_ps()));
  }
  void write_plain_row(size_t row) const {
    plain.product[static_cast<size_t>(Dtype::bf16)](e, first_row + row, 1, hidden, hidden_stride, columns, out + row, out_stride);
  }
  void write_plain_state(size_t column, size_t rows) const {
    plain.product[static_cast<size_t>(Dtype::bf16)](e, first_row, rows, hidden + column * hidden_stride, hidden_stride, 1,
                                                    out + column * out_stride, out_stride);
  }
};

template <class Unit>
static void float_product(const Kernels& plain, const Matrix& e, size_t first_row, size_t rows, const Packed& packed,
                          size_t first_column, size_t columns, float* out, size_t out_stride, const Scratch& scratch) {
  const float* const hidden = packed.hidden + first_column * packed.hidden_stride;
  const Floats results = {plain, e, first_row, hidden, packed.hidden_stride, columns, out, out_stride};
  product<Unit>(e, first_row, rows, packed.blocks(), first_column, columns, scratch, results);
  for (size_t c = 0; c < columns; c++)
    if (packed.plain()[first_column + c]) results.write_plain_state(c, rows);
}

// ---- products of integers ----------------------------------------------------------------------------------------------

struct Int8Results {
  const Matrix& e;
  size_t first_row, planes;
  const float* scales;
  float* out;
  size_t out_stride;

  void write(const uint8_t* tile, size_t row, size_t rows, size_t begin, size_t end, size_t plane) const {
    alignas(64) int32_t sums[kTileStates][kTileRows];
    __m512i columns[kTileStates];
    load_columns(tile, columns);
    for (size_t p = begin; p < end; p++) _mm512_store_si512(sums[p], columns[p]);
    double row_scales[kTileRows];
    for (size_t r = 0; r < rows; r++) row_scales[r] = scale_of_row(e.row(first_row + row + r));
    for (size_t p = begin; p < end; p += planes) {
      const size_t column = (plane + p - begin) / planes;
      const int32_t* const high = sums[p];
      const int32_t* const low = sums[p + planes - 1];
      const float scale = scales[column];
      float* const to = out + column * out_stride + row;
      if (planes == 1)
        for (size_t r = 0; r < rows; r++) to[r] = scale_sum(high[r], row_scales[r], scale);
      else
        for (size_t r = 0; r < rows; r++) to[r] = scale_sum(join_planes(high[r], low[r]), row_scales[r], scale);
    }
  }
  void write_plain_row(size_t) const {}
};

template <class Unit>
static void int8_product(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states, size_t first_column,
                         size_t columns, float* out, size_t out_stride, const Scratch& scratch) {
  const Int8Results results = {e, first_row, states.planes, states.scales + first_column, out, out_stride};
  const Blocks blocks = {static_cast<const uint8_t*>(states.packed), tiles_of(e.columns), 1};
  product<Unit>(e, first_row, rows, blocks, first_column * states.planes, columns * states.planes, scratch, results);
}

}  // namespace amx
}  // namespace lmhead
LMHEAD_END_REGION

namespace lmhead {
namespace {

using amx::MatrixUnit, amx::Numbers;

amx::Scratch scratch(size_t depth, size_t columns) {
  thread_local AlignedFloats memory;
  const size_t panel = amx::panel_size(depth), size = (panel + amx::sums_size(columns)) / sizeof(float);
  if (memory.size() < size) memory.resize(size);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(memory.data());
  return {bytes, bytes + panel};
}

void pack_states(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to) {
  const size_t parts = amx::parts_of(hidden, hidden_stride, columns, d);
  to.resize(amx::packed_size(columns, d, parts) / sizeof(float));
  amx::pack(hidden, hidden_stride, columns, d, parts, to.data());
}

void pack_planes(const int8_t* numbers, size_t planes, size_t stride, AlignedBytes& to) {
  to.resize(amx::packed_planes_size(planes, stride));
  if (!to.empty()) amx::pack_planes(numbers, planes, stride, to.data());
}

template <class Unit>
void packed_product(const Matrix& e, size_t first_row, size_t rows, const void* packed, size_t first_column, size_t columns,
                    float* out, size_t out_stride) {
  const auto& states = *static_cast<const amx::Packed*>(packed);
  amx::float_product<Unit>(*avx512_kernels(), e, first_row, rows, states, first_column, columns, out, out_stride,
                           scratch(states.blocks().depth, columns));
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
constexpr PackedProduct kPackedProduct = {pack_states, packed_product<Unit>};

// rest: the table that multiplies with few planes.
template <class Unit, const Kernels* (*rest)()>
void integer_product(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states, size_t first_column,
                     size_t columns, float* out, size_t out_stride) {
  const size_t planes = columns * states.planes;
  if (!states.packed || planes < amx::kFewPlanes)
    rest()->integer_product[static_cast<size_t>(Dtype::i8)](e, first_row, rows, states, first_column, columns, out, out_stride);
  else
    amx::int8_product<Unit>(e, first_row, rows, states, first_column, columns, out, out_stride,
                            scratch(amx::tiles_of(e.columns), planes));
}

constexpr PackedPlanes kPackedPlanes = {pack_planes};

template <template <Numbers> class Unit, const Kernels* (*rest)()>
Kernels table(const char* name, bool with_int8) {
  constexpr size_t bf16 = static_cast<size_t>(Dtype::bf16), i8 = static_cast<size_t>(Dtype::i8);
  Kernels k = *rest();
  k.name = name;
  k.product[bf16] = product<Unit<Numbers::bf16>>;
  k.packed[bf16] = &kPackedProduct<Unit<Numbers::bf16>>;
  if (with_int8) {
    k.integer_product[i8] = integer_product<Unit<Numbers::int8>, rest>;
    k.packed_planes[i8] = &kPackedPlanes;
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

class KnownNumbers {
 public:
  int32_t next() { return static_cast<int32_t>(state_ = state_ * 1664525 + 1013904223) >> 16; }

 private:
  uint32_t state_ = 1;
};

// Both: two whole blocks of everything and a rest.
constexpr size_t kKnownRows = 35, kKnownColumns = 35;

// Small integers first: all their sums are exact, in any order.
bool floats_agree() {
  constexpr size_t kDepth = 300, kStride = hidden_stride(kDepth);
  for (const bool whole : {true, false}) {
    KnownNumbers known;
    std::vector<uint16_t> weights(kKnownRows * kDepth);
    AlignedFloats hidden(kKnownColumns * kStride);
    const auto number = [&] {
      return whole ? static_cast<float>(known.next() >> 12) : std::ldexp(static_cast<float>(known.next()), -15);
    };
    for (uint16_t& w : weights) {
      const float x = number();
      uint32_t bits;
      std::memcpy(&bits, &x, sizeof bits);
      w = static_cast<uint16_t>(bits >> 16);
    }
    for (size_t c = 0; c < kKnownColumns; c++)
      for (size_t k = 0; k < kDepth; k++) hidden[c * kStride + k] = number();
    const Matrix e = {reinterpret_cast<const uint8_t*>(weights.data()), Dtype::bf16, kKnownRows, kDepth};
    std::vector<float> got(kKnownRows * kKnownColumns), want(kKnownRows * kKnownColumns);
    product<MatrixUnit<Numbers::bf16>>(e, 0, kKnownRows, hidden.data(), kStride, kKnownColumns, got.data(), kKnownRows);
    const auto plain = avx512_kernels()->product[static_cast<size_t>(Dtype::bf16)];
    plain(e, 0, kKnownRows, hidden.data(), kStride, kKnownColumns, want.data(), kKnownRows);
    // Rounding differs, as the unit adds in another order: by less than this for sums of kDepth terms below 1.
    const float tolerance = whole ? 0 : std::ldexp(static_cast<float>(kDepth), -20);
    for (size_t i = 0; i < got.size(); i++)
      if (!(std::abs(got[i] - want[i]) <= tolerance)) return false;
  }
  return true;
}

bool integers_agree() {
  constexpr size_t kDepth = 600, kStride = 640;
  KnownNumbers known;
  std::vector<uint8_t> weights(kKnownRows * row_bytes(Dtype::i8, kDepth));
  for (uint8_t& w : weights) w = static_cast<uint8_t>(known.next() % 128);
  const Matrix e = {weights.data(), Dtype::i8, kKnownRows, kDepth};
  const float one = 1;
  for (size_t r = 0; r < kKnownRows; r++) std::memcpy(&weights[r * e.row_bytes()], &one, sizeof one);
  AlignedBytes numbers(kKnownColumns * kStride);
  for (size_t c = 0; c < kKnownColumns; c++)
    for (size_t k = 0; k < kDepth; k++) numbers[c * kStride + k] = static_cast<int8_t>(known.next() % 128);
  AlignedBytes packed;
  pack_planes(numbers.data(), kKnownColumns, kStride, packed);
  const std::vector<float> scales(kKnownColumns, 1.0f);
  std::vector<int32_t> sums(kKnownColumns);
  for (size_t c = 0; c < kKnownColumns; c++)
    for (size_t k = 0; k < kDepth; k++) sums[c] += numbers[c * kStride + k];
  const IntegerStates states = {numbers.data(), kStride, 1, sums.data(), scales.data(), packed.data()};
  const amx::Scratch memory = scratch(amx::tiles_of(kDepth), kKnownColumns);
  std::vector<float> got(kKnownRows * kKnownColumns), want(kKnownRows * kKnownColumns);
  amx::int8_product<MatrixUnit<Numbers::int8>>(e, 0, kKnownRows, states, 0, kKnownColumns, got.data(), kKnownRows, memory);
  const auto plain = avx512_kernels()->integer_product[static_cast<size_t>(Dtype::i8)];
  plain(e, 0, kKnownRows, states, 0, kKnownColumns, want.data(), kKnownRows);
  return got == want;
}

}  // namespace

bool amx_agrees_with_avx512(bool with_int8) { return floats_agree() && (!with_int8 || integers_agree()); }

}  // namespace lmhead
#endif
