#include "materialized_row.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <tuple>
#include <utility>

#include "../numerics/float_order.h"
#include "filter_chain.h"
#include "gumbel_max.h"

namespace lmhead {

namespace {

// So few are filtered sooner as a list; and of so many a share's boundary is found among them.
constexpr size_t kFew = 1024, kFewAtBoundary = 8192;

}  // namespace

MaterializedRow::MaterializedRow(const Kernels& kernels, float* logits, size_t count, const uint32_t* ids, float max,
                                 const ParallelFor& workers)
    : kernels_(kernels), logits_(logits), size_(count), ids_(ids), workers_(workers), max_(max), maxima_(chunks()) {
  each_chunk([&](const Chunk& chunk, unsigned) { maxima_[chunk.index] = kernels_.max(chunk.logits, chunk.rows).max; });
  LMHEAD_DASSERT(is_sound());
}

bool MaterializedRow::is_sound() const {
  if (!std::isfinite(max_) || max_ != *std::max_element(maxima_.begin(), maxima_.end())) return false;
  for (size_t index = 0; index < chunks(); index++)
    if (const Chunk chunk = chunk_at(index); is_in(chunk.max) && kernels_.max(chunk.logits, chunk.rows).max != chunk.max)
      return false;
  return true;
}

MaterializedRow::Chunk MaterializedRow::chunk_at(size_t index) const {
  const size_t first = index * kChunkRows;
  return {index,
          logits_ + first,
          std::min(kChunkRows, size_ - first),
          static_cast<uint32_t>(first),
          ids_ ? ids_ + first : nullptr,
          maxima_[index]};
}

template <class T, class Use>
T MaterializedRow::sum_over_chunks(Use use) const {
  std::vector<T> parts(workers_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) { use(chunk, parts[slot]); });
  T sum{};
  for (const T& part : parts) sum = sum + part;
  return sum;
}

bool MaterializedRow::is_long() {
  if (count_) return *count_ > kFew;
  size_t seen = 0;
  for (size_t index = 0; index < chunks() && seen <= kFew; index++) {
    const Chunk chunk = chunk_at(index);
    if (is_in(chunk.max)) seen += kernels_.count_above(chunk.logits, chunk.rows, kDropped, false);
  }
  if (seen <= kFew) count_ = seen;
  return seen > kFew;
}

size_t MaterializedRow::count() {
  if (!count_)
    count_ = sum_over_chunks<size_t>(
        [&](const Chunk& chunk, size_t& sum) { sum += kernels_.count_above(chunk.logits, chunk.rows, kDropped, false); });
  return *count_;
}

void MaterializedRow::keep_to(const Candidate& last) {
  LMHEAD_DASSERT(is_in(last.logit));
  drop([&](const Chunk& chunk) {
    float* const u = chunk.logits;
    if (chunk.max < last.logit) return kDropped;
    // Loops that compilers make vectors of.
    const size_t rows = chunk.rows;
    const float floor = last.logit;
    uint32_t equal = 0;
    for (size_t i = 0; i < rows; i++) equal += u[i] == floor;
    for (size_t i = 0; i < rows; i++) {
      const float x = u[i];
      u[i] = x >= floor ? x : kDropped;
    }
    for (size_t i = 0; equal > 0 && i < rows; i++)
      if (better(last, chunk.candidate(i))) u[i] = kDropped;
    return chunk.max > last.logit ? chunk.max : kernels_.max(u, chunk.rows).max;
  });
}

std::vector<Candidate>& MaterializedRow::list() {
  if (list_) return *list_;
  list_.emplace();
  list_->reserve(count());
  for (size_t index = 0; index < chunks(); index++) {
    uint32_t found[kChunkRows];
    const Chunk chunk = chunk_at(index);
    if (!is_in(chunk.max)) continue;
    const size_t count = kernels_.indices_above(chunk.logits, chunk.rows, kDropped, false, found);
    for (size_t i = 0; i < count; i++) list_->push_back(chunk.candidate(found[i]));
  }
  return *list_;
}

std::vector<Candidate> MaterializedRow::best(size_t k) const {
  if (list_) return *list_;
  std::vector<Candidate> best;
  if (k == 0) return best;
  for (size_t index = 0; index < chunks(); index++) {
    const Chunk chunk = chunk_at(index);
    const float beaten = best.size() < k ? kDropped : best[k - 1].logit;
    if (!is_in(chunk.max) || chunk.max <= beaten) continue;
    for (size_t i = 0; i < chunk.rows; i++)
      if (chunk.logits[i] > beaten) best.push_back(chunk.candidate(i));
    std::sort(best.begin(), best.end(), better);
    best.resize(std::min(best.size(), k));
  }
  return best;
}

void MaterializedRow::write_back() {
  if (!list_) {  // the row lies there, but for chunks in which nothing is left
    for (size_t i = 0; i < chunks(); i++)
      if (const Chunk chunk = chunk_at(i); !is_in(chunk.max)) std::fill_n(chunk.logits, chunk.rows, kDropped);
    return;
  }
  std::fill(logits_, logits_ + size_, kDropped);
  for (const Candidate& c : *list_) {
    const size_t index = ids_ ? static_cast<size_t>(std::lower_bound(ids_, ids_ + size_, c.id) - ids_) : c.id;
    LMHEAD_DASSERT(index < size_ && (!ids_ || ids_[index] == c.id));
    logits_[index] = c.logit;
  }
}

bool MaterializedRow::does(Stage stage) { return stage != Stage::top_k && is_long(); }

Left MaterializedRow::filter(const RowSampling& row) {
  Progress progress{row.order};
  Chain(*this, row, progress).run();
  if (progress.order == 0 && is_long()) return {max_, progress.temperature};
  return lmhead::filter(list(), row, progress);
}

Moments MaterializedRow::moments(double temperature) const {
  return sum_over_chunks<MomentSums>([&](const Chunk& chunk, MomentSums& sum) {
           sum = sum + kernels_.exact_moments(chunk.logits, chunk.rows, max_, temperature);
         })
      .moments();
}

FixedPointSum MaterializedRow::mass(const Left& left) const {
  return list_ ? lmhead::mass(*list_, left) : mass_in_place(left.temperature);
}

FixedPointSum MaterializedRow::mass_in_place(double temperature) const {
  if (mass_ && mass_->temperature == temperature) return mass_->mass;
  return sum_over_chunks<FixedPointSum>(
      [&](const Chunk& chunk, FixedPointSum& sum) { sum += kernels_.exact_mass(chunk.logits, chunk.rows, max_, temperature); });
}

// In the order of ids, which fixes the bits of its sums.
double MaterializedRow::deviation() const {
  DeviationSums sums;
  for (size_t index = 0; index < chunks(); index++) {
    const Chunk chunk = chunk_at(index);
    for (size_t i = 0; is_in(chunk.max) && i < chunk.rows; i++)
      if (is_in(chunk.logits[i])) sums.add(static_cast<double>(chunk.logits[i]) - max_);
  }
  return sums.deviation();
}

void MaterializedRow::keep_at_least(const Floor& floor) {
  if (!floor.admits(kLowest)) keep_to({std::min(floor.least(), max_), kNoId});
}

void MaterializedRow::keep_share(double share, double temperature) {
  const Key key;
  // All together, logits further below the largest have less than what may be left out: the largest alone has 1.
  const double left_out = (1 - share) / static_cast<double>(size_);
  Range keys{0, left_out > 0 ? std::min(0 - log_positive(left_out), -kFaint) : -kFaint};  // not -0, as bins go by keys' bits
  // Of a flat row what there is: else one bin would hold it.
  float flattest = max_;
  for (const float max : maxima_)
    if (is_in(max)) flattest = std::min(flattest, max);
  if (key.of(x_of(flattest, temperature)) < keys.high / 16) keys = keys_within(key, keys, temperature);
  const Last last = last_by(key, keys.high, share, temperature);
  keep_to(last);
  mass_ = {temperature, last.through};
}

void MaterializedRow::keep_typical(double share, double temperature) {
  const Moments m = moments(temperature);
  const Key key{m.log_sum, m.entropy};
  const Last last = last_by(key, std::max(key.of(0), key.of(kFaint)), share, temperature);
  drop_where([&](const Candidate& c) { return last < Keyed{c, key.of(x_of(c.logit, temperature)), 0}; });
}

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
    struct Places {
      int32_t least = kLast, most = kFirst;
    };
    std::vector<Places> parts(workers_.threads);
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
    Places all;
    for (const Places& part : parts) all = {std::min(all.least, part.least), std::max(all.most, part.most)};
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

std::optional<Candidate> MaterializedRow::last_from(const Floor& floor) const {
  std::vector<std::optional<Candidate>> lasts(workers_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    if (!floor.admits(chunk.max)) return;
    for (size_t i = 0; i < chunk.rows; i++)
      if (const Candidate c = chunk.candidate(i); floor.admits(c.logit) && (!lasts[slot] || better(*lasts[slot], c)))
        lasts[slot] = c;
  });
  std::optional<Candidate> last;
  for (const std::optional<Candidate>& each : lasts)
    if (each && (!last || better(*last, *each))) last = each;
  return last;
}

void MaterializedRow::keep_best() {
  const size_t index = static_cast<size_t>(std::find(maxima_.begin(), maxima_.end(), max_) - maxima_.begin());
  LMHEAD_DASSERT(index < chunks());
  const Chunk chunk = chunk_at(index);
  keep_to(chunk.candidate(static_cast<size_t>(std::find(chunk.logits, chunk.logits + chunk.rows, max_) - chunk.logits)));
}

Choice MaterializedRow::gumbel_max(const Left& left, const Stream& stream) const {
  if (list_) return lmhead::gumbel_max(*list_, left, stream);
  std::vector<GumbelMaxLeader> leaders(workers_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    gumbel_max_chunk(kernels_, {chunk.logits, chunk.rows, chunk.first, chunk.ids, chunk.max}, stream, left.temperature,
                     leaders[slot]);
  });
  GumbelMaxLeader winner;
  for (const GumbelMaxLeader& leader : leaders) winner.offer(leader);
  LMHEAD_DASSERT(winner.candidate.id != kNoId);
  const double log_sum = log_positive(mass(left).value() / kMassUnits);
  const Candidate& c = winner.candidate;
  return {c.id, left.log_prob(c.logit, log_sum), log_sum};
}

}  // namespace lmhead
