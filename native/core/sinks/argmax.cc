#include "argmax.h"

#include "../dassert.h"

namespace lmhead {

Argmax::Argmax(const Kernels& kernels, size_t columns, unsigned slots)
    : kernels_(kernels), columns_(columns), best_(slots * columns, Candidate{0, kNoId}) {}

void Argmax::consume(const Tile& tile, unsigned slot) {
  Candidate* const best = best_.data() + slot * columns_ + tile.first_column;
  for (size_t c = 0; c < tile.columns; c++) {
    const MaxResult& most = tile.maxima[c];
    // Ids ascend within a thread, so an equal logit never displaces one that is there.
    if (most.nan_at >= 0 || (best[c].id != kNoId && !(most.max > best[c].logit))) continue;
    uint32_t at[kChunkRows];
    kernels_.indices_above(tile.column(c), tile.rows, most.max, true, at);
    best[c] = {most.max, tile.id(at[0])};
  }
}

uint32_t Argmax::best(size_t column) const {
  Candidate best = best_[column];
  for (size_t at = column + columns_; at < best_.size(); at += columns_)
    if (best_[at].id != kNoId && (best.id == kNoId || better(best_[at], best))) best = best_[at];
  LMHEAD_DASSERT(best.id != kNoId);
  return best.id;
}

}  // namespace lmhead
