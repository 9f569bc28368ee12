#include <algorithm>
#include <cmath>

#include "search.h"

namespace lmhead::screen {

Use::Use(std::shared_ptr<const Copy> its_copy, const float* bias) : copy_(std::move(its_copy)) {
  for (size_t i = 0; bias && i < copy_->rows(); i++) has_finite_bias_ &= std::isfinite(bias[i]);
}

Use::Counts Use::counts() const { return {passes_, in_vain_, sat_out_, refused_, states_, rows_, most_rows_}; }

bool Use::sits_out() const {
  uint32_t left = skips_.load();
  while (left > 0 && !skips_.compare_exchange_weak(left, left - 1)) {
  }
  if (left == 0) return false;
  sat_out_++;
  return true;
}

void Use::answered(size_t states, uint64_t rows, uint64_t most_rows) const {
  passes_++;
  states_ += states;
  rows_ += rows;
  uint64_t before = most_rows_.load();
  while (before < most_rows && !most_rows_.compare_exchange_weak(before, most_rows)) {
  }
  next_skips_ = 0;
}

void Use::in_vain() const {
  in_vain_++;
  const uint32_t next = std::clamp(2 * next_skips_.load(), 2u, kMostSkipped);
  next_skips_ = next;
  skips_ = next;
}

void Use::refused() const { refused_++; }

}  // namespace lmhead::screen
