// A view of the matrix E, [rows, columns]: what a pass reads. It owns nothing; see storage/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmhead {

// Numbers that weights come in: three floating-point formats, those of GGUF files that go by blocks, and our own i8.
// docs/quantization.md describes them bit by bit; kernels/generic/quantized.inc reads them.
enum class Dtype : uint8_t { f32, f16, bf16, q8_0, q6_k, q5_k, q4_k, q4_0, q4_1, q5_0, q5_1, iq4_nl, i8 };
constexpr size_t kDtypes = 13;
constexpr size_t kFloatDtypes = 3;  // the first ones: what hidden states may come in, too

constexpr bool is_float(Dtype dtype) { return static_cast<size_t>(dtype) < kFloatDtypes; }
// Of a floating-point format.
constexpr size_t bytes_per_element(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

// How a row is stored: `header` bytes, then blocks of `numbers` numbers in `bytes` bytes.
struct RowFormat {
  size_t numbers, bytes, header;
};
constexpr RowFormat row_format(Dtype dtype) {
  switch (dtype) {
    case Dtype::q8_0:
      return {32, 34, 0};
    case Dtype::q6_k:
      return {256, 210, 0};
    case Dtype::q5_k:
      return {256, 176, 0};
    case Dtype::q4_k:
      return {256, 144, 0};
    case Dtype::q4_0:
    case Dtype::iq4_nl:
      return {32, 18, 0};
    case Dtype::q4_1:
      return {32, 20, 0};
    case Dtype::q5_0:
      return {32, 22, 0};
    case Dtype::q5_1:
      return {32, 24, 0};
    case Dtype::i8:
      return {1, 1, 4};  // the header is the row's scale
    default:
      return {1, bytes_per_element(dtype), 0};
  }
}
// Of a row of so many columns, a multiple of the block's numbers.
constexpr size_t row_bytes(Dtype dtype, size_t columns) {
  const RowFormat format = row_format(dtype);
  return format.header + columns / format.numbers * format.bytes;
}

struct Matrix {
  const uint8_t* data = nullptr;  // row-major, little-endian, of any alignment: files promise none
  Dtype dtype = Dtype::f32;
  size_t rows = 0;
  size_t columns = 0;

  size_t row_bytes() const { return lmhead::row_bytes(dtype, columns); }
  const uint8_t* row(size_t i) const { return data + i * row_bytes(); }
};

}  // namespace lmhead
