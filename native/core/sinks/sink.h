// What a pass offers to those that take results from it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.h"

namespace lmhead {

// Sums over the vocabulary go by chunks of this many rows, combined in order: the one number that fixes their bits.
constexpr size_t kChunkRows = 256;

// Finished logits of one chunk for some columns (hidden states) of the block.
struct Tile {
  size_t chunk;
  uint32_t first;       // local index of its first row among those of the source
  const uint32_t* ids;  // of its rows, ascending; null: they are their local indices
  size_t rows;
  size_t first_column, columns;  // within the block
  const float* logits;           // column c at logits + c * stride
  size_t stride;
  const MaxResult* maxima;  // one per column

  const float* column(size_t c) const { return logits + c * stride; }
  uint32_t id(size_t row) const { return ids ? ids[row] : first + static_cast<uint32_t>(row); }
  // How many of its rows have a lower id.
  size_t rows_below(uint32_t id) const {
    if (ids) return static_cast<size_t>(std::lower_bound(ids, ids + rows, id) - ids);
    return id <= first ? 0 : std::min<size_t>(id - first, rows);
  }
};

// One row's distribution over the vocabulary: p = e^((u - max) / T) / sum.
struct Distribution {
  float max = 0;  // NaN if the row has one
  int64_t nan_id = -1;
  double inverse_temperature = 1;
  double sum = 0, log_sum = 0;
  double entropy = 0;  // nats; only where it was asked for

  // Every method returns this number for log p, so it has the same bits everywhere (kernels compute the same expression).
  float log_prob(float u) const { return static_cast<float>((static_cast<double>(u) - max) * inverse_temperature - log_sum); }
};

// A sink gets every tile of its block once, from any thread, a thread's chunks in ascending order; then, when all are through
// and the distributions are known, it finishes in independent tasks.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void consume(const Tile& tile, unsigned slot) = 0;
  virtual size_t finish_tasks() const { return 0; }
  virtual void finish(size_t /*task*/, const Distribution* /*of the block's columns*/) {}
};

}  // namespace lmhead
