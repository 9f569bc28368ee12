#include "top_k.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "../dassert.h"

namespace lmhead {

TopK::TopK(const Kernels& kernels, std::vector<uint32_t> k, unsigned slots)
    : kernels_(kernels), k_(std::move(k)), slots_(slots) {}

void TopK::insert(Heap& heap, uint32_t k, Candidate candidate) {
  Candidate* const e = heap.entries;
  if (heap.size < k) {
    e[heap.size++] = candidate;
    std::push_heap(e, e + heap.size, better);
  } else {
    std::pop_heap(e, e + k, better);
    e[k - 1] = candidate;
    std::push_heap(e, e + k, better);
  }
}

void TopK::consume(const Tile& tile, unsigned slot_index) {
  Slot& slot = slots_[slot_index];
  if (slot.heaps.empty()) {
    slot.heaps.resize(k_.size());
    slot.entries.resize(std::accumulate(k_.begin(), k_.end(), size_t{0}));
    Candidate* at = slot.entries.data();
    for (size_t c = 0; c < k_.size(); at += k_[c++]) slot.heaps[c].entries = at;
  }
  for (size_t c = 0; c < tile.columns; c++) {
    const size_t column = tile.first_column + c;
    const uint32_t k = k_[column];
    if (k == 0) continue;
    Heap& heap = slot.heaps[column];
    // Ids ascend within a thread, so an equal logit never displaces one that is there.
    if (heap.size == k && !(tile.maxima[c].max > heap.entries[0].logit)) continue;
    const float* const u = tile.column(c);
    if (k == 1 && tile.maxima[c].nan_at < 0) {  // the tile's maximum is already known
      uint32_t at[kChunkRows];
      kernels_.indices_above(u, tile.rows, tile.maxima[c].max, true, at);
      insert(heap, k, {u[at[0]], tile.id(at[0])});
      continue;
    }
    uint32_t found[kChunkRows];
    const bool full = heap.size == k;
    const float threshold = full ? heap.entries[0].logit : -std::numeric_limits<float>::infinity();
    const size_t count = kernels_.indices_above(u, tile.rows, threshold, !full, found);
    for (size_t i = 0; i < count; i++) {
      const float logit = u[found[i]];
      if (heap.size < k || logit > heap.entries[0].logit) insert(heap, k, {logit, tile.id(found[i])});
    }
  }
}

std::vector<Candidate> TopK::best(size_t column) const {
  std::vector<Candidate> all;
  for (const Slot& slot : slots_)
    if (!slot.heaps.empty()) {
      const Heap& heap = slot.heaps[column];
      all.insert(all.end(), heap.entries, heap.entries + heap.size);
    }
  LMHEAD_DASSERT(std::all_of(all.begin(), all.end(), [](const Candidate& c) { return c.id != kNoId; }));
  std::sort(all.begin(), all.end(), better);
  if (all.size() > k_[column]) all.resize(k_[column]);
  return all;
}

}  // namespace lmhead
