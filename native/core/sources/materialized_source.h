// Logits that a caller holds.
#pragma once

#include <cstring>

#include "../dassert.h"
#include "logit_source.h"

namespace lmhead {

class MaterializedSource final : public LogitSource {
 public:
  // stays: nobody changes the logits during a pass. Else every tile is copied before it is looked at.
  MaterializedSource(const float* logits, size_t n, size_t vocabulary, bool stays = true)
      : logits_(logits), n_(n), vocabulary_(vocabulary), stays_(stays) {}
  size_t columns() const override { return n_; }
  size_t vocabulary() const override { return vocabulary_; }
  size_t valid() const override { return vocabulary_; }
  size_t group(const PreparedColumns&) const override { return 16; }
  // Reading a logit costs about as much as a few multiply-adds from cache.
  double work() const override { return 8.0 * static_cast<double>(n_) * static_cast<double>(vocabulary_); }
  Logits logits(const PreparedColumns&, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override {
    LMHEAD_DASSERT(first_row + rows <= vocabulary_ && first_column + columns <= n_);
    const float* const from = logits_ + first_column * vocabulary_ + first_row;
    if (stays_) return {from, vocabulary_};
    for (size_t c = 0; c < columns; c++) std::memcpy(scratch + c * rows, from + c * vocabulary_, rows * sizeof(float));
    return {scratch, rows};
  }

 private:
  const float* const logits_;
  const size_t n_, vocabulary_;
  const bool stays_;
};

}  // namespace lmhead
