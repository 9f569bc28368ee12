#include "pass.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "../sources/product.h"
#include "../storage/map_guard.h"
#include "block.h"

namespace lmhead {

size_t LogitSource::local_index_of(uint32_t id) const {
  const uint32_t* const all = ids();
  if (!all) return std::min<size_t>(id, valid());
  const uint32_t* const at = std::lower_bound(all, all + valid(), id);
  return at < all + valid() && *at == id ? static_cast<size_t>(at - all) : valid();
}

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

// The nearest number that bfloat16 holds, ties to even; above the largest an infinity. Of NaN, one.
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

void ProductSource::prepare(size_t first_column, size_t columns) const {
  const size_t stride = hidden_stride(e_.columns);
  const float* hidden = hidden_ + first_column * stride;
  const PackedProduct* const packed = kernels_.packed[static_cast<size_t>(e_.dtype)];
  prepared_.columns = 0;
  if (activations_ == Activations::bf16) {
    prepared_.nearest.resize(columns * stride);
    std::transform(hidden, hidden + columns * stride, prepared_.nearest.begin(), nearest_bf16);
    hidden = prepared_.nearest.data();
  }
  if (are_integers(activations_)) {
    prepared_.rounded.round(activations_, hidden, stride, columns, e_.columns);
    prepared_.rounded.pack(kernels_, e_.dtype);
  } else if (packed) {
    packed->pack(hidden, stride, columns, e_.columns, prepared_.data);
  } else if (activations_ == Activations::f32) {
    return;
  }
  prepared_.first = first_column;
  prepared_.columns = columns;
}

size_t ProductSource::group() const {
  if (prepared_.columns == 0 || (prepared_.data.empty() && !are_integers(activations_)))
    return n_;  // the product blocks them itself
  // Whole tiles of 16, as many as stay in a second-level cache of 2 MB beside E's tiles and the logits.
  constexpr size_t kPreparedBytes = size_t{1} << 20, kTile = 16, kMostTiles = 8;
  const size_t tiles = (prepared_.columns + kTile - 1) / kTile;
  const size_t bytes =
      are_integers(activations_) ? kTile * prepared_.rounded.bytes_each() : prepared_.data.size() * sizeof(float) / tiles;
  return kTile * std::clamp(kPreparedBytes / bytes, size_t{1}, kMostTiles);
}

LogitSource::Logits ProductSource::logits(size_t first_row, size_t rows, size_t first_column, size_t columns,
                                          float* scratch) const {
  MapGuard::renew();
  if (!subset_.ids) {
    make(e_, first_row, rows, epilogue_.bias ? epilogue_.bias + first_row : nullptr, first_column, columns, scratch, rows);
    return {scratch, rows};
  }
  const uint32_t* const ids = subset_.ids + first_row;
  if (ids[rows - 1] - ids[0] == rows - 1) {  // all neighbors
    make(e_, ids[0], rows, epilogue_.bias ? epilogue_.bias + ids[0] : nullptr, first_column, columns, scratch, rows);
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
    make(some, 0, count, epilogue_.bias ? biases : nullptr, first_column, columns, scratch + begin, rows);
  }
  return {scratch, rows};
}

void ProductSource::make(const Matrix& e, size_t first_row, size_t rows, const float* bias, size_t first_column, size_t columns,
                         float* out, size_t out_stride) const {
  LMHEAD_DASSERT(first_row + rows <= e.rows && first_column + columns <= n_);
  const size_t stride = hidden_stride(e.columns), dtype = static_cast<size_t>(e.dtype);
  const bool is_prepared = first_column >= prepared_.first && first_column + columns <= prepared_.first + prepared_.columns;
  if (are_integers(activations_))
    kernels_.integer_product[dtype](e, first_row, rows, prepared_.rounded.view(), first_column - prepared_.first, columns, out,
                                    out_stride);
  else if (is_prepared && kernels_.packed[dtype])
    kernels_.packed[dtype]->product(e, first_row, rows, prepared_.data.data(), first_column - prepared_.first, columns, out,
                                    out_stride);
  else
    product(kernels_, e, first_row, rows,
            activations_ == Activations::bf16 ? prepared_.nearest.data() + (first_column - prepared_.first) * stride
                                              : hidden_ + first_column * stride,
            stride, columns, out, out_stride);
  if (epilogue_.is_identity()) return;
  for (size_t c = 0; c < columns; c++) kernels_.epilogue(out + c * out_stride, rows, bias, epilogue_);
}

RowSampling parse_row(const double* p) {
  RowSampling row;
  row.temperature = p[0];
  row.top_k = static_cast<size_t>(p[1]);
  row.top_p = p[2];
  row.log_min_p = p[3];
  row.stream = {static_cast<uint32_t>(p[4]), static_cast<uint32_t>(p[5]), static_cast<uint32_t>(p[6])};
  row.typical_p = p[7];
  row.log_epsilon = p[8];
  row.log_eta = p[9];
  row.top_n_sigma = p[10];
  row.p_less = p[11] != 0;
  row.xtc_probability = p[12];
  row.log_xtc_threshold = p[13];
  row.temperature_range = p[14];
  row.temperature_exponent = p[15];
  row.max_surprisal = p[16];
  if (p[17] != 0) row.order = static_cast<uint64_t>(p[17]);
  row.stream.number = static_cast<uint32_t>(p[18]);
  row.min_keep = static_cast<size_t>(p[19]);
  row.stream.first_id = static_cast<uint32_t>(p[20]);
  return row;
}

RowSampling PassRequest::sampling_of(size_t row) const {
  RowSampling sampling = parse_row(row_parameters + row * kRowParameters);
  sampling.xtc_protected = adjustments.xtc_protected;
  return sampling;
}

PassResult run_pass(const Kernels& kernels, const LogitSource& source, const PassRequest& request) {
  const size_t n = source.columns();
  if (request.candidates) request.candidates->assign(n, {});
  RowPlans plans(request, n, source.valid());
  const ParallelFor workers = workers_for(request.workers, source.work() + (request.normalizer ? request.normalizer->work() : 0));
  std::optional<Verification> draft;
  if (request.draft.accepted) draft.emplace(kernels, source, request);
  std::vector<size_t> unfinished;
  for (size_t begin = 0; begin < n && !(draft && draft->ended());) {
    const size_t end = plans.block_end(begin);
    const PassResult result =
        run_block(kernels, source, request, plans, begin, end, workers, draft ? &*draft : nullptr, unfinished);
    if (result.status != PassResult::ok) return result;
    begin = end;
  }
  return run_unfinished(kernels, source, request, plans, std::move(unfinished), workers);
}

}  // namespace lmhead
