// Sampling by its definition: sort the row, walk down, stop. Slow and plain; what filters.cc and the sinks are read against.
#pragma once

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "../core/numerics/exact_math.h"
#include "../core/sampling/filters.h"

namespace lmhead::test {

inline std::vector<Candidate> sorted_candidates(const float* u, size_t count) {
  std::vector<Candidate> all;
  for (size_t i = 0; i < count; i++) all.push_back({u[i], static_cast<uint32_t>(i)});
  std::sort(all.begin(), all.end(), better);
  return all;
}

// Row parameters as they come from outside; see parse_row.
inline std::vector<double> parameter_table(const std::vector<RowSampling>& rows) {
  std::vector<double> table;
  for (const RowSampling& r : rows)
    table.insert(table.end(), {r.temperature,
                               static_cast<double>(r.top_k),
                               r.top_p,
                               r.log_min_p,
                               static_cast<double>(r.stream.seed_low),
                               static_cast<double>(r.stream.seed_high),
                               static_cast<double>(r.stream.step),
                               r.typical_p,
                               r.log_epsilon,
                               r.log_eta,
                               r.top_n_sigma,
                               static_cast<double>(r.p_less),
                               r.xtc_probability,
                               r.log_xtc_threshold,
                               r.temperature_range,
                               r.temperature_exponent,
                               r.max_surprisal,
                               static_cast<double>(r.order),
                               static_cast<double>(r.stream.number),
                               static_cast<double>(r.min_keep),
                               static_cast<double>(r.stream.first_id)});
  return table;
}

// Ids that XTC does not drop, in some rows of tests.
inline IdSet every_third_id() {
  static const std::vector<uint32_t> ids = [] {
    std::vector<uint32_t> all;
    for (uint32_t id = 0; id < 5000; id += 3) all.push_back(id);
    return all;
  }();
  return {ids.data(), ids.size()};
}

// What a chain leaves of a whole row: best first, and the temperature of what is drawn from it.
struct NaiveLeft {
  std::vector<Candidate> kept;
  double temperature;
};

// The chain by the formulas of docs/sampling.md, on a sorted row. Masses are whole units of 2^-52 of the likeliest's, and what is
// compared with a share or a probability is reached 2^-22 early: that is part of the definition, and exp_negative is not.
class NaiveChain {
 public:
  NaiveChain(std::vector<Candidate> row, const RowSampling& sampling) : kept_(std::move(row)), s_(sampling) {
    std::sort(kept_.begin(), kept_.end(), better);
    while (std::isinf(kept_.back().logit)) kept_.pop_back();
  }

  NaiveLeft run() {
    for (uint64_t order = s_.order; order; order >>= 4) stage(static_cast<Stage>(order & 15));
    return {kept_, temperature_};
  }

 private:
  static constexpr double kEarlyLog = 0x1p-22;
  static double whole(double mass) { return std::floor(mass * 0x1p52) * 0x1p-52; }

  double x(const Candidate& c) const { return (static_cast<double>(c.logit) - kept_[0].logit) / temperature_; }
  double mass(const Candidate& c) const { return whole(std::exp(x(c))); }
  template <class Term>
  double sum(Term term) const {
    double total = 0;
    for (const Candidate& c : kept_) total += term(c);
    return total;
  }
  double log_p(const Candidate& c) const {
    return x(c) - std::log(sum([&](const Candidate& o) { return mass(o); }));
  }
  double entropy() const {
    const double total = sum([&](const Candidate& c) { return mass(c); });
    return std::log(total) + sum([&](const Candidate& c) { return whole(std::exp(x(c)) * -std::max(x(c), -1e300)); }) / total;
  }
  double collision() const {  // log of the sum of p^2
    const double total = sum([&](const Candidate& c) { return mass(c); });
    return std::log(sum([&](const Candidate& c) { return whole(std::exp(2 * x(c))); })) - 2 * std::log(total);
  }

  template <class Keeps>
  void keep(Keeps keeps) {  // and the best and its equals in any case
    const float best = kept_[0].logit;
    size_t places = 0;
    std::erase_if(kept_, [&](const Candidate& c) { return ++places > s_.min_keep && c.logit != best && !keeps(c); });
  }
  void keep_first(size_t count) {
    if (count < kept_.size()) kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(count), kept_.end());
  }
  void keep_from(double log_threshold) {
    const double log_sum = x(kept_[0]) - log_p(kept_[0]);
    keep([&](const Candidate& c) { return x(c) - log_sum >= log_threshold - kEarlyLog; });
  }
  // Of a vector in any order: its first up to the one at which their mass reaches the share.
  std::vector<Candidate> first_share(const std::vector<Candidate>& all, double share) const {
    const double wanted = share * sum([&](const Candidate& c) { return mass(c); }) * (1 - 0x1p-22);
    std::vector<Candidate> first;
    double so_far = 0;
    do {
      first.push_back(all[first.size()]);
      so_far += mass(first.back());
    } while (first.size() < all.size() && (so_far < wanted || first.size() < s_.min_keep));
    return first;
  }

  void stage(Stage which) {
    if (!s_.works(which)) return;
    switch (which) {
      case Stage::none:
        return;
      case Stage::top_n_sigma: {
        const double count = static_cast<double>(kept_.size());
        const double mean = sum([](const Candidate& c) { return static_cast<double>(c.logit); }) / count;
        const double variance = sum([&](const Candidate& c) { return (c.logit - mean) * (c.logit - mean); }) / count;
        const double floor = kept_[0].logit - s_.top_n_sigma * std::sqrt(variance);
        return keep([&](const Candidate& c) { return c.logit >= floor; });
      }
      case Stage::top_k:
        return keep_first(s_.top_k);
      case Stage::typical_p: {
        const double h = entropy(), log_sum = x(kept_[0]) - log_p(kept_[0]);
        const auto distance = [&](const Candidate& c) { return std::abs(h + x(c) - log_sum); };
        std::vector<Candidate> typical = kept_;
        std::stable_sort(typical.begin(), typical.end(),
                         [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
        kept_ = first_share(typical, s_.typical_p);
        return std::sort(kept_.begin(), kept_.end(), better);
      }
      case Stage::top_p:
        kept_ = first_share(kept_, s_.top_p);
        return;
      case Stage::min_p:
        return keep([&, floor = kept_[0].logit + temperature_ * s_.log_min_p](const Candidate& c) { return c.logit >= floor; });
      case Stage::epsilon_cutoff:
        return keep_from(s_.log_epsilon);
      case Stage::eta_cutoff:
        return keep_from(std::min(s_.log_eta, s_.log_eta / 2 - entropy()));
      case Stage::p_less:
        return keep_from(collision());
      case Stage::xtc: {
        if (xtc_uniform(s_.stream) >= s_.xtc_probability) return;
        const double log_sum = x(kept_[0]) - log_p(kept_[0]);
        size_t top = 0;
        while (top < kept_.size() && x(kept_[top]) - log_sum >= s_.log_xtc_threshold - kEarlyLog) top++;
        std::vector<Candidate> left;
        for (size_t i = 0; i < kept_.size(); i++)
          if (i + 1 >= top || s_.xtc_protected.has(kept_[i].id)) left.push_back(kept_[i]);
        if (left.size() >= s_.min_keep) kept_ = left;
        return;
      }
      case Stage::temperature: {
        if (s_.temperature_range != 0 && kept_.size() > 1) {
          temperature_ = 1;
          const double low = std::max(0.0, s_.temperature - s_.temperature_range), high = s_.temperature + s_.temperature_range;
          const double share = std::min(1.0, entropy() / std::log(static_cast<double>(kept_.size())));
          temperature_ = low + (high - low) * std::pow(share, s_.temperature_exponent);
          if (temperature_ > 0) return;
          keep_first(1);  // so low a temperature is greedy
        }
        temperature_ = s_.temperature;
        return;
      }
      case Stage::max_surprisal:
        return keep_from(-s_.max_surprisal);
    }
  }

  std::vector<Candidate> kept_;
  const RowSampling& s_;
  double temperature_ = 1;
};

inline std::vector<Candidate> naive_filter(std::vector<Candidate> row, const RowSampling& sampling) {
  return NaiveChain(std::move(row), sampling).run().kept;
}

// Every candidate's key, the largest wins; and the winner's log-probability among them.
inline Choice naive_gumbel_max(const std::vector<Candidate>& candidates, const Stream& stream, double temperature) {
  const Candidate* winner = nullptr;
  std::tuple<double, float, uint32_t, uint32_t, uint32_t> best;  // lower is better; all but the first decide ties
  for (const Candidate& c : candidates) {
    const Bits64 bits = token_bits(stream, c.id);
    const double key = gumbel_key(static_cast<double>(c.logit) / temperature, bits.high, bits.low);
    const auto order = std::tuple(-key, -c.logit, bits.high, bits.low, c.id);
    if (!winner || order < best) {
      winner = &c;
      best = order;
    }
  }
  const double max = std::min_element(candidates.begin(), candidates.end(), better)->logit;
  double sum = 0;
  for (const Candidate& c : candidates) sum += std::exp((c.logit - max) / temperature);
  return {winner->id, (winner->logit - max) / temperature - std::log(sum), std::log(sum)};
}
inline Choice naive_gumbel_max(const std::vector<Candidate>& candidates, const RowSampling& row) {
  return naive_gumbel_max(candidates, row.stream, row.temperature);
}

// From a whole row to its token.
inline Choice naive_draw(std::vector<Candidate> row, const RowSampling& sampling) {
  const NaiveLeft left = NaiveChain(std::move(row), sampling).run();
  return naive_gumbel_max(left.kept, sampling.stream, left.temperature);
}

}  // namespace lmhead::test
