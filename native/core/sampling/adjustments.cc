#include "adjustments.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "../sinks/candidate.h"
#include "filtered_set.h"

namespace lmhead {

namespace {

float patched_logit(float u, const Patch& patch) {
  if (patch.add == -std::numeric_limits<double>::infinity()) return kDropped;
  double x = static_cast<double>(u) + patch.add;
  x = x > 0 ? x / patch.penalty : x * patch.penalty;
  return static_cast<float>(x - patch.subtract);
}

bool may_be_drawn(const uint32_t* mask, uint32_t id) { return mask[id / 32] >> (id % 32) & 1; }

bool allows_all(const uint32_t* mask, const Tile& tile) {
  if (tile.ids) return std::all_of(tile.ids, tile.ids + tile.rows, [&](uint32_t id) { return may_be_drawn(mask, id); });
  // A word at a time: chunks begin at multiples of 32.
  const size_t words = tile.rows / 32, first = tile.first / 32;
  for (size_t i = 0; i < words; i++)
    if (mask[first + i] != 0xffffffffu) return false;
  const uint32_t rest = (uint32_t{1} << (tile.rows % 32)) - 1;
  return rest == 0 || (mask[first + words] & rest) == rest;
}

}  // namespace

bool Adjustments::has_sparse_mask(size_t hidden) const {
  if (!allowed) return false;
  size_t count = 0;
  for (size_t word = 0; word * 32 < valid && count <= sparse_limit(); word++)
    count += static_cast<size_t>(std::popcount(word_of(allowed + hidden * allowed_stride, word)));
  return count <= sparse_limit();
}

std::vector<uint32_t> Adjustments::sparse_allowed_ids(size_t n) const {
  std::vector<uint32_t> ids;
  if (!allowed) return ids;
  const size_t masks = allowed_stride == 0 ? 1 : n;
  for (size_t word = 0; word * 32 < valid; word++) {
    uint32_t any = 0;
    for (size_t i = 0; i < masks; i++) any |= word_of(allowed + i * allowed_stride, word);
    for (; any; any &= any - 1) {
      if (ids.size() == sparse_limit()) return {};
      ids.push_back(static_cast<uint32_t>(word * 32) + static_cast<uint32_t>(std::countr_zero(any)));
    }
  }
  return ids;
}

uint32_t Adjustments::word_of(const uint32_t* mask, size_t word) const {
  const size_t rest = valid - word * 32;
  return rest < 32 ? mask[word] & ((uint32_t{1} << rest) - 1) : mask[word];
}

IdLists::Part IdLists::part(size_t hidden, uint32_t first, uint32_t last) const {
  if (!ranges) return {};
  const uint32_t* const stop = ids + ranges[2 * hidden + 1];
  const uint32_t* const begin = std::lower_bound(ids + ranges[2 * hidden], stop, first);
  const uint32_t* end = begin;
  while (end != stop && *end <= last) end++;  // few, as tiles are small
  return {begin, end};
}

Adjustments::Changes Adjustments::changes(size_t hidden, const Tile& tile) const {
  const uint32_t lowest = tile.id(0), highest = tile.id(tile.rows - 1);
  Changes changes{hidden, patched.part(hidden, lowest, highest), biased.part(hidden, lowest, highest),
                  counted.part(hidden, lowest, highest), nullptr};
  const uint32_t* const mask = allowed ? allowed + hidden * allowed_stride : nullptr;
  if (mask && !allows_all(mask, tile)) changes.mask = mask;
  return changes;
}

void Adjustments::apply(const Changes& changes, const Tile& tile, float* u) const {
  if (changes.any_ids()) apply_to_ids(changes, tile, u);
  if (!changes.mask) return;
  for (size_t row = 0; row < tile.rows; row++)
    if (!may_be_drawn(changes.mask, tile.id(row))) u[row] = kDropped;
}

// Goes through the three lists at once.
void Adjustments::apply_to_ids(const Changes& changes, const Tile& tile, float* u) const {
  const auto next = [](const IdLists::Part& part) { return part.begin == part.end ? kNoId : *part.begin; };
  IdLists::Part own = changes.patched, bias = changes.biased, count = changes.counted;
  for (;;) {
    const uint32_t own_id = next(own), bias_id = next(bias), count_id = next(count);
    const uint32_t id = std::min({own_id, bias_id, count_id});
    if (id == kNoId) return;
    Patch patch{0, 1, 0};
    if (bias_id == id) patch.add = biases[bias.begin++ - biased.ids];
    if (count_id == id) {
      const Penalties& by = penalties[changes.hidden];
      const uint32_t times = counts[count.begin++ - counted.ids];
      patch.penalty = by.repetition;
      if (times > 0) patch.subtract = times * by.frequency + by.presence;
    }
    if (own_id == id) patch = patches[own.begin++ - patched.ids];
    const size_t row = tile.rows_below(id);
    LMHEAD_DASSERT(row < tile.rows);
    if (tile.id(row) == id) u[row] = patched_logit(u[row], patch);  // it may be no row of a subset
  }
}

}  // namespace lmhead
