// A view of the matrix E, [rows, columns]: what a pass reads. It owns nothing; see storage/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmhead {

// Numbers that weights come in: three floating-point formats, those of GGUF files that go by blocks, and our own i8.
// docs/quantization.md describes them bit by bit; kernels/generic/quantized.inc reads them. The last ones are MLX's, whose scales
// lie apart.
enum class Dtype : uint8_t {
  f32,
  f16,
  bf16,
  q8_0,
  q6_k,
  q5_k,
  q4_k,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  iq4_nl,
  i8,
  q2_k,
  q3_k,
  iq4_xs,
  mxfp4,
  mlx4,
  mlx8
};
constexpr size_t kDtypes = 19;
constexpr size_t kFloatDtypes = 3;  // the first ones: what hidden states may come in, too

constexpr bool is_float(Dtype dtype) { return static_cast<size_t>(dtype) < kFloatDtypes; }
constexpr bool is_grouped(Dtype dtype) { return dtype == Dtype::mlx4 || dtype == Dtype::mlx8; }
// Formats whose kernels are for one hidden state alone: of more, rows are unpacked first. Kernels for more columns would make a
// binary half as large again, for formats that few heads are in.
constexpr bool is_for_one_column(Dtype dtype) {
  switch (dtype) {
    case Dtype::q8_0:
    case Dtype::q6_k:
    case Dtype::q4_k:
    case Dtype::q4_0:
    case Dtype::i8:
      return false;
    default:
      return !is_float(dtype);
  }
}
// Of a floating-point format.
constexpr size_t bytes_per_element(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

// How a row is stored: `header` bytes, then blocks of `elements` values in `bytes` bytes.
struct RowFormat {
  size_t elements, bytes, header;
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
    case Dtype::q2_k:
      return {256, 84, 0};
    case Dtype::q3_k:
      return {256, 110, 0};
    case Dtype::iq4_xs:
      return {256, 136, 0};
    case Dtype::mxfp4:
      return {32, 17, 0};
    case Dtype::mlx4:
      return {32, 16, 0};
    case Dtype::mlx8:
      return {32, 32, 0};
    case Dtype::i8:
      return {1, 1, 4};  // the header is the row's scale
    default:
      return {1, bytes_per_element(dtype), 0};
  }
}
// Of a row of so many columns, a multiple of the block's values.
constexpr size_t row_bytes(Dtype dtype, size_t columns) {
  const RowFormat format = row_format(dtype);
  return format.header + columns / format.elements * format.bytes;
}

// What a grouped format has apart from the rows: for each `size` values of a row a scale and a bias, [rows, columns / size]
// each.
struct Groups {
  const uint8_t* scales = nullptr;
  const uint8_t* biases = nullptr;
  size_t size = 0;           // 32, 64 or 128
  Dtype dtype = Dtype::f16;  // or bf16

  // Of a row: of its scales, and of its biases.
  size_t row_bytes(size_t columns) const { return columns / size * sizeof(uint16_t); }
};

struct Matrix {
  const uint8_t* data = nullptr;  // row-major, little-endian, of any alignment: files promise none
  Dtype dtype = Dtype::f32;
  size_t rows = 0;
  size_t columns = 0;
  Groups groups = {};  // of a grouped format

  size_t row_bytes() const { return lmhead::row_bytes(dtype, columns); }
  const uint8_t* row(size_t i) const { return data + i * row_bytes(); }
};

}  // namespace lmhead
