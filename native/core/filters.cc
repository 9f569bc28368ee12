#include "filters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "exact_math.h"

namespace lmhead {

namespace {

// A sum of whole numbers below 2^53, exact for up to 2^27 of them, and hence the same in any order.
class Mass {
 public:
  void add(double w) {
    const uint64_t whole = static_cast<uint64_t>(w);
    low_ += whole & ((uint64_t{1} << 26) - 1);
    high_ += whole >> 26;
  }
  Mass operator+(const Mass& other) const {
    Mass sum = *this;
    sum.low_ += other.low_;
    sum.high_ += other.high_;
    return sum;
  }
  double value() const { return static_cast<double>(high_) * 67108864.0 + static_cast<double>(low_); }

 private:
  uint64_t low_ = 0, high_ = 0;
};

// A logit's share of the probability mass, in units of 2^-52 of the likeliest token's.
double mass_of(const Candidate& c, float max) {
  return std::floor(exp_negative(static_cast<double>(c.logit) - max) * 4503599627370496.0);
}
Mass mass_of(const Candidate* begin, const Candidate* end, float max) {
  Mass sum;
  for (; begin != end; begin++) sum.add(mass_of(*begin, max));
  return sum;
}

// Leaves the best candidates up to and including the one at which their mass reaches top_p of all. A selection like
// quickselect's, by mass instead of by count: the mass of the better half says in which half the boundary lies.
void keep_top_p(std::vector<Candidate>& candidates, float max, double top_p) {
  // Below this a mass is 0, and the boundary lies above: the sum reaches its end with the last one that has any.
  const double faint = static_cast<double>(max) - 36.1;
  std::erase_if(candidates, [&](const Candidate& c) { return c.logit < faint; });
  const double total = mass_of(candidates.data(), candidates.data() + candidates.size(), max).value();
  const double wanted = top_p * total * (1 - 0x1p-22);
  Mass before;  // of everything ahead of begin
  Candidate *const first = candidates.data(), *begin = first, *end = first + candidates.size();
  while (end - begin > 1) {
    Candidate* const middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, better);
    const Mass through = before + mass_of(begin, middle, max);
    if (through.value() >= wanted) {
      end = middle;
    } else {
      before = through;
      begin = middle;
    }
  }
  candidates.resize(static_cast<size_t>(begin - first) + 1);  // one is always kept
}

}  // namespace

void filter(std::vector<Candidate>& candidates, float max, const RowSampling& row) {
  std::erase_if(candidates, [](const Candidate& c) { return c.logit == -std::numeric_limits<float>::infinity(); });
  if (row.top_k > 0 && row.top_k < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(row.top_k), candidates.end(), better);
    candidates.resize(row.top_k);
  }
  if (row.top_p < 1) keep_top_p(candidates, max, row.top_p);
  const double floor = static_cast<double>(max) + row.log_min_p;
  std::erase_if(candidates, [&](const Candidate& c) { return !(static_cast<double>(c.logit) >= floor); });
}

Choice race(const std::vector<Candidate>& candidates, float max, const RowSampling& row) {
  const Candidate* winner = &candidates[0];
  double best = -std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates) {
    const Bits64 bits = token_bits(row.stream, c.id);
    const double key = race_key(static_cast<double>(c.logit) / row.temperature, bits.high, bits.low);
    if (key > best || (key == best && c.id < winner->id)) {
      best = key;
      winner = &c;
    }
  }
  // In an order of its own, so that the sum's bits do not depend on how the candidates were found.
  std::vector<double> terms;
  terms.reserve(candidates.size());
  for (const Candidate& c : candidates) terms.push_back(exp_negative((static_cast<double>(c.logit) - max) / row.temperature));
  std::sort(terms.begin(), terms.end());
  double sum = 0;
  for (const double term : terms) sum += term;
  return {winner->id, (static_cast<double>(winner->logit) - max) / row.temperature - log_positive(sum)};
}

std::vector<float> probabilities(const std::vector<Candidate>& candidates, float max, double temperature) {
  std::vector<double> terms;
  double sum = 0;
  for (const Candidate& c : candidates) {
    terms.push_back(exp_negative((static_cast<double>(c.logit) - max) / temperature));
    sum += terms.back();
  }
  std::vector<float> probs;
  for (const double term : terms) probs.push_back(static_cast<float>(term / sum));
  return probs;
}

}  // namespace lmhead
