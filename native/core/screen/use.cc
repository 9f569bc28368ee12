#include <algorithm>
#include <cmath>

#include "search.h"

namespace lmhead::screen {

Use::Use(std::shared_ptr<const Copy> its_copy, size_t row_bytes, const float* bias)
    : copy_(std::move(its_copy)),
      row_bytes_(static_cast<int64_t>(row_bytes)),
      matrix_bytes_(row_bytes_ * static_cast<int64_t>(copy_->rows())),
      copy_bytes_(static_cast<int64_t>(copy_->bytes())),
      credit_(copy_bytes_) {
  for (size_t i = 0; bias && i < copy_->rows(); i++) has_finite_bias_ &= std::isfinite(bias[i]);
}

Use::Counts Use::counts() const { return {passes_, in_vain_, sat_out_, refused_, states_, rows_, most_rows_}; }

// What is left of a long run of easy states pays for two failures, and no more: hard ones may follow as long.
void Use::earn(int64_t bytes) const {
  int64_t before = credit_.load();
  while (!credit_.compare_exchange_weak(before, std::min(before + bytes, 2 * copy_bytes_))) {
  }
}

bool Use::sits_out() const {
  // Failures in a row allow for less and less, as more of them are likely.
  const uint32_t failures = failures_.load();
  earn((matrix_bytes_ / kAllowance) >> (failures == 0 ? 0 : std::min(failures - 1, kMostHalvings)));
  if (credit_.load() >= copy_bytes_) return false;
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
  // Rows here and there, put in order first, cost up to four times what as many bytes in a stream do (`bench -- --screen`).
  const int64_t saved = matrix_bytes_ - bytes_of_search(states) - 4 * row_bytes_ * static_cast<int64_t>(rows);
  failures_ = saved < 0 ? failures_ + 1 : 0;
  earn(saved);
}

void Use::in_vain(size_t states) const {
  in_vain_++;
  failures_++;
  credit_ -= bytes_of_search(states);
}

// That could be read meanwhile: the copy once, and then each further state's arithmetic takes a fifth of that (`bench --
// --screen`).
int64_t Use::bytes_of_search(size_t states) const { return copy_bytes_ * (4 + static_cast<int64_t>(states)) / 5; }

void Use::refused() const { refused_++; }

}  // namespace lmhead::screen
