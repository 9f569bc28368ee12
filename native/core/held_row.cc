#include "held_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "chain.h"
#include "sinks/sink.h"
#include "token_race.h"

namespace lmhead {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
// So few are filtered sooner as a list.
constexpr size_t kFew = 1024;
// Chunks that one thread takes at a time.
constexpr size_t kTaskChunks = 16;

// Keys from low to high, in bins of one width.
class Bins {
 public:
  static constexpr size_t kCount = 1024;
  Bins(double low, double high) : low_(low), high_(high), per_key_(low == high ? 0 : kCount / (high - low)) {}
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

HeldRow::HeldRow(const Kernels& kernels, float* logits, size_t count, const uint32_t* ids, float max, Crew crew)
    : kernels_(kernels), logits_(logits), size_(count), ids_(ids), crew_(std::move(crew)), max_(max) {
  count_ = sum_over_chunks<size_t>(
      [&](const Chunk& chunk, size_t& sum) { sum += kernels_.count_above(chunk.logits, chunk.rows, kNever, false); });
}

size_t HeldRow::chunks() const { return (size_ + kChunkRows - 1) / kChunkRows; }

HeldRow::Chunk HeldRow::chunk_at(size_t index) const {
  const size_t first = index * kChunkRows, rows = std::min(kChunkRows, size_ - first);
  return {logits_ + first, rows, static_cast<uint32_t>(first), ids_ ? ids_ + first : nullptr,
          kernels_.max(logits_ + first, rows).max};
}

template <class Use>
void HeldRow::each_chunk(Use use) const {
  const size_t count = chunks();
  crew_.share_out((count + kTaskChunks - 1) / kTaskChunks, [&](size_t task, unsigned slot) {
    for (size_t i = task * kTaskChunks; i < std::min(count, (task + 1) * kTaskChunks); i++)
      if (const Chunk chunk = chunk_at(i); chunk.max != kNever) use(chunk, slot);
  });
}

template <class T, class Use>
T HeldRow::sum_over_chunks(Use use) const {
  std::vector<T> parts(crew_.slots);
  each_chunk([&](const Chunk& chunk, unsigned slot) { use(chunk, parts[slot]); });
  T sum{};
  for (const T& part : parts) sum = sum + part;
  return sum;
}

template <class Drops>
void HeldRow::drop(Drops drops) {
  count_ = sum_over_chunks<size_t>([&](const Chunk& chunk, size_t& sum) {
    for (size_t i = 0; i < chunk.rows; i++) {
      if (drops(chunk.candidate(i))) chunk.logits[i] = kNever;
      sum += chunk.logits[i] != kNever;
    }
  });
}

std::vector<Candidate>& HeldRow::list() {
  if (list_) return *list_;
  list_.emplace();
  list_->reserve(count_);
  for (size_t index = 0; index < chunks(); index++) {
    uint32_t found[kChunkRows];
    const Chunk chunk = chunk_at(index);
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

bool HeldRow::does(Stage stage) const { return count_ > kFew && stage != Stage::top_k; }

Left HeldRow::filter(const RowSampling& row) {
  Progress progress{row.order};
  Chain(*this, row, progress).run();
  if (progress.order == 0 && count_ > kFew) return {max_, progress.temperature};
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

Mass HeldRow::mass(double temperature) const {
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
  drop([&](const Candidate& c) { return !(static_cast<double>(c.logit) >= floor || c.logit == max_); });
}

void HeldRow::keep_share(double share, double temperature) {
  const double max = max_, widest = 2.0 * std::numeric_limits<float>::max();
  keep_first_by([max](float u) { return max - u; }, std::min(-kFaint * temperature, widest), share, temperature);
}

void HeldRow::keep_typical(double share, double temperature) {
  const Moments m = moments(temperature);
  const double max = max_;
  const auto distance = [=](double x) { return std::abs(x - m.log_sum + m.entropy); };
  keep_first_by([=](float u) { return distance((u - max) / temperature); }, std::max(distance(0), distance(kFaint)), share,
                temperature);
  max_ = kNever;
  for (size_t index = 0; index < chunks(); index++) max_ = std::max(max_, chunk_at(index).max);
}

// By a histogram of mass over keys: the bin in which the share is reached, then that bin's own, until it holds few or one key.
template <class Key>
void HeldRow::keep_first_by(Key key, double high, double share, double temperature) {
  struct Bin {
    Mass mass;
    size_t count = 0;
    Bin operator+(const Bin& other) const { return {mass + other.mass, count + other.count}; }
  };
  double low = 0, wanted = -1;
  Mass before;
  for (size_t inside = size_; inside > kFew && low < high;) {
    const Bins bins(low, high);
    std::vector<std::vector<Bin>> parts(crew_.slots, std::vector<Bin>(Bins::kCount));
    each_chunk([&](const Chunk& chunk, unsigned slot) {
      alignas(64) double x[kChunkRows], e[kChunkRows];
      kernels_.exact_terms(chunk.logits, chunk.rows, max_, temperature, x, e);
      for (size_t i = 0; i < chunk.rows; i++) {
        const double k = key(chunk.logits[i]);
        if (!bins.has(k)) continue;
        Bin& bin = parts[slot][bins.index(k)];
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
    for (Mass through; bin + 1 < Bins::kCount && (through = before + all[bin].mass).value() < wanted; bin++) before = through;
    inside = all[bin].count;
    low = bins.lowest(bin);
    high = bins.highest(bin);
  }

  struct Keyed : Candidate {
    double key;
  };
  const auto in_order = [](const Keyed& a, const Keyed& b) { return a.key < b.key || (a.key == b.key && better(a, b)); };
  std::vector<std::vector<Keyed>> parts(crew_.slots);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    for (size_t i = 0; i < chunk.rows; i++)
      if (const double k = key(chunk.logits[i]); k >= low && k <= high) parts[slot].push_back({chunk.candidate(i), k});
  });
  std::vector<Keyed> boundary = std::move(parts[0]);
  for (size_t slot = 1; slot < parts.size(); slot++) boundary.insert(boundary.end(), parts[slot].begin(), parts[slot].end());
  const Keyed last = boundary[place_of_share(boundary.data(), boundary.size(), before, wanted, in_order, [&](const Keyed& c) {
    return exp_negative((static_cast<double>(c.logit) - max_) / temperature);
  })];
  drop([&](const Candidate& c) { return in_order(last, {c, key(c.logit)}); });
}

void HeldRow::exclude_top(double floor) {
  const auto is_top = [&](const Candidate& c) { return static_cast<double>(c.logit) >= floor; };
  std::vector<std::optional<Candidate>> lasts(crew_.slots);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    if (chunk.max < floor) return;
    for (size_t i = 0; i < chunk.rows; i++)
      if (const Candidate c = chunk.candidate(i); is_top(c) && (!lasts[slot] || better(*lasts[slot], c))) lasts[slot] = c;
  });
  std::optional<Candidate> stays;
  for (const std::optional<Candidate>& last : lasts)
    if (last && (!stays || better(*stays, *last))) stays = last;
  if (!stays) return;
  drop([&](const Candidate& c) { return is_top(c) && c.id != stays->id; });
  max_ = stays->logit;
}

void HeldRow::keep_best() {
  const size_t place = static_cast<size_t>(std::find(logits_, logits_ + size_, max_) - logits_);
  const uint32_t id = ids_ ? ids_[place] : static_cast<uint32_t>(place);
  drop([&](const Candidate& c) { return c.id != id; });
}

Choice HeldRow::race(const Left& left, const Stream& stream) const {
  if (list_) return lmhead::race(*list_, left, stream);
  std::vector<RaceLeader> leaders(crew_.slots);
  each_chunk([&](const Chunk& chunk, unsigned slot) {
    race_chunk(kernels_, {chunk.logits, chunk.rows, chunk.first, chunk.ids, chunk.max}, stream, left.temperature, leaders[slot]);
  });
  RaceLeader winner;
  for (const RaceLeader& leader : leaders) winner.offer(leader.key, leader.candidate);
  const double log_sum = log_positive(mass(left.temperature).value() / kMassUnits);
  const Candidate& c = winner.candidate;
  return {c.id, left.log_prob(c.logit, log_sum), log_sum};
}

}  // namespace lmhead
