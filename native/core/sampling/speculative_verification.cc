#include "speculative_verification.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../numerics/exact_math.h"
#include "filtered_set.h"
#include "materialized_row.h"

namespace lmhead {

namespace {

constexpr size_t kNowhere = std::numeric_limits<size_t>::max();

// Some neighboring columns of another source.
class ColumnRange final : public LogitSource {
 public:
  ColumnRange(const LogitSource& all, size_t first, size_t count) : all_(all), first_(first), count_(count) {}
  size_t columns() const override { return count_; }
  size_t vocabulary() const override { return all_.vocabulary(); }
  size_t valid() const override { return all_.valid(); }
  const uint32_t* ids() const override { return all_.ids(); }
  size_t group() const override { return all_.group(); }
  double work() const override { return all_.work() * static_cast<double>(count_) / static_cast<double>(all_.columns()); }
  void prepare(size_t first_column, size_t columns) const override { all_.prepare(first_ + first_column, columns); }
  Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const override {
    return all_.logits(first_row, rows, first_ + first_column, columns, scratch);
  }

 private:
  const LogitSource& all_;
  const size_t first_, count_;
};

// What the draft says of one row: q, of places.
struct Proposal {
  const float* log_probs = nullptr;  // null: certain of `place`, or (where there is none) nothing was proposed
  size_t place = kNowhere;

  // Whether the draft can have drawn what it proposes, so that it may stand. (A finite log-probability whose q underflows can.)
  bool is_possible() const { return !log_probs || log_probs[place] != -std::numeric_limits<float>::infinity(); }

  double operator()(size_t i) const {
    if (log_probs) return exp_negative(std::min(static_cast<double>(log_probs[i]), 0.0));
    return i == place ? 1 : 0;
  }
};

// A row's distribution after its filters: p = mass / sum, of places, with the bits that the reference gives them.
class Target {
 public:
  // u: [count] logits, of `ids` (null: of 0, 1, 2 ...); those that may not be drawn are not in. sum: of masses.
  Target(const Kernels& kernels, const float* u, size_t count, const uint32_t* ids, const Left& left, const FixedPointSum& sum)
      : kernels_(kernels),
        u_(u),
        count_(count),
        ids_(ids),
        max_(left.max),
        temperature_(left.temperature),
        sum_(sum.value() / kMassUnits) {}

  // Whether coin * q < p there.
  bool accepts(size_t place, double coin_times_q) const { return coin_times_q * sum_ < mass(place); }

  double mass(size_t place) const { return exp_negative((static_cast<double>(u_[place]) - max_) / temperature_); }
  float log_prob(size_t place) const {
    return static_cast<float>((static_cast<double>(u_[place]) - max_) / temperature_ - log_positive(sum_));
  }

  // Draws a place with probability proportional to max(p - q, 0); kNowhere where that is 0 everywhere.
  size_t draw(const Proposal& q, const Stream& stream) const {
    size_t winner = kNowhere;
    double best = -std::numeric_limits<double>::infinity();
    const auto offer = [&](size_t place) {
      const double share = q(place);
      const double weight = mass(place) - share * sum_;
      if (!(weight >= std::numeric_limits<double>::min())) return;
      const Bits64 bits = token_bits(stream, ids_ ? ids_[place] : static_cast<uint32_t>(place));
      const double key = race_key(log_positive(weight), bits.high, bits.low);
      if (key > best) {  // ids ascend with places: an equal key does not displace a lower one
        best = key;
        winner = place;
      }
    };
    // A weight is at most the mass, so that only those need a close look that would win by their mass.
    const double inverse_temperature = 1 / temperature_, top = max_ * inverse_temperature;
    for (size_t first = 0; first < count_; first += kChunkRows) {
      const size_t rows = std::min(kChunkRows, count_ - first);
      const float* const u = u_ + first;
      const float max = kernels_.max(u, rows).max;
      if (!is_in(max)) continue;
      const double to_beat = best + top - (std::abs(best) + std::abs(top)) * 0x1p-48 - 1e-9;
      if (max * inverse_temperature + kMaxNoise < to_beat) continue;
      if (!std::isfinite(to_beat) || ids_) {
        for (size_t i = 0; i < rows; i++) offer(first + i);
      } else {
        uint32_t found[kChunkRows];
        const size_t count =
            kernels_.race_candidates(u, rows, static_cast<uint32_t>(first), {stream, inverse_temperature, to_beat}, found);
        for (size_t i = 0; i < count; i++) offer(first + found[i]);
      }
    }
    return winner;
  }

 private:
  const Kernels& kernels_;
  const float* const u_;
  const size_t count_;
  const uint32_t* const ids_;
  const double max_, temperature_, sum_;
};

// Uniform in (0, 1), both ends left out, in steps of 2^-52.
double coin(Stream stream) {
  stream.purpose = Purpose::draft_coin;
  const Bits64 bits = token_bits(stream, 0);
  const uint64_t high = (uint64_t{bits.high} << 20) | (bits.low >> 12);
  return (static_cast<double>(high) + 0.5) * 0x1p-52;
}

class Verification {
 public:
  Verification(const Kernels& kernels, const LogitSource& source, const PassRequest& request)
      : kernels_(kernels), source_(source), valid_(source.valid()), request_(request), draft_(request.draft) {}

  // Goes on through rows whose logits [rows, vocabulary] these are; they are overwritten.
  PassResult take(float* logits, size_t first_row, size_t rows) {
    for (size_t i = 0; i < rows && !ended_; i++) {
      if (request_.workers.aborted()) return {PassResult::aborted};
      if (const PassResult result = take_row(logits + i * source_.vocabulary(), first_row + i); result.status != PassResult::ok)
        return result;
    }
    return {};
  }

  bool ended() const { return ended_; }

 private:
  PassResult take_row(float* u, size_t row) {
    const RowSampling sampling = parse_row(request_.row_parameters + row * kRowParameters);
    const bool adjusted = request_.adjustments.any();
    // Where there was nothing before, it is not the adjustments that leave nothing.
    const bool was_nothing = !adjusted || kernels_.max(u, valid_).max == kDropped;
    if (adjusted) adjust(u, row);
    const MaxResult m = kernels_.max(u, valid_);
    if (m.nan_at >= 0) return {PassResult::nan, row, id_of(static_cast<size_t>(m.nan_at))};
    if (!is_in(m.max)) return {was_nothing ? PassResult::unnormalized : PassResult::nothing_left, row};
    const size_t proposed = row < draft_.length ? source_.place_of(draft_.ids[row]) : kNowhere;
    Proposal q{nullptr, proposed};
    if (draft_.log_probs && row < draft_.length) q.log_probs = draft_.log_probs + row * source_.vocabulary();
    const bool may_stand = proposed < valid_ && q.is_possible();
    const size_t best = static_cast<size_t>(std::find(u, u + valid_, m.max) - u);
    if (m.max > std::numeric_limits<float>::max()) return {PassResult::unnormalized, row, int64_t{id_of(best)}};
    if (sampling.temperature == 0) {
      put(row, best, 0, may_stand && best == proposed);
      return {};
    }
    MaterializedRow held(kernels_, u, valid_, source_.ids(), m.max, request_.workers);
    const Left left = held.filter(sampling);
    held.write_back();
    const Target p(kernels_, u, valid_, source_.ids(), left, held.mass(left));
    if (may_stand && p.accepts(proposed, coin(sampling.stream) * q(proposed))) {
      put(row, proposed, p.log_prob(proposed), true);
      return {};
    }
    Stream stream = sampling.stream;
    stream.purpose = Purpose::draft_correction;
    size_t correction = p.draw(q, stream);
    // Nothing is left where p and q are the same but for rounding: then p itself is right.
    if (correction == kNowhere) correction = p.draw({}, stream);
    put(row, correction, p.log_prob(correction), false);
    return {};
  }

  void adjust(float* u, size_t row) const {
    for (size_t first = 0; first < valid_; first += kChunkRows) {
      const size_t rows = std::min(kChunkRows, valid_ - first);
      const uint32_t* const ids = source_.ids() ? source_.ids() + first : nullptr;
      const Tile tile{first / kChunkRows, static_cast<uint32_t>(first), ids, rows, 0, 1, u + first, rows, nullptr};
      request_.adjustments.apply(request_.adjustments.changes(row, tile), tile, u + first);
    }
  }

  uint32_t id_of(size_t place) const { return source_.ids() ? source_.ids()[place] : static_cast<uint32_t>(place); }

  void put(size_t row, size_t place, float log_prob, bool accepted) {
    LMHEAD_DASSERT(place < valid_);
    draft_.out_ids[row] = id_of(place);
    draft_.out_log_probs[row] = log_prob;
    if (accepted) ++*draft_.accepted;
    ended_ = !accepted;
  }

  const Kernels& kernels_;
  const LogitSource& source_;
  const size_t valid_;
  const PassRequest& request_;
  const DraftCheck& draft_;
  bool ended_ = false;
};

}  // namespace

PassResult verify_draft(const Kernels& kernels, const LogitSource& source, const PassRequest& request) {
  const size_t n = source.columns(), vocabulary = source.vocabulary();
  const size_t most = std::clamp<size_t>(kHeldBytes / (sizeof(float) * vocabulary), 1, std::max<size_t>(n, 1));
  std::vector<float> held(most * vocabulary);
  *request.draft.accepted = 0;
  Verification verification(kernels, source, request);
  for (size_t begin = 0; begin < n && !verification.ended(); begin += most) {
    const size_t rows = std::min(most, n - begin);
    PassRequest logits;
    logits.logits = held.data();
    logits.workers = request.workers;
    PassResult result = run_pass(kernels, ColumnRange(source, begin, rows), logits);
    if (result.status == PassResult::ok) result = verification.take(held.data(), begin, rows);
    if (result.status != PassResult::ok) return result;
  }
  return {};
}

}  // namespace lmhead
