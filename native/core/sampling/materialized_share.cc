// Where in a held row a share of its mass is reached: by a histogram over keys, and by a selection within the bin that this
// finds.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>
#include <utility>

#include "../numerics/float_order.h"
#include "filter_chain.h"
#include "materialized_row.h"

namespace lmhead {

namespace {

// Of so many the boundary is found among them.
constexpr size_t kFewAtBoundary = 8192;

}  // namespace

double MaterializedRow::x_of(float u, double temperature) const { return (static_cast<double>(u) - max_) / temperature; }

// The logits that have such keys: on one side their offsets are at most 0, and on the other above it.
std::array<MaterializedRow::Logits, 2> MaterializedRow::logits_of(const Key& key, const Range& keys, double temperature) const {
  const auto offset = [&](float u) { return key.offset(x_of(u, temperature)); };
  return {{{first_float([&](float u) { return offset(u) >= -keys.high; }),
            float_before(first_float([&](float u) { return offset(u) > -keys.low || offset(u) > 0; }))},
           {first_float([&](float u) { return offset(u) >= keys.low && offset(u) > 0; }),
            float_before(first_float([&](float u) { return offset(u) > keys.high; }))}}};
}

// Of the logits that have such keys, those that are in the row.
std::array<MaterializedRow::Logits, 2> MaterializedRow::logits_within(const Key& key, const Range& range,
                                                                      double temperature) const {
  std::array<Logits, 2> sides = logits_of(key, range, temperature);
  for (Logits& side : sides) {
    constexpr int32_t kFirst = std::numeric_limits<int32_t>::min(), kLast = std::numeric_limits<int32_t>::max();
    struct Ordinals {
      int32_t least = kLast, most = kFirst;
    };
    std::vector<Ordinals> parts(workers_.threads);
    each_chunk([&, side](const Chunk& chunk, unsigned slot) {
      if (chunk.max < side.least) return;
      const int32_t least = ordinal_of(side.least), most = ordinal_of(side.most);
      const float* const u = chunk.logits;
      int32_t first = kLast, last = kFirst;
      for (size_t i = 0, rows = chunk.rows; i < rows; i++) {
        const int32_t ordinal = ordinal_of(u[i]), not_below = ordinal < least ? kLast : ordinal,
                      not_above = ordinal > most ? kFirst : ordinal;
        first = not_below < first ? not_below : first;
        last = not_above > last ? not_above : last;
      }
      parts[slot] = {std::min(parts[slot].least, first), std::max(parts[slot].most, last)};
    });
    Ordinals all;
    for (const Ordinals& part : parts) all = {std::min(all.least, part.least), std::max(all.most, part.most)};
    const auto is_inside = [&](int32_t ordinal) { return float_at(ordinal) >= side.least && float_at(ordinal) <= side.most; };
    if (is_inside(all.least) && is_inside(all.most))
      side = {float_at(all.least), float_at(all.most)};
    else
      side = {1, 0};  // none
  }
  return sides;
}

// From the first of the keys within a range to the last: equal ones would take bins without end.
MaterializedRow::Range MaterializedRow::keys_within(const Key& key, const Range& range, double temperature) const {
  Range keys{range.high, range.low};
  for (const Logits& side : logits_within(key, range, temperature))
    for (const float u : {side.least, side.most})
      if (side.least <= side.most) {
        const double k = key.of(x_of(u, temperature));
        keys = {std::min(keys.low, k), std::max(keys.high, k)};
      }
  return keys;
}

// By a histogram of mass over keys: the bin in which the share is reached, then that bin's own, until it holds few or one key.
MaterializedRow::Last MaterializedRow::last_by(const Key& key, double high, double share, double temperature) const {
  struct Histogram {
    std::vector<FixedPointSum> mass = std::vector<FixedPointSum>(KeyHistogram::kAll);
    std::vector<size_t> count = std::vector<size_t>(KeyHistogram::kAll);
    FixedPointSum outside;
  };
  Range keys{0, high};
  double wanted = -1;
  FixedPointSum before;
  size_t inside = size_;
  while (wanted < 0 || (inside > kFewAtBoundary && keys.low < keys.high)) {
    const auto [below, above] = logits_of(key, keys, temperature);
    const KeyHistogram bins(key, keys.low, keys.high, std::min(below.least, above.least));
    std::vector<Histogram> parts(workers_.threads);
    each_chunk([&](const Chunk& chunk, unsigned slot) {
      constexpr size_t kRoom = kChunkRows + kMaxLanes;
      alignas(64) double bin[kRoom], low_parts[kRoom], high_parts[kRoom];
      Histogram& part = parts[slot];
      const size_t binned =
          kernels_.exact_bins(chunk.logits, chunk.rows, max_, temperature, bins, bin, low_parts, high_parts, part.outside);
      // Apart, so that a processor knows early which additions are to the same bin.
      int32_t at[kRoom];
      for (size_t i = 0; i < binned; i++) at[i] = static_cast<int32_t>(bin[i]);
      FixedPointSum* const mass = part.mass.data();
      size_t* const count = part.count.data();
      for (size_t i = 0; i < binned; i++) {
        mass[at[i]] += {low_parts[i], high_parts[i]};
        count[at[i]]++;
      }
    });
    Histogram& all = parts[0];
    for (size_t slot = 1; slot < parts.size(); slot++) {
      all.outside += parts[slot].outside;
      for (size_t bin = 0; bin < KeyHistogram::kAll; bin++) {
        all.mass[bin] += parts[slot].mass[bin];
        all.count[bin] += parts[slot].count[bin];
      }
    }
    if (wanted < 0) {
      FixedPointSum total = all.outside;
      for (const FixedPointSum& mass : all.mass) total += mass;
      wanted = share * total.value() * (1 - kEarly);
    }
    size_t bin = 0;
    const auto falls_short = [&](const FixedPointSum& through) { return through.value() < wanted || all.count[bin] == 0; };
    for (FixedPointSum through; bin + 1 < KeyHistogram::kCount && falls_short(through = before + all.mass[bin]); bin++)
      before = through;
    inside = all.count[bin];
    Range chosen{bins.lowest_of(bin), bins.highest_of(bin)};
    if (inside > kFewAtBoundary) chosen = keys_within(key, chosen, temperature);
    if (chosen.low == keys.low && chosen.high == keys.high) break;  // closer together than bins can be
    keys = chosen;
  }

  if (inside > kFewAtBoundary && keys.low == keys.high)
    if (const std::optional<Last> last = last_among_equals(key, keys, before, wanted, temperature)) return *last;
  std::vector<Keyed> boundary = candidates_within(key, keys, temperature);
  const auto mass_of = [](const Keyed& c) { return c.mass; };
  const size_t index = index_of_share(boundary.data(), boundary.size(), before, wanted, std::less<>(), mass_of);
  before.add(mass_of(boundary[index]));
  return {boundary[index], before};
}

// Among logits of one key without a list of them: where they are all equal, or one below the mean and one above it.
std::optional<MaterializedRow::Last> MaterializedRow::last_among_equals(const Key& key, const Range& keys, FixedPointSum before,
                                                                        double wanted, double temperature) const {
  const auto [below, above] = logits_within(key, keys, temperature);
  if (below.least < below.most || above.least < above.most) return {};
  const bool has_below = below.least == below.most, has_above = above.least == above.most;
  for (const auto& [logit, is_there, is_last] :
       {std::tuple{above.least, has_above, !has_below}, {below.least, has_below, true}}) {
    if (!is_there) continue;
    const double x = x_of(logit, temperature), mass = exp_negative(x);
    const float u = logit;
    const size_t count = sum_over_chunks<size_t>([u](const Chunk& chunk, size_t& sum) {
      for (size_t i = 0, rows = chunk.rows; i < rows; i++) sum += chunk.logits[i] == u;
    });
    const double units = std::floor(mass * kMassUnits), high = std::floor(units / FixedPointSum::kHigh),
                 low = units - high * FixedPointSum::kHigh;
    const auto through = [&](size_t equals) {
      return before + FixedPointSum(low * static_cast<double>(equals), high * static_cast<double>(equals));
    };
    if (!is_last && through(count).value() < wanted) {
      before = through(count);
      continue;
    }
    size_t ahead = static_cast<size_t>(first_that(0, static_cast<int64_t>(count) - 1, [&](int64_t index) {
      return through(static_cast<size_t>(index) + 1).value() >= wanted;
    }));
    const FixedPointSum all = through(ahead + 1);
    for (size_t index = 0; index < chunks(); index++) {
      const Chunk chunk = chunk_at(index);
      if (!is_in(chunk.max)) continue;
      for (size_t i = 0; i < chunk.rows; i++)
        if (chunk.logits[i] == u && ahead-- == 0) return Last{{chunk.candidate(i), key.of(x), mass}, all};
    }
  }
  return {};
}

std::vector<MaterializedRow::Keyed> MaterializedRow::candidates_within(const Key& key, const Range& keys,
                                                                       double temperature) const {
  std::vector<std::vector<Keyed>> parts(workers_.threads);
  for (const Logits& side : logits_of(key, keys, temperature))
    each_chunk([&, side](const Chunk& chunk, unsigned slot) {
      if (chunk.max < side.least) return;
      const float* const u = chunk.logits;
      alignas(64) float some[kChunkRows];
      for (size_t i = 0, rows = chunk.rows; i < rows; i++) some[i] = u[i] <= side.most ? u[i] : kDropped;
      uint32_t found[kChunkRows];
      const size_t count = kernels_.indices_above(some, chunk.rows, side.least, true, found);
      for (size_t i = 0; i < count; i++) some[i] = u[found[i]];
      alignas(64) double x[kChunkRows], mass[kChunkRows];
      kernels_.exact_terms(some, count, max_, temperature, x, mass);
      for (size_t i = 0; i < count; i++) parts[slot].push_back({chunk.candidate(found[i]), key.of(x[i]), mass[i]});
    });
  std::vector<Keyed> all = std::move(parts[0]);
  for (size_t slot = 1; slot < parts.size(); slot++) all.insert(all.end(), parts[slot].begin(), parts[slot].end());
  return all;
}

}  // namespace lmhead
