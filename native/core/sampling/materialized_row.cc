#include "materialized_row.h"

#include <algorithm>
#include <cmath>

#include "../numerics/float_order.h"
#include "filter_chain.h"
#include "gumbel_max.h"

namespace lmhead {

namespace {

// So few are filtered sooner as a list.
constexpr size_t kFew = 1024;

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

bool MaterializedRow::does(Stage stage, const RowSampling& row) {
  const bool is_of_a_list =
      stage == Stage::top_k || row.min_keep > kFew || (row.min_keep > 1 && (stage == Stage::typical_p || stage == Stage::xtc));
  return !is_of_a_list && is_long();
}

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

void MaterializedRow::keep_at_least(const Floor& floor, size_t min_keep) {
  if (!floor.admits(kLowest)) keep_to(at_least({std::min(floor.least(), max_), kNoId}, min_keep));
}

Candidate MaterializedRow::at_least(const Candidate& last, size_t count) const {
  if (count <= 1) return last;
  const std::vector<Candidate> all = best(count);
  return better(last, all.back()) ? all.back() : last;
}

void MaterializedRow::keep_share(double share, double temperature, size_t min_keep) {
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
  const Candidate kept = at_least(last, min_keep);
  keep_to(kept);
  if (kept.id == last.id) mass_ = {temperature, last.through};
}

void MaterializedRow::keep_typical(double share, double temperature, size_t min_keep) {
  LMHEAD_DASSERT(min_keep <= 1);  // see does
  const Moments m = moments(temperature);
  const Key key{m.log_sum, m.entropy};
  const Last last = last_by(key, std::max(key.of(0), key.of(kFaint)), share, temperature);
  drop_where([&](const Candidate& c) { return last < Keyed{c, key.of(x_of(c.logit, temperature)), 0}; });
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
