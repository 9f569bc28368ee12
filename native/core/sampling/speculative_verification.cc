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

// What the draft says of one row: q, of local indices.
struct Proposal {
  const float* log_probs = nullptr;  // null: certain of `index`, or (where there is none) nothing was proposed
  size_t index = kNowhere;

  // Whether the draft can have drawn what it proposes, so that it may be accepted. (A finite log-probability whose q underflows
  // can.)
  bool is_possible() const { return !log_probs || log_probs[index] != -std::numeric_limits<float>::infinity(); }

  double operator()(size_t i) const {
    if (log_probs) return exp_negative(std::min(static_cast<double>(log_probs[i]), 0.0));
    return i == index ? 1 : 0;
  }
};

// A row's distribution after its filters: p = mass / sum, of local indices, with the bits that the reference gives them.
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
  bool accepts(size_t index, double coin_times_q) const { return coin_times_q * sum_ < mass(index); }

  double mass(size_t index) const { return exp_negative((static_cast<double>(u_[index]) - max_) / temperature_); }
  float log_prob(size_t index) const {
    return static_cast<float>((static_cast<double>(u_[index]) - max_) / temperature_ - log_positive(sum_));
  }

  // Draws a index with probability proportional to max(p - q, 0); kNowhere where that is 0 everywhere.
  size_t draw(const Proposal& q, const Stream& stream) const {
    size_t winner = kNowhere;
    double best = -std::numeric_limits<double>::infinity();
    const auto offer = [&](size_t index) {
      const double share = q(index);
      const double weight = mass(index) - share * sum_;
      if (!(weight >= std::numeric_limits<double>::min())) return;
      const Bits64 bits = token_bits(stream, ids_ ? ids_[index] : static_cast<uint32_t>(index));
      const double key = gumbel_key(log_positive(weight), bits.high, bits.low);
      if (key > best) {  // ids ascend with local indices: an equal key does not displace a lower one
        best = key;
        winner = index;
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
        const size_t count = kernels_.gumbel_max_candidates(u, rows, static_cast<uint32_t>(first) + stream.first_id,
                                                            {stream, inverse_temperature, to_beat}, found);
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

}  // namespace

Verification::Verification(const Kernels& kernels, const LogitSource& source, const PassRequest& request)
    : kernels_(kernels), source_(source), valid_(source.valid()), request_(request), draft_(request.draft) {
  *draft_.accepted = 0;
}

PassResult Verification::verify(float* logits, size_t stride, size_t first_row, size_t rows, const ParallelFor& workers) {
  for (size_t i = 0; i < rows && !ended_; i++) {
    if (workers.aborted()) return {PassResult::aborted};
    if (const PassResult result = take_row(logits + i * stride, first_row + i, workers); result.status != PassResult::ok)
      return result;
  }
  return {};
}

PassResult Verification::take_row(float* u, size_t row, const ParallelFor& workers) {
  const RowSampling sampling = request_.sampling_of(row);
  const bool adjusted = request_.adjustments.any();
  // Where there was nothing before, it is not the adjustments that leave nothing.
  const bool was_nothing = !adjusted || kernels_.max(u, valid_).max == kDropped;
  if (adjusted) adjust(u, row);
  const MaxResult m = kernels_.max(u, valid_);
  if (m.nan_at >= 0) return {PassResult::nan, row, id_of(static_cast<size_t>(m.nan_at))};
  if (!is_in(m.max)) return {was_nothing ? PassResult::unnormalized : PassResult::nothing_left, row};
  const size_t proposed = row < draft_.length ? source_.local_index_of(draft_.ids[row]) : kNowhere;
  Proposal q{nullptr, proposed};
  if (draft_.log_probs && row < draft_.length) q.log_probs = draft_.log_probs + row * source_.vocabulary();
  const bool may_stand = proposed < valid_ && q.is_possible();
  const size_t best = static_cast<size_t>(std::find(u, u + valid_, m.max) - u);
  if (m.max > std::numeric_limits<float>::max()) return {PassResult::unnormalized, row, int64_t{id_of(best)}};
  if (sampling.temperature == 0) {
    put(row, best, 0, may_stand && best == proposed);
    return {};
  }
  MaterializedRow held(kernels_, u, valid_, source_.ids(), m.max, workers);
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

void Verification::adjust(float* u, size_t row) const {
  for (size_t first = 0; first < valid_; first += kChunkRows) {
    const size_t rows = std::min(kChunkRows, valid_ - first);
    const uint32_t* const ids = source_.ids() ? source_.ids() + first : nullptr;
    const Tile tile{first / kChunkRows, static_cast<uint32_t>(first), ids, rows, 0, 1, u + first, rows, nullptr};
    request_.adjustments.apply(request_.adjustments.changes(row, tile), tile, u + first);
  }
}

void Verification::put(size_t row, size_t index, float log_prob, bool accepted) {
  LMHEAD_DASSERT(index < valid_);
  draft_.out_ids[row] = id_of(index);
  draft_.out_log_probs[row] = log_prob;
  if (accepted) ++*draft_.accepted;
  ended_ = !accepted;
}

}  // namespace lmhead
