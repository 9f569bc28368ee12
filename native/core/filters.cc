#include "filters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "exact_math.h"

namespace lmhead {

namespace {

constexpr double kEarly = 0x1p-22;  // shares are reached this much early
constexpr double kMassUnits = 0x1p52;
// Below this a mass is 0: e^-36.1 < 2^-52.
constexpr double kFaint = -36.1;

// A sum of whole numbers below 2^53, exact for up to 2^27 of them, and hence the same in any order.
class Mass {
 public:
  // w from 0 to 1.
  void add(double w) {
    const uint64_t whole = static_cast<uint64_t>(w * kMassUnits);
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

// The chain at work on one row.
class Chain {
 public:
  Chain(std::vector<Candidate>& candidates, const RowSampling& row) : candidates_(candidates), row_(row) {
    std::erase_if(candidates_, [](const Candidate& c) { return c.logit == -std::numeric_limits<float>::infinity(); });
    find_max();
  }

  Left run() {
    for (uint64_t order = row_.order; order; order >>= 4) {
      const Stage stage = static_cast<Stage>(order & 15);
      if (row_.works(stage)) apply(stage);
    }
    return {max_, temperature_};
  }

 private:
  struct Moments {
    double log_sum, entropy, log_squares;
  };

  void apply(Stage stage) {
    switch (stage) {
      case Stage::none:
        return;
      case Stage::top_n_sigma:
        return keep_at_least(max_ - row_.top_n_sigma * deviation());
      case Stage::top_k:
        if (row_.top_k >= candidates_.size()) return;
        std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(row_.top_k), candidates_.end(),
                         better);
        candidates_.resize(row_.top_k);
        return;
      case Stage::typical_p:
        return keep_typical();
      case Stage::top_p:
        return keep_share(candidates_, row_.top_p, better);
      case Stage::min_p:
        return keep_at_least(max_ + temperature_ * row_.log_min_p);
      case Stage::epsilon:
        return keep_at_least(floor_of(row_.log_epsilon, moments().log_sum));
      case Stage::eta: {
        const Moments m = moments();
        const double adaptive = 0.5 * row_.log_eta - m.entropy;
        return keep_at_least(floor_of(adaptive < row_.log_eta ? adaptive : row_.log_eta, m.log_sum));
      }
      case Stage::p_less: {
        const Moments m = moments();
        return keep_at_least(floor_of(m.log_squares - 2 * m.log_sum, m.log_sum));
      }
      case Stage::xtc:
        return exclude_top();
      case Stage::temperature:
        return set_temperature();
      case Stage::max_surprise:
        return keep_at_least(floor_of(-row_.max_surprise, moments().log_sum));
    }
  }

  double x_of(const Candidate& c) const { return (static_cast<double>(c.logit) - max_) / temperature_; }

  // The logit from which on log p >= log_p.
  double floor_of(double log_p, double log_sum) const { return max_ + temperature_ * (log_p - kEarly + log_sum); }

  // The best and its equals are always kept.
  void keep_at_least(double floor) {
    std::erase_if(candidates_, [&](const Candidate& c) { return !(static_cast<double>(c.logit) >= floor || c.logit == max_); });
  }

  Moments moments() const {
    Mass sum, weighted, squares;
    for (const Candidate& c : candidates_) {
      const double x = x_of(c), e = exp_negative(x);
      if (e == 0) continue;
      sum.add(e);
      weighted.add(e * -x);
      squares.add(e * e);
    }
    const double log_sum = log_positive(sum.value() / kMassUnits);
    return {log_sum, log_sum + weighted.value() / sum.value(), log_positive(squares.value() / kMassUnits)};
  }

  // Of the logits, in the order of ids, which fixes the bits of its sums.
  double deviation() {
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) std::sort(candidates_.begin(), candidates_.end(), by_id);
    double sum = 0, squares = 0;
    for (const Candidate& c : candidates_) {
      const double x = static_cast<double>(c.logit) - max_;
      sum += x;
      squares += x * x;
    }
    const double count = static_cast<double>(candidates_.size());
    const double mean = sum / count, variance = squares / count - mean * mean;
    return std::sqrt(variance > 0 ? variance : 0);
  }

  void keep_typical() {
    struct Typical : Candidate {
      double distance;
    };
    const Moments m = moments();
    std::vector<Typical> all;
    all.reserve(candidates_.size());
    for (const Candidate& c : candidates_) all.push_back({c, std::abs(x_of(c) - m.log_sum + m.entropy)});
    keep_share(all, row_.typical_p, [](const Typical& a, const Typical& b) {
      return a.distance < b.distance || (a.distance == b.distance && better(a, b));
    });
    candidates_.assign(all.begin(), all.end());
    find_max();
  }

  // Leaves the first in order up to and including the one at which their mass reaches `share` of all. A selection like
  // quickselect's, by mass instead of by count: the mass of the better half says in which half the boundary lies.
  template <class T, class Order>
  void keep_share(std::vector<T>& all, double share, Order order) const {
    const auto mass_of = [&](const T* begin, const T* end) {
      Mass sum;
      for (; begin != end; begin++)
        if (const double x = x_of(*begin); x >= kFaint) sum.add(exp_negative(x));
      return sum;
    };
    const double wanted = share * mass_of(all.data(), all.data() + all.size()).value() * (1 - kEarly);
    Mass before;  // of everything ahead of begin
    T *const first = all.data(), *begin = first, *end = first + all.size();
    while (end - begin > 1) {
      T* const middle = begin + (end - begin) / 2;
      std::nth_element(begin, middle, end, order);
      const Mass through = before + mass_of(begin, middle);
      if (through.value() >= wanted) {
        end = middle;
      } else {
        before = through;
        begin = middle;
      }
    }
    all.resize(static_cast<size_t>(begin - first) + 1);  // one is always kept
  }

  // XTC: of those at least as likely as the threshold, only the last stays.
  void exclude_top() {
    if (!(xtc_uniform(row_.stream) < row_.xtc_probability)) return;
    const double floor = floor_of(row_.log_xtc_threshold, moments().log_sum);
    const auto is_top = [&](const Candidate& c) { return static_cast<double>(c.logit) >= floor; };
    const Candidate* last = nullptr;
    for (const Candidate& c : candidates_)
      if (is_top(c) && (!last || better(*last, c))) last = &c;
    if (!last) return;
    const Candidate stays = *last;
    std::erase_if(candidates_, [&](const Candidate& c) { return is_top(c) && c.id != stays.id; });
    find_max();
  }

  void set_temperature() {
    temperature_ = row_.temperature;
    if (row_.temperature_range == 0 || candidates_.size() == 1) return;
    temperature_ = 1;
    const double low = std::max(row_.temperature - row_.temperature_range, 0.0);
    const double high = row_.temperature + row_.temperature_range;
    const double share = moments().entropy / log_positive(static_cast<double>(candidates_.size()));
    const double power = share >= 1 || row_.temperature_exponent == 0
                             ? 1
                             : (share > 0 ? exp_negative(row_.temperature_exponent * log_positive(share)) : 0);
    const double dynamic = low + (high - low) * power;
    if (std::isfinite(1 / dynamic)) {
      temperature_ = dynamic;
      return;
    }
    // So low a temperature is greedy.
    candidates_ = {*std::min_element(candidates_.begin(), candidates_.end(), better)};
    temperature_ = row_.temperature;
  }

  void find_max() {
    max_ = -std::numeric_limits<float>::infinity();
    for (const Candidate& c : candidates_) max_ = std::max(max_, c.logit);
  }

  std::vector<Candidate>& candidates_;
  const RowSampling& row_;
  float max_;
  double temperature_ = 1;
};

}  // namespace

bool RowSampling::works(Stage stage) const {
  switch (stage) {
    case Stage::none:
      return false;
    case Stage::top_n_sigma:
      return top_n_sigma > 0;
    case Stage::top_k:
      return top_k > 0;
    case Stage::typical_p:
      return typical_p < 1;
    case Stage::top_p:
      return top_p < 1;
    case Stage::min_p:
      return log_min_p != kOff;
    case Stage::epsilon:
      return log_epsilon != kOff;
    case Stage::eta:
      return log_eta != kOff;
    case Stage::p_less:
      return p_less;
    case Stage::xtc:
      return xtc_probability > 0;
    case Stage::temperature:
      return true;
    case Stage::max_surprise:
      return max_surprise != -kOff;
  }
  return false;
}

RowSampling::First RowSampling::first_filter() const {
  double in_force = 1;
  for (uint64_t rest = order; rest; rest >>= 4) {
    const Stage stage = static_cast<Stage>(rest & 15);
    if (!works(stage)) continue;
    if (stage != Stage::temperature || temperature_range != 0) return {stage, in_force};
    in_force = temperature;
  }
  return {Stage::none, in_force};
}

Left filter(std::vector<Candidate>& candidates, const RowSampling& row) { return Chain(candidates, row).run(); }

double log_sum(const std::vector<Candidate>& candidates, const Left& left) {
  Mass sum;
  for (const Candidate& c : candidates) sum.add(exp_negative((static_cast<double>(c.logit) - left.max) / left.temperature));
  return log_positive(sum.value() / kMassUnits);
}

Choice race(const std::vector<Candidate>& candidates, const Left& left, const Stream& stream) {
  const Candidate* winner = &candidates[0];
  double best = -std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates) {
    const Bits64 bits = token_bits(stream, c.id);
    const double key = race_key(static_cast<double>(c.logit) / left.temperature, bits.high, bits.low);
    if (key > best || (key == best && c.id < winner->id)) {
      best = key;
      winner = &c;
    }
  }
  const double sum = log_sum(candidates, left);
  return {winner->id, left.log_prob(winner->logit, sum), sum};
}

std::vector<float> probabilities(const std::vector<Candidate>& candidates, const Left& left) {
  std::vector<double> terms;
  double sum = 0;
  for (const Candidate& c : candidates) {
    terms.push_back(exp_negative((static_cast<double>(c.logit) - left.max) / left.temperature));
    sum += terms.back();
  }
  std::vector<float> probs;
  for (const double term : terms) probs.push_back(static_cast<float>(term / sum));
  return probs;
}

}  // namespace lmhead
