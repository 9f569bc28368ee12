#include "dense.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace lmhead {

namespace {
constexpr size_t kSegment = 16384;  // ids per finishing task: enough to be worth a thread's while
}

DenseSink::DenseSink(const Kernels& kernels, Dense what, float* out, size_t columns, size_t vocabulary, size_t valid)
    : kernels_(kernels),
      what_(what),
      out_(out),
      columns_(columns),
      vocabulary_(vocabulary),
      valid_(valid),
      segments_(what == Dense::logits && valid == vocabulary ? 0 : (vocabulary + kSegment - 1) / kSegment) {}

void DenseSink::consume(const Tile& tile, unsigned) {
  for (size_t c = 0; c < tile.columns; c++)
    std::memcpy(out_ + (tile.first_column + c) * vocabulary_ + tile.first, tile.column(c), tile.rows * sizeof(float));
}

void DenseSink::finish(size_t task, const Distribution* distributions) {
  const size_t column = task / segments_, begin = task % segments_ * kSegment;
  const size_t end = std::min(begin + kSegment, vocabulary_), valid_end = std::clamp(valid_, begin, end);
  const Distribution& d = distributions[column];
  float* const u = out_ + column * vocabulary_;
  const size_t count = valid_end - begin;
  if (what_ == Dense::log_probs)
    kernels_.log_probs(u + begin, count, d.max, d.inverse_temperature, d.log_sum, u + begin);
  else if (what_ == Dense::probs)
    kernels_.probs(u + begin, count, d.max, d.inverse_temperature, 1 / d.sum, u + begin);
  std::fill(u + valid_end, u + end, what_ == Dense::probs ? 0 : -std::numeric_limits<float>::infinity());
}

}  // namespace lmhead
