// Quantized rows to test with, and what they mean, number by number, from the definitions of the formats (ggml's
// dequantize_row_*; docs/quantization.md). Written apart from the kernels, to be held against them.
#pragma once

#include <algorithm>

#include "numbers.h"

namespace lmhead::test {

constexpr size_t kGroupedDtypes = 2;
constexpr Dtype kQuantized[kDtypes - kFloatDtypes - kGroupedDtypes] = {
    Dtype::q8_0, Dtype::q6_k,   Dtype::q5_k, Dtype::q4_k, Dtype::q4_0, Dtype::q4_1,   Dtype::q5_0,
    Dtype::q5_1, Dtype::iq4_nl, Dtype::i8,   Dtype::q2_k, Dtype::q3_k, Dtype::iq4_xs, Dtype::mxfp4};

inline const char* quantized_name(Dtype dtype) {
  constexpr const char* names[] = {"q8_0", "q6_k",   "q5_k", "q4_k", "q4_0", "q4_1",   "q5_0",
                                   "q5_1", "iq4_nl", "i8",   "q2_k", "q3_k", "iq4_xs", "mxfp4"};
  return names[static_cast<size_t>(dtype) - kFloatDtypes];
}

constexpr int kNonLinearValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Where in a block its scale is.
inline size_t scale_at(Dtype dtype) {
  return dtype == Dtype::q6_k ? 208 : dtype == Dtype::q2_k ? 80 : dtype == Dtype::q3_k ? 108 : 0;
}

// Numbers in a block, but 1 where rows may have any length.
inline size_t block_size(Dtype dtype) { return row_format(dtype).elements; }

inline double half_of(const uint8_t* p) { return value_of(Dtype::f16, p); }
inline int nibble(const uint8_t* p, size_t i, size_t half) { return i % (2 * half) < half ? p[i % half] & 15 : p[i % half] >> 4; }

// Number k of a row.
inline double quantized_value(Dtype dtype, const uint8_t* row, size_t k) {
  if (dtype == Dtype::i8) return value_of(Dtype::f32, row) * static_cast<int8_t>(row[4 + k]);
  const RowFormat format = row_format(dtype);
  const uint8_t* const b = row + k / format.elements * format.bytes;
  const size_t i = k % format.elements;
  const auto fifth = [&](size_t at) { return (b[at + i / 8] >> (i % 8) & 1) << 4; };
  switch (dtype) {
    case Dtype::q8_0:
      return half_of(b) * static_cast<int8_t>(b[2 + i]);
    case Dtype::q4_0:
      return half_of(b) * (nibble(b + 2, i, 16) - 8);
    case Dtype::q4_1:
      return half_of(b) * nibble(b + 4, i, 16) + half_of(b + 2);
    case Dtype::q5_0:
      return half_of(b) * ((nibble(b + 6, i, 16) | fifth(2)) - 16);
    case Dtype::q5_1:
      return half_of(b) * (nibble(b + 8, i, 16) | fifth(4)) + half_of(b + 2);
    case Dtype::iq4_nl:
      return half_of(b) * kNonLinearValues[nibble(b + 2, i, 16)];
    case Dtype::iq4_xs: {
      const size_t part = i / 32;
      const int low = part % 2 ? b[4 + part / 2] >> 4 : b[4 + part / 2] & 15, high = (b[2] | b[3] << 8) >> 2 * part & 3;
      return half_of(b) * ((low | high << 4) - 32) * kNonLinearValues[nibble(b + 8 + part * 16, i, 16)];
    }
    case Dtype::mxfp4: {
      constexpr double values[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};  // no negative zero
      return std::ldexp(values[nibble(b + 1, i, 16)], b[0] - 127);
    }
    case Dtype::q2_k: {
      const int q = b[16 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3, both = b[i / 16];
      return half_of(b + 80) * (both & 15) * q - half_of(b + 82) * (both >> 4);  // exact in double
    }
    case Dtype::q3_k: {
      const size_t part = i / 16;
      const int low = part < 8 ? b[96 + part] & 15 : b[96 + part - 8] >> 4, high = b[104 + part % 4] >> part / 4 * 2 & 3;
      const int q = (b[32 + i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - (b[i % 32] >> i / 32 & 1 ? 0 : 4);
      return half_of(b + 108) * ((low | high << 4) - 32) * q;
    }
    case Dtype::q6_k: {
      const size_t half = i / 128, j = i % 128;
      const int low = nibble(b + half * 64, j, 64), high = b[128 + half * 32 + j % 32] >> (j / 32 * 2) & 3;
      return half_of(b + 208) * static_cast<int8_t>(b[192 + i / 16]) * ((low | high << 4) - 32);
    }
    default: {  // q4_k, q5_k
      const uint8_t* const s = b + 4;
      const size_t j = i / 32;
      const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
      const int minimum = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
      const bool five = dtype == Dtype::q5_k;
      int q = nibble(b + (five ? 48 : 16) + j / 2 * 32, i, 32);
      if (five) q |= (b[16 + i % 32] >> j & 1) << 4;
      return half_of(b) * scale * q - half_of(b + 2) * minimum;  // exact in double
    }
  }
}

// What is added to number k of a row, times its scale: the value of a row whose numbers are all 0.
inline double quantized_minimum(Dtype dtype, const uint8_t* row, size_t k) {
  const bool of_256 = dtype == Dtype::q4_k || dtype == Dtype::q5_k;
  if (!of_256 && dtype != Dtype::q4_1 && dtype != Dtype::q5_1) return 0;
  const RowFormat format = row_format(dtype);
  std::vector<uint8_t> block(format.bytes);
  std::copy_n(row + k / format.elements * format.bytes, of_256 ? 16 : 4, block.begin());
  return quantized_value(dtype, block.data(), k % format.elements);
}

// Any bits are numbers; only the scales are made finite, and of sizes that a model has.
inline std::vector<uint8_t> random_quantized(Dtype dtype, size_t rows, size_t columns, Random& random) {
  const RowFormat format = row_format(dtype);
  std::vector<uint8_t> bytes(rows * row_bytes(dtype, columns));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.bits());
  if (dtype == Dtype::i8) {
    for (size_t r = 0; r < rows; r++) {
      const uint32_t scale = random_weight(Dtype::f32, random) & 0x7fffff00;  // sixteen bits of fraction
      put(Dtype::f32, &bytes[r * row_bytes(dtype, columns)], scale);
    }
    return bytes;
  }
  if (dtype == Dtype::mxfp4) {
    for (size_t at = 0; at < bytes.size(); at += format.bytes) bytes[at] = static_cast<uint8_t>(110 + bytes[at] % 20);
    return bytes;
  }
  const bool two =
      dtype == Dtype::q4_1 || dtype == Dtype::q5_1 || dtype == Dtype::q4_k || dtype == Dtype::q5_k || dtype == Dtype::q2_k;
  for (size_t at = 0; at < bytes.size(); at += format.bytes) {
    uint8_t* const scale = &bytes[at + scale_at(dtype)];
    put(Dtype::f16, scale, random_weight(Dtype::f16, random));
    if (two) put(Dtype::f16, scale + 2, random_weight(Dtype::f16, random));
  }
  return bytes;
}

}  // namespace lmhead::test
