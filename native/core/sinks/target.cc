#include "target.h"

#include <algorithm>

namespace lmhead {

TargetSink::TargetSink(const Kernels& kernels, const ScoreOutputs& out, std::vector<float> logits, unsigned slots)
    : kernels_(kernels), out_(out), logits_(std::move(logits)), ahead_(slots * logits_.size()) {}

void TargetSink::consume(const Tile& tile, unsigned slot) {
  for (size_t c = 0; c < tile.columns; c++) {
    const size_t column = tile.first_column + c;
    const uint32_t target = out_.targets[column];
    const float logit = logits_[column];
    if (target == kIgnored || tile.maxima[c].max < logit) continue;
    // Equal logits count where their id is lower.
    const size_t lower = tile.rows_below(target);
    const float* const u = tile.column(c);
    ahead_[slot * logits_.size() + column] += static_cast<uint32_t>(
        kernels_.count_above(u, lower, logit, true) + kernels_.count_above(u + lower, tile.rows - lower, logit, false));
  }
}

void TargetSink::finish(size_t column, const Distribution* distributions) {
  const Distribution& d = distributions[column];
  const bool counts = out_.targets[column] != kIgnored;
  uint32_t rank = 1;
  for (size_t at = column; at < ahead_.size(); at += logits_.size()) rank += ahead_[at];
  out_.log_probs[column] = counts ? d.log_prob(logits_[column]) : 0;
  out_.ranks[column] = counts && d.nan_id < 0 ? rank : 0;
  if (out_.entropy) out_.entropy[column] = counts ? static_cast<float>(d.entropy) : 0;
}

}  // namespace lmhead
