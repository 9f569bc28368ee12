#include "product_source.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../dassert.h"
#include "../storage/map_guard.h"
#include "product.h"

namespace lmhead {

void pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d, float* packed) {
  const size_t stride = hidden_stride(d);
  for (size_t i = 0; i < n; i++) {
    float* const row = packed + i * stride;
    kernels.unpack[static_cast<size_t>(dtype)](hidden + i * d * bytes_per_element(dtype), d, row);
    std::fill(row + d, row + stride, 0.0f);
  }
}

AlignedFloats pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d) {
  AlignedFloats packed(n * hidden_stride(d));
  pack_hidden(kernels, hidden, dtype, n, d, packed.data());
  return packed;
}

// The nearest value that bfloat16 holds, ties to even; above the largest an infinity. Of NaN, one.
static float nearest_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000)
    bits |= 0x400000;
  else
    bits += 0x7fff + (bits >> 16 & 1);  // a carry out of the fraction adds itself to the exponent
  bits &= 0xffff0000;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

PreparedColumns ProductSource::prepare(size_t first_column, size_t columns) const {
  const size_t stride = hidden_stride(e_.columns);
  const float* hidden = hidden_ + first_column * stride;
  const PackedProduct* const packed = packed_product_of(kernels_, e_.dtype, columns);
  PreparedColumns prepared;
  if (activations_ == Activations::f32 && !packed) return prepared;
  prepared.first = first_column;
  prepared.count = columns;
  if (activations_ == Activations::bf16) {
    prepared.nearest.resize(columns * stride);
    std::transform(hidden, hidden + columns * stride, prepared.nearest.begin(), nearest_bf16);
    hidden = prepared.nearest.data();
  }
  if (are_integers(activations_)) {
    prepared.rounded.round(activations_, hidden, stride, columns, e_.columns);
    prepared.rounded.pack(kernels_, e_.dtype);
  } else if (packed) {
    packed->pack(hidden, stride, columns, e_.columns, prepared.packed);
    if (!prepared.packed.empty()) prepared.product = packed;
  }
  return prepared;
}

size_t ProductSource::group(const PreparedColumns& prepared) const {
  const bool has_group = are_integers(activations_) || (prepared.product && !prepared.product->takes_all_columns);
  if (!has_group) return n_;  // the product blocks them itself
  // Whole tiles of 16, as many as stay in a second-level cache of 2 MB beside E's tiles and the logits.
  constexpr size_t kPreparedBytes = size_t{1} << 20, kTile = 16, kMostTiles = 8;
  const size_t tiles = (prepared.count + kTile - 1) / kTile;
  const size_t bytes =
      are_integers(activations_) ? kTile * prepared.rounded.bytes_each() : prepared.packed.size() * sizeof(float) / tiles;
  return kTile * std::clamp(kPreparedBytes / bytes, size_t{1}, kMostTiles);
}

LogitSource::Logits ProductSource::logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column,
                                          size_t columns, float* scratch) const {
  MapGuard::renew();
  if (!subset_.ids) {
    write_logits(prepared, e_, first_row, rows, epilogue_.bias ? epilogue_.bias + first_row : nullptr, first_column, columns,
                 scratch, rows);
    return {scratch, rows};
  }
  const uint32_t* const ids = subset_.ids + first_row;
  if (ids[rows - 1] - ids[0] == rows - 1) {  // all neighbors
    write_logits(prepared, e_, ids[0], rows, epilogue_.bias ? epilogue_.bias + ids[0] : nullptr, first_column, columns, scratch,
                 rows);
    return {scratch, rows};
  }
  // Scattered rows are gathered, some at a time: kernels like neighbors, and what they read ahead of a row is then not in vain.
  constexpr size_t kGatheredBytes = size_t{32} << 10, kMost = 64;
  // Of a grouped format, scales and biases come behind the rows.
  const size_t row_bytes = e_.row_bytes(), side_bytes = is_grouped(e_.dtype) ? e_.groups.row_bytes(e_.columns) : 0;
  const size_t all_bytes = row_bytes + 2 * side_bytes, most = std::clamp<size_t>(kGatheredBytes / all_bytes, 4, kMost);
  thread_local std::vector<uint8_t> gathered;
  if (gathered.size() < most * all_bytes) gathered.resize(most * all_bytes);
  uint8_t* const scales = gathered.data() + most * row_bytes;
  uint8_t* const scale_biases = scales + most * side_bytes;
  float biases[kMost];
  for (size_t begin = 0; begin < rows; begin += most) {
    const size_t count = std::min(most, rows - begin);
    for (size_t i = 0; i < count; i++) {
      const size_t id = ids[begin + i];
      std::memcpy(gathered.data() + i * row_bytes, e_.row(id), row_bytes);
      if (side_bytes > 0) {
        std::memcpy(scales + i * side_bytes, e_.groups.scales + id * side_bytes, side_bytes);
        std::memcpy(scale_biases + i * side_bytes, e_.groups.biases + id * side_bytes, side_bytes);
      }
      if (epilogue_.bias) biases[i] = epilogue_.bias[ids[begin + i]];
    }
    Matrix some = e_;
    some.data = gathered.data();
    some.rows = count;
    some.groups.scales = scales;
    some.groups.biases = scale_biases;
    write_logits(prepared, some, 0, count, epilogue_.bias ? biases : nullptr, first_column, columns, scratch + begin, rows);
  }
  return {scratch, rows};
}

void ProductSource::write_logits(const PreparedColumns& prepared, const Matrix& e, size_t first_row, size_t rows,
                                 const float* bias, size_t first_column, size_t columns, float* out, size_t out_stride) const {
  LMHEAD_DASSERT(first_row + rows <= e.rows && first_column + columns <= n_);
  const size_t stride = hidden_stride(e.columns), dtype = static_cast<size_t>(e.dtype);
  const bool is_prepared = prepared.contains(first_column, columns);
  LMHEAD_DASSERT(is_prepared || activations_ == Activations::f32);
  if (are_integers(activations_))
    kernels_.integer_product[dtype](e, first_row, rows, prepared.rounded.view(), first_column - prepared.first, columns, out,
                                    out_stride);
  else if (is_prepared && prepared.product)
    packed_dot_products(kernels_, e, first_row, rows, *prepared.product, prepared.packed.data(), first_column - prepared.first,
                        columns, out, out_stride);
  else
    dot_products(kernels_, e, first_row, rows,
                 activations_ == Activations::bf16 ? prepared.nearest.data() + (first_column - prepared.first) * stride
                                                   : hidden_ + first_column * stride,
                 stride, columns, out, out_stride);
  if (epilogue_.is_identity()) return;
  for (size_t c = 0; c < columns; c++) kernels_.epilogue(out + c * out_stride, rows, bias, epilogue_);
}

}  // namespace lmhead
