// A view of the matrix E, [rows, columns]: what a pass reads. It owns nothing; see storage/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmhead {

enum class Dtype : uint8_t { f32 = 0, f16 = 1, bf16 = 2 };
constexpr size_t kDtypes = 3;

constexpr size_t bytes_per_element(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

struct Matrix {
  const uint8_t* data = nullptr;  // row-major, little-endian, of any alignment: files promise none
  Dtype dtype = Dtype::f32;
  size_t rows = 0;
  size_t columns = 0;

  size_t row_bytes() const { return columns * bytes_per_element(dtype); }
  const uint8_t* row(size_t i) const { return data + i * row_bytes(); }
};

}  // namespace lmhead
