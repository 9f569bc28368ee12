#include "adjustments.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "filtered_set.h"

namespace lmhead {

namespace {

float patched(float u, const Patch& patch) {
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

bool Adjustments::allows_few(size_t hidden) const {
  if (!allowed) return false;
  size_t count = 0;
  for (size_t word = 0; word * 32 < valid && count <= most_of_few(); word++)
    count += static_cast<size_t>(std::popcount(word_of(allowed + hidden * allowed_stride, word)));
  return count <= most_of_few();
}

std::vector<uint32_t> Adjustments::few_allowed(size_t n) const {
  std::vector<uint32_t> ids;
  if (!allowed) return ids;
  const size_t masks = allowed_stride == 0 ? 1 : n;
  for (size_t word = 0; word * 32 < valid; word++) {
    uint32_t any = 0;
    for (size_t i = 0; i < masks; i++) any |= word_of(allowed + i * allowed_stride, word);
    for (; any; any &= any - 1) {
      if (ids.size() == most_of_few()) return {};
      ids.push_back(static_cast<uint32_t>(word * 32) + static_cast<uint32_t>(std::countr_zero(any)));
    }
  }
  return ids;
}

uint32_t Adjustments::word_of(const uint32_t* mask, size_t word) const {
  const size_t rest = valid - word * 32;
  return rest < 32 ? mask[word] & ((uint32_t{1} << rest) - 1) : mask[word];
}

Adjustments::Changes Adjustments::changes(size_t hidden, const Tile& tile) const {
  Changes changes;
  if (ranges) {
    const uint32_t* const last = ids + ranges[2 * hidden + 1];
    const uint32_t highest = tile.id(tile.rows - 1);
    changes.begin = changes.end = std::lower_bound(ids + ranges[2 * hidden], last, tile.id(0));
    while (changes.end != last && *changes.end <= highest) changes.end++;  // few, as tiles are small
  }
  const uint32_t* const mask = allowed ? allowed + hidden * allowed_stride : nullptr;
  if (mask && !allows_all(mask, tile)) changes.mask = mask;
  return changes;
}

void Adjustments::apply(const Changes& changes, const Tile& tile, float* u) const {
  for (const uint32_t* id = changes.begin; id != changes.end; id++) {
    const size_t row = tile.rows_below(*id);
    LMHEAD_DASSERT(row < tile.rows);
    if (tile.id(row) == *id) u[row] = patched(u[row], patches[id - ids]);  // it may be no row of a subset
  }
  if (!changes.mask) return;
  for (size_t row = 0; row < tile.rows; row++)
    if (!may_be_drawn(changes.mask, tile.id(row))) u[row] = kDropped;
}

}  // namespace lmhead
