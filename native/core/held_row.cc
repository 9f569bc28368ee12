#include "held_row.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "chain.h"
#include "token_race.h"

namespace lmhead {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kLowest = -std::numeric_limits<float>::max();
// So few are filtered sooner as a list; and of so many a share's boundary is found among them.
constexpr size_t kFew = 1024, kFewAtBoundary = 8192;
// Chunks that one thread takes at a time.
constexpr size_t kTaskChunks = 16;

// Keys from low to high, in bins of one width.
class Bins {
 public:
  static constexpr size_t kCount = 1024;
  // Finite, so that low * per_key_ has an index even where high is hardly above it.
  Bins(double low, double high)
      : low_(low), high_(high), per_key_(std::min(kCount / (high - low), std::numeric_limits<double>::max())) {}
  bool has(double key) const { return key >= low_ && key <= high_; }
  // Never less for a larger key.
  size_t index(double key) const {
    const auto index = static_cast<int32_t>((key - low_) * per_key_);
    return index < static_cast<int32_t>(kCount) ? static_cast<size_t>(index) : kCount - 1;
  }
  // The largest key with at most this index.
  double highest(size_t bin) const {
    // Positive doubles are in the order of their bits.
    uint64_t in = exact::to_bits(low_), out = exact::to_bits(high_) + 1;
    while (out - in > 1) {
      const uint64_t middle = in + (out - in) / 2;
      (index(exact::from_bits(middle)) <= bin ? in : out) = middle;
    }
    return exact::from_bits(in);
  }
  double lowest(size_t bin) const { return bin == 0 ? low_ : exact::from_bits(exact::to_bits(highest(bin - 1)) + 1); }

 private:
  const double low_, high_;
  const double per_key_;
};

}  // namespace

HeldRow::HeldRow(const Kernels& kernels, float* logits, size_t count, const uint32_t* ids, float max, const Crew& crew)
    : kernels_(kernels), logits_(logits), size_(count), ids_(ids), crew_(crew), max_(max), maxima_(chunks()) {
  each_chunk([&](const Chunk& chunk, unsigned) { maxima_[chunk.index] = kernels_.max(chunk.logits, chunk.rows).max; });
}

HeldRow::Chunk HeldRow::chunk_at(size_t index) const {
  const size_t first = index * kChunkRows;
  return {index,
          logits_ + first,
          std::min(kChunkRows, size_ - first),
          static_cast<uint32_t>(first),
          ids_ ? ids_ + first : nullptr,
          maxima_[index]};
}

template <class Use>
void HeldRow::each_chunk(Use use) const {
  const size_t count = chunks();
  const auto work = [&](size_t task, unsigned slot) {
    for (size_t i = task * kTaskChunks; i < std::min(count, (task + 1) * kTaskChunks); i++)
      if (maxima_[i] != kNever) use(chunk_at(i), slot);
  };
  crew_.share_out((count + kTaskChunks - 1) / kTaskChunks, work, Crew::To::the_end);
}

template <class T, class Use>
T HeldRow::sum_over_chunks(Use use) const {
  std::vector<T> parts(crew_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) { use(chunk, parts[slot]); });
  T sum{};
  for (const T& part : parts) sum = sum + part;
  return sum;
}

size_t HeldRow::count() {
  if (!count_)
    count_ = sum_over_chunks<size_t>(
        [&](const Chunk& chunk, size_t& sum) { sum += kernels_.count_above(chunk.logits, chunk.rows, kNever, false); });
  return *count_;
}

template <class Drop>
void HeldRow::drop(Drop drop) {
  each_chunk([&](const Chunk& chunk, unsigned) {
    drop(chunk);
    maxima_[chunk.index] = kernels_.max(chunk.logits, chunk.rows).max;
  });
  count_.reset();
  mass_.reset();
}

template <class Drops>
void HeldRow::drop_where(Drops drops) {
  drop([&](const Chunk& chunk) {
    for (size_t i = 0; i < chunk.rows; i++)
      if (drops(chunk.candidate(i))) chunk.logits[i] = kNever;
  });
}

void HeldRow::keep_to(const Candidate& last) {
  drop([&](const Chunk& chunk) {
    float* const u = chunk.logits;
    size_t equal = 0;
    for (size_t i = 0; i < chunk.rows; i++) {
      equal += u[i] == last.logit;
      u[i] = u[i] >= last.logit ? u[i] : kNever;
    }
    for (size_t i = 0; equal > 0 && i < chunk.rows; i++)
      if (better(last, chunk.candidate(i))) u[i] = kNever;
  });
}

std::vector<Candidate>& HeldRow::list() {
  if (list_) return *list_;
  list_.emplace();
  list_->reserve(count());
  for (size_t index = 0; index < chunks(); index++) {
    uint32_t found[kChunkRows];
    const Chunk chunk = chunk_at(index);
    if (chunk.max == kNever) continue;
    const size_t count = kernels_.indices_above(chunk.logits, chunk.rows, kNever, false, found);
    for (size_t i = 0; i < count; i++) list_->push_back(chunk.candidate(found[i]));
  }
  return *list_;
}

std::vector<Candidate> HeldRow::best(size_t k) const {
  if (list_) return *list_;
  std::vector<Candidate> best;
  if (k == 0) return best;
  for (size_t index = 0; index < chunks(); index++) {
    const Chunk chunk = chunk_at(index);
    const float beaten = best.size() < k ? kNever : best[k - 1].logit;
    if (chunk.max <= beaten) continue;
    for (size_t i = 0; i < chunk.rows; i++)
      if (chunk.logits[i] > beaten) best.push_back(chunk.candidate(i));
    std::sort(best.begin(), best.end(), better);
    best.resize(std::min(best.size(), k));
  }
  return best;
}

void HeldRow::write_back() {
  if (!list_) return;  // the row lies there
  std::fill(logits_, logits_ + size_, kNever);
  for (const Candidate& c : *list_) logits_[ids_ ? std::lower_bound(ids_, ids_ + size_, c.id) - ids_ : c.id] = c.logit;
}

bool HeldRow::does(Stage stage) { return count() > kFew && stage != Stage::top_k; }

Left HeldRow::filter(const RowSampling& row) {
  Progress progress{row.order};
  Chain(*this, row, progress).run();
  if (progress.order == 0 && count() > kFew) return {max_, progress.temperature};
  return lmhead::filter(list(), row, progress);
}

Moments HeldRow::moments(double temperature) const {
  return sum_over_chunks<MomentSums>([&](const Chunk& chunk, MomentSums& sums) {
           alignas(64) double x[kChunkRows], e[kChunkRows];
           kernels_.exact_terms(chunk.logits, chunk.rows, max_, temperature, x, e);
           for (size_t i = 0; i < chunk.rows; i++) sums.add(x[i], e[i]);
         })
      .moments();
}

Mass HeldRow::mass(const Left& left) const { return list_ ? lmhead::mass(*list_, left) : mass_in_place(left.temperature); }

Mass HeldRow::mass_in_place(double temperature) const {
  if (mass_ && mass_->temperature == temperature) return mass_->mass;
  return sum_over_chunks<Mass>([&](const Chunk& chunk, Mass& sum) {
    alignas(64) double x[kChunkRows], e[kChunkRows];
    kernels_.exact_terms(chunk.logits, chunk.rows, max_, temperature, x, e);
    for (size_t i = 0; i < chunk.rows; i++) sum.add(e[i]);
  });
}

// In the order of ids, which fixes the bits of its sums.
double HeldRow::deviation() const {
  DeviationSums sums;
  for (size_t i = 0; i < size_; i++)
    if (logits_[i] != kNever) sums.add(static_cast<double>(logits_[i]) - max_);
  return sums.deviation();
}

void HeldRow::keep_at_least(double floor) {
  if (floor >= max_) return keep_to({max_, kNoId});
  if (floor < kLowest) return;
  const float nearest = static_cast<float>(floor);
  keep_to({nearest >= floor ? nearest : std::nextafter(nearest, max_), kNoId});
}

// How far logits are below the largest.
struct HeldRow::Distance {
  double max;
  double operator()(float u) const { return max - u; }
  Logits logits_within(Range keys) const { return around(max - keys.high, max - keys.low, max); }
};

// How far surprises, at some temperature, are from their mean.
struct HeldRow::Atypicality {
  double max, temperature;
  Moments moments;
  double of(double x) const { return std::abs(x - moments.log_sum + moments.entropy); }
  double operator()(float u) const { return of((u - max) / temperature); }
  Logits logits_within(Range keys) const {
    const double typical = max + temperature * (moments.log_sum - moments.entropy), width = temperature * keys.high;
    return around(typical - width, typical + width, max);
  }
};

// More than rounding takes from the ends.
HeldRow::Logits HeldRow::around(double least, double most, double max) {
  const double slack = 1e-6 * (std::abs(least) + std::abs(most)) + 1e-9 * std::abs(max) + std::numeric_limits<float>::min();
  return {static_cast<float>(std::max<double>(least - slack, kLowest)),
          static_cast<float>(std::min<double>(most + slack, -kLowest))};
}

void HeldRow::keep_share(double share, double temperature) {
  // Of a flat row what there is, and not all that could have a mass: else one bin would hold it.
  double widest = std::min(-kFaint * temperature, 2.0 * std::numeric_limits<float>::max());
  const Distance key{max_};
  if (max_ - *std::min_element(maxima_.begin(), maxima_.end()) < widest / 16) widest = keys_within(key, {0, widest}).high;
  const Last last = place_by(key, widest, share, temperature);
  keep_to(last);
  mass_ = {temperature, last.mass};
}

void HeldRow::keep_typical(double share, double temperature) {
  const Atypicality key{max_, temperature, moments(temperature)};
  const Last last = place_by(key, std::max(key.of(0), key.of(kFaint)), share, temperature);
  drop_where([&](const Candidate& c) { return last < Keyed{c, key(c.logit)}; });
  max_ = *std::max_element(maxima_.begin(), maxima_.end());
}

// From the first of the keys within a range to the last: equal ones would take bins without end.
template <class Key>
HeldRow::Range HeldRow::keys_within(Key key, Range range) const {
  std::vector<Range> parts(crew_.threads, {range.high, range.low});
  each_chunk([&, key, range](const Chunk& chunk, unsigned slot) {
    constexpr size_t kSideBySide = 4;  // for as many chains of comparisons, or a vector
    double low[kSideBySide], high[kSideBySide];
    std::fill_n(low, kSideBySide, range.high);
    std::fill_n(high, kSideBySide, range.low);
    const float* const u = chunk.logits;
    const auto see = [&](size_t i, size_t j) {
      const double k = key(u[i]);
      low[j] = k >= range.low && k < low[j] ? k : low[j];
      high[j] = k <= range.high && k > high[j] ? k : high[j];
    };
    size_t i = 0;
    for (const size_t rows = chunk.rows; i + kSideBySide <= rows; i += kSideBySide)
      for (size_t j = 0; j < kSideBySide; j++) see(i + j, j);
    for (; i < chunk.rows; i++) see(i, 0);
    for (size_t j = 0; j < kSideBySide; j++)
      parts[slot] = {std::min(parts[slot].low, low[j]), std::max(parts[slot].high, high[j])};
  });
  Range keys = parts[0];
  for (const Range& part : parts) keys = {std::min(keys.low, part.low), std::max(keys.high, part.high)};
  return keys;
}

// By a histogram of mass over keys: the bin in which the share is reached, then that bin's own, until it holds few or one key.
template <class Key>
HeldRow::Last HeldRow::place_by(Key key, double high, double share, double temperature) const {
  struct Bin {
    Mass mass;
    size_t count = 0;
    Bin operator+(const Bin& other) const { return {mass + other.mass, count + other.count}; }
  };
  double low = 0, wanted = -1;
  Mass before;
  for (size_t inside = size_; wanted < 0 || (inside > kFewAtBoundary && low < high);) {
    const Bins bins(low, high);
    std::vector<std::vector<Bin>> parts(crew_.threads, std::vector<Bin>(Bins::kCount));
    each_chunk([&, key, bins](const Chunk& chunk, unsigned slot) {
      alignas(64) double x[kChunkRows], e[kChunkRows];
      kernels_.exact_terms(chunk.logits, chunk.rows, max_, temperature, x, e);
      const float* const u = chunk.logits;
      Bin* const part = parts[slot].data();
      for (size_t i = 0, rows = chunk.rows; i < rows; i++) {
        const double k = key(u[i]);
        if (!bins.has(k)) continue;
        Bin& bin = part[bins.index(k)];
        bin.mass.add(e[i]);
        bin.count++;
      }
    });
    std::vector<Bin>& all = parts[0];
    for (size_t slot = 1; slot < parts.size(); slot++)
      for (size_t bin = 0; bin < Bins::kCount; bin++) all[bin] = all[bin] + parts[slot][bin];
    if (wanted < 0) {
      Mass total;
      for (const Bin& bin : all) total = total + bin.mass;
      wanted = share * total.value() * (1 - kEarly);
    }
    size_t bin = 0;
    const auto falls_short = [&](const Mass& through) { return through.value() < wanted || all[bin].count == 0; };
    for (Mass through; bin + 1 < Bins::kCount && falls_short(through = before + all[bin].mass); bin++) before = through;
    inside = all[bin].count;
    const Range chosen{bins.lowest(bin), bins.highest(bin)};
    const Range keys = inside > kFewAtBoundary ? keys_within(key, chosen) : chosen;
    if (keys.low == low && keys.high == high) break;  // closer together than bins can be
    low = keys.low;
    high = keys.high;
  }

  std::vector<std::vector<Keyed>> parts(crew_.threads);
  const Logits within = key.logits_within({low, high});
  each_chunk([&, key, low, high, within](const Chunk& chunk, unsigned slot) {
    if (chunk.max < within.least) return;
    const float* const u = chunk.logits;
    const float top = within.most;
    float below[kChunkRows];
    for (size_t i = 0, rows = chunk.rows; i < rows; i++) below[i] = u[i] <= top ? u[i] : kNever;
    uint32_t found[kChunkRows];
    const size_t count = kernels_.indices_above(below, chunk.rows, within.least, true, found);
    for (size_t i = 0; i < count; i++)
      if (const double k = key(u[found[i]]); k >= low && k <= high) parts[slot].push_back({chunk.candidate(found[i]), k});
  });
  std::vector<Keyed> boundary = std::move(parts[0]);
  for (size_t slot = 1; slot < parts.size(); slot++) boundary.insert(boundary.end(), parts[slot].begin(), parts[slot].end());
  const auto mass_of = [&](const Keyed& c) { return exp_negative((static_cast<double>(c.logit) - max_) / temperature); };
  const size_t place = place_of_share(boundary.data(), boundary.size(), before, wanted, std::less<>(), mass_of);
  before.add(mass_of(boundary[place]));
  return {boundary[place], before};
}

void HeldRow::exclude_top(double floor) {
  const auto is_top = [&](const Candidate& c) { return static_cast<double>(c.logit) >= floor; };
  std::vector<std::optional<Candidate>> lasts(crew_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    if (chunk.max < floor) return;
    for (size_t i = 0; i < chunk.rows; i++)
      if (const Candidate c = chunk.candidate(i); is_top(c) && (!lasts[slot] || better(*lasts[slot], c))) lasts[slot] = c;
  });
  std::optional<Candidate> stays;
  for (const std::optional<Candidate>& last : lasts)
    if (last && (!stays || better(*stays, *last))) stays = last;
  if (!stays) return;
  drop_where([&](const Candidate& c) { return is_top(c) && c.id != stays->id; });
  max_ = stays->logit;
}

void HeldRow::keep_best() {
  const size_t place = static_cast<size_t>(std::find(logits_, logits_ + size_, max_) - logits_);
  keep_to({max_, ids_ ? ids_[place] : static_cast<uint32_t>(place)});
}

Choice HeldRow::race(const Left& left, const Stream& stream) const {
  if (list_) return lmhead::race(*list_, left, stream);
  std::vector<RaceLeader> leaders(crew_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    race_chunk(kernels_, {chunk.logits, chunk.rows, chunk.first, chunk.ids, chunk.max}, stream, left.temperature, leaders[slot]);
  });
  RaceLeader winner;
  for (const RaceLeader& leader : leaders) winner.offer(leader.key, leader.candidate);
  const double log_sum = log_positive(mass(left).value() / kMassUnits);
  const Candidate& c = winner.candidate;
  return {c.id, left.log_prob(c.logit, log_sum), log_sum};
}

}  // namespace lmhead
