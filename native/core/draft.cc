#include "draft.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "exact_math.h"
#include "sinks/sink.h"

namespace lmhead {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr size_t kHeldBytes = size_t{32} << 20;

// Some neighbouring columns of another source.
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

// What the draft says of one row: q(id).
struct Proposal {
  const float* log_probs;  // null: certain of `id`, or (where there is no id) nothing was proposed
  int64_t id;

  double operator()(size_t i) const {
    if (log_probs) return exp_negative(std::min(static_cast<double>(log_probs[i]), 0.0));
    return static_cast<int64_t>(i) == id ? 1 : 0;
  }
};

// A row's distribution after its filters: p(id) = mass(id) / sum. Masses, and the sum where a choice hangs on it, have the bits
// that the reference gives them. As nearly no choice does, a sum by the kernels' faster exponential comes first.
class Target {
 public:
  // u: [count] logits with a finite maximum; those that may not be drawn are -inf.
  Target(const Kernels& kernels, const float* u, size_t count, float max, double temperature)
      : kernels_(kernels), u_(u), count_(count), max_(max), temperature_(temperature) {
    for (size_t first = 0; first < count; first += kChunkRows)
      near_sum_ += kernels.exp_sums(u + first, std::min(kChunkRows, count - first), max, 1 / temperature, false).sum;
  }

  // Whether coin * q(id) < p(id).
  bool accepts(size_t id, double coin_times_q) const {
    // The kernels' sum is right to within 1e-5.
    const double wanted = coin_times_q * near_sum_, has = mass(id);
    if (std::abs(wanted - has) > 1e-4 * has) return wanted < has;
    return coin_times_q * sum() < has;
  }

  double mass(size_t id) const { return exp_negative((static_cast<double>(u_[id]) - max_) / temperature_); }
  float log_prob(size_t id) const {
    return static_cast<float>((static_cast<double>(u_[id]) - max_) / temperature_ - log_positive(near_sum_));
  }

  // Draws an id with probability proportional to max(p - q, 0); -1 where that is 0 everywhere.
  int64_t draw(const Proposal& q, const Stream& stream) const {
    int64_t winner = -1;
    double best = -std::numeric_limits<double>::infinity();
    const auto offer = [&](size_t id) {
      const double share = q(id);
      const double weight = share == 0 ? mass(id) : share == 1 ? 0 : mass(id) - share * sum();
      if (!(weight >= std::numeric_limits<double>::min())) return;
      const Bits64 bits = token_bits(stream, static_cast<uint32_t>(id));
      const double key = race_key(log_positive(weight), bits.high, bits.low);
      if (key > best) {  // ids ascend: an equal key does not displace a lower one
        best = key;
        winner = static_cast<int64_t>(id);
      }
    };
    // A weight is at most the id's mass, so that only those need a close look that would win by their mass.
    const double inverse_temperature = 1 / temperature_, top = max_ * inverse_temperature;
    for (size_t first = 0; first < count_; first += kChunkRows) {
      const size_t rows = std::min(kChunkRows, count_ - first);
      const float* const u = u_ + first;
      const float max = kernels_.max(u, rows).max;
      if (max == kNever) continue;
      const double to_beat = best + top - (std::abs(best) + std::abs(top)) * 0x1p-48 - 1e-9;
      if (!std::isfinite(to_beat)) {
        for (size_t i = 0; i < rows; i++) offer(first + i);
      } else if (max * inverse_temperature + kMaxNoise >= to_beat) {
        uint32_t found[kChunkRows];
        const size_t count =
            kernels_.race_candidates(u, rows, static_cast<uint32_t>(first), {stream, inverse_temperature, to_beat}, found);
        for (size_t i = 0; i < count; i++) offer(first + found[i]);
      }
    }
    return winner;
  }

 private:
  double sum() const {
    if (sum_ != 0) return sum_;
    for (size_t first = 0; first < count_; first += kChunkRows) {
      double part = 0;
      const size_t end = std::min(first + kChunkRows, count_);
      for (size_t id = first; id < end; id++) part += mass(id);
      sum_ += part;
    }
    return sum_;
  }

  const Kernels& kernels_;
  const float* const u_;
  const size_t count_;
  const double max_, temperature_;
  double near_sum_ = 0;
  mutable double sum_ = 0;  // made when it is first asked for
};

// Uniform in (0, 1), both ends left out, in steps of 2^-52.
double coin(Stream stream) {
  stream.purpose = Purpose::draft_coin;
  const Bits64 bits = token_bits(stream, 0);
  const uint64_t high = (uint64_t{bits.high} << 20) | (bits.low >> 12);
  return (static_cast<double>(high) + 0.5) * 0x1p-52;
}

// Sets to -inf what the row's filters drop.
Left apply_filters(float* u, size_t count, float max, const RowSampling& row) {
  const RowSampling::First first = row.first_filter();
  if (first.stage == Stage::none) return {max, first.temperature};
  std::vector<Candidate> candidates(count);
  for (size_t id = 0; id < count; id++) candidates[id] = {u[id], static_cast<uint32_t>(id)};
  const Left left = filter(candidates, row);
  std::fill(u, u + count, kNever);
  for (const Candidate& c : candidates) u[c.id] = c.logit;
  return left;
}

class Verification {
 public:
  Verification(const Kernels& kernels, const LogitSource& source, const PassRequest& request)
      : kernels_(kernels), valid_(source.valid()), vocabulary_(source.vocabulary()), request_(request), draft_(request.draft) {}

  // Goes on through rows whose logits [rows, vocabulary] these are; they are overwritten.
  PassResult take(float* logits, size_t first_row, size_t rows) {
    for (size_t i = 0; i < rows && !ended_; i++)
      if (const PassResult result = take_row(logits + i * vocabulary_, first_row + i); result.status != PassResult::ok)
        return result;
    return {};
  }

  bool ended() const { return ended_; }

 private:
  PassResult take_row(float* u, size_t row) {
    const RowSampling sampling = parse_row(request_.row_parameters + row * kRowParameters);
    const bool adjusted = request_.adjustments.any();
    if (adjusted) adjust(u, row);
    const MaxResult m = kernels_.max(u, valid_);
    if (m.nan_at >= 0) return {PassResult::nan, row, m.nan_at};
    if (adjusted && m.max == kNever) return {PassResult::nothing_left, row};
    const bool drafted = row < draft_.length;
    const int64_t id = drafted ? draft_.ids[row] : -1;
    if (sampling.temperature == 0) {
      const int64_t best = std::find(u, u + valid_, m.max) - u;
      put(row, best, 0, best == id);
      return {};
    }
    if (std::isinf(m.max)) return {PassResult::unnormalised, row, m.max > 0 ? std::find(u, u + valid_, m.max) - u : -1};

    const Left left = apply_filters(u, valid_, m.max, sampling);
    const Target p(kernels_, u, valid_, left.max, left.temperature);
    const Proposal q{drafted && draft_.log_probs ? draft_.log_probs + row * vocabulary_ : nullptr, id};
    if (drafted && static_cast<size_t>(id) < valid_) {
      if (p.accepts(static_cast<size_t>(id), coin(sampling.stream) * q(static_cast<size_t>(id)))) {
        put(row, id, p.log_prob(static_cast<size_t>(id)), true);
        return {};
      }
    }
    Stream stream = sampling.stream;
    stream.purpose = Purpose::draft_correction;
    int64_t correction = p.draw(q, stream);
    // Nothing is left where p and q are the same but for rounding: then p itself is right.
    if (correction < 0) correction = p.draw({nullptr, -1}, stream);
    put(row, correction, p.log_prob(static_cast<size_t>(correction)), false);
    return {};
  }

  void adjust(float* u, size_t row) const {
    for (size_t first = 0; first < valid_; first += kChunkRows) {
      const size_t rows = std::min(kChunkRows, valid_ - first);
      const Tile tile{first / kChunkRows, static_cast<uint32_t>(first), nullptr, rows, 0, 1, u + first, rows, nullptr};
      if (!request_.adjustments.leave_alone(row, tile)) request_.adjustments.apply(row, tile, u + first);
    }
  }

  void put(size_t row, int64_t id, float log_prob, bool accepted) {
    draft_.out_ids[row] = static_cast<uint32_t>(id);
    draft_.out_log_probs[row] = log_prob;
    if (accepted) ++*draft_.accepted;
    ended_ = !accepted;
  }

  const Kernels& kernels_;
  const size_t valid_, vocabulary_;
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
    logits.threads = request.threads;
    logits.abort = request.abort;
    logits.gate = request.gate;
    PassResult result = run_pass(kernels, ColumnRange(source, begin, rows), logits);
    if (result.status == PassResult::ok) result = verification.take(held.data(), begin, rows);
    if (result.status != PassResult::ok) return result;
  }
  return {};
}

}  // namespace lmhead
