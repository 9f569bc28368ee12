#include "similarity.h"

#include <algorithm>
#include <cmath>

#include "../sinks/sink.h"
#include "../storage/map_guard.h"

namespace lmhead {

namespace {

// In an order of its own, so that the bits do not depend on the CPU.
double sum_of_squares(const float* x, size_t count) {
  constexpr size_t kParts = 8;
  double parts[kParts] = {};
  size_t i = 0;
  for (; i + kParts <= count; i += kParts)
    for (size_t j = 0; j < kParts; j++) parts[j] += static_cast<double>(x[i + j]) * x[i + j];
  for (size_t j = 0; i + j < count; j++) parts[j] += static_cast<double>(x[i + j]) * x[i + j];
  return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

}  // namespace

std::vector<double> inverse_norms(const Kernels& kernels, const Matrix& e, const ParallelFor& workers) {
  std::vector<double> result(e.rows);
  std::vector<float> wide(workers.threads * e.columns);
  workers.parallel_for((e.rows + kChunkRows - 1) / kChunkRows, [&](size_t chunk, unsigned slot) {
    float* const row = wide.data() + slot * e.columns;
    MapGuard::renew();
    for (size_t i = chunk * kChunkRows; i < std::min((chunk + 1) * kChunkRows, e.rows); i++) {
      kernels.unpack_row[static_cast<size_t>(e.dtype)](e, i, row);
      const double square = sum_of_squares(row, e.columns);
      result[i] = square == 0 ? 0 : 1 / std::sqrt(square);
    }
  });
  return result;
}

LogitSource::Logits ScaledSource::logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column,
                                         size_t columns, float* scratch) const {
  const auto [from, stride] = source_.logits(prepared, first_row, rows, first_column, columns, scratch);
  const uint32_t* const ids = source_.ids();
  for (size_t c = 0; c < columns; c++)
    for (size_t i = 0; i < rows; i++) {
      const double factor = factors_[ids ? ids[first_row + i] : first_row + i];
      scratch[c * rows + i] = static_cast<float>(from[c * stride + i] * factor);
    }
  return {scratch, rows};
}

}  // namespace lmhead
