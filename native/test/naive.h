// Sampling by its definition: sort the row, walk down, stop. Slow and plain; what filters.cc and the sinks are read against.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/exact_math.h"
#include "../core/filters.h"

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
    table.insert(table.end(),
                 {r.temperature, static_cast<double>(r.top_k), r.top_p, r.log_min_p, static_cast<double>(r.stream.seed_low),
                  static_cast<double>(r.stream.seed_high), static_cast<double>(r.stream.step), r.typical_p, r.log_epsilon,
                  r.log_eta, r.top_n_sigma, static_cast<double>(r.p_less), r.xtc_probability, r.log_xtc_threshold,
                  r.temperature_range, r.temperature_exponent, r.max_surprise, static_cast<double>(r.order)});
  return table;
}

// What the filters keep of a whole row, best first.
inline std::vector<Candidate> naive_filter(std::vector<Candidate> kept, const RowSampling& row) {
  std::sort(kept.begin(), kept.end(), better);
  const double max = kept[0].logit;
  while (std::isinf(kept.back().logit)) kept.pop_back();
  if (row.top_k > 0 && row.top_k < kept.size()) kept.resize(row.top_k);
  if (row.top_p < 1) {
    // Mass in whole units of 2^-52 of the likeliest's, so that its sum is exact.
    const auto mass = [&](const Candidate& c) { return static_cast<uint64_t>(std::floor(exp_negative(c.logit - max) * 0x1p52)); };
    unsigned __int128 total = 0, sum = 0;
    for (const Candidate& c : kept) total += mass(c);
    const double wanted = row.top_p * static_cast<double>(total) * (1 - 0x1p-22);
    size_t n = 0;
    do sum += mass(kept[n++]);
    while (n < kept.size() && static_cast<double>(sum) < wanted);
    kept.resize(n);
  }
  std::erase_if(kept, [&](const Candidate& c) { return c.logit < max + row.log_min_p; });
  return kept;
}

// Every candidate's key, the largest wins; and the winner's log-probability among them.
inline Choice naive_race(const std::vector<Candidate>& candidates, const RowSampling& row) {
  const Candidate* winner = nullptr;
  double best = 0;
  for (const Candidate& c : candidates) {
    const Bits64 bits = token_bits(row.stream, c.id);
    const double key = race_key(static_cast<double>(c.logit) / row.temperature, bits.high, bits.low);
    if (!winner || key > best || (key == best && c.id < winner->id)) {
      winner = &c;
      best = key;
    }
  }
  const double max = std::min_element(candidates.begin(), candidates.end(), better)->logit;
  double sum = 0;
  for (const Candidate& c : candidates) sum += std::exp((c.logit - max) / row.temperature);
  return {winner->id, (winner->logit - max) / row.temperature - std::log(sum)};
}

}  // namespace lmhead::test
