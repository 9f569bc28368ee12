#include "filters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../numerics/exact_math.h"
#include "../numerics/fixed_point_sum.h"
#include "../numerics/key_histogram.h"
#include "filter_chain.h"

namespace lmhead {

namespace {

// Candidates in any order, as Chain takes them.
class CandidateList {
 public:
  explicit CandidateList(std::vector<Candidate>& candidates) : candidates_(candidates) {
    std::erase_if(candidates_, [](const Candidate& c) { return c.logit == -std::numeric_limits<float>::infinity(); });
    find_max();
  }

  static constexpr bool kIsList = true;
  bool does(Stage) const { return true; }
  float max() const { return max_; }
  size_t count() const { return candidates_.size(); }

  Moments moments(double temperature) const {
    MomentSums sums;
    for (const Candidate& c : candidates_) {
      const double x = x_of(c, temperature);
      sums.add(x, exp_negative(x));
    }
    return sums.moments();
  }

  // In the order of ids, which fixes the bits of its sums.
  double deviation() {
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) std::sort(candidates_.begin(), candidates_.end(), by_id);
    DeviationSums sums;
    for (const Candidate& c : candidates_) sums.add(static_cast<double>(c.logit) - max_);
    return sums.deviation();
  }

  void keep_at_least(double floor) {
    std::erase_if(candidates_, [&](const Candidate& c) { return !(static_cast<double>(c.logit) >= floor || c.logit == max_); });
  }

  void keep_count(size_t count) {
    if (count >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count), candidates_.end(), better);
    candidates_.resize(count);
  }

  void keep_best() { candidates_ = {*std::min_element(candidates_.begin(), candidates_.end(), better)}; }

  void keep_share(double share, double temperature) { keep_share(candidates_, share, temperature, better); }

  void keep_typical(double share, double temperature) {
    struct Typical : Candidate {
      double distance;
    };
    const Moments m = moments(temperature);
    const Key key{m.log_sum, m.entropy};
    std::vector<Typical> all;
    all.reserve(candidates_.size());
    for (const Candidate& c : candidates_) all.push_back({c, key.of(x_of(c, temperature))});
    keep_share(all, share, temperature, [](const Typical& a, const Typical& b) {
      return a.distance < b.distance || (a.distance == b.distance && better(a, b));
    });
    candidates_.assign(all.begin(), all.end());
    find_max();
  }

  void exclude_top(double floor) {
    const auto is_top = [&](const Candidate& c) { return static_cast<double>(c.logit) >= floor; };
    const Candidate* last = nullptr;
    for (const Candidate& c : candidates_)
      if (is_top(c) && (!last || better(*last, c))) last = &c;
    if (!last) return;
    const Candidate stays = *last;
    std::erase_if(candidates_, [&](const Candidate& c) { return is_top(c) && c.id != stays.id; });
    find_max();
  }

 private:
  double x_of(const Candidate& c, double temperature) const { return (static_cast<double>(c.logit) - max_) / temperature; }

  // Leaves the first in order up to and including the one at which their mass reaches `share` of all.
  template <class T, class Order>
  void keep_share(std::vector<T>& all, double share, double temperature, Order order) const {
    const auto mass_of = [&](const T& each) {
      const double x = x_of(each, temperature);
      return x >= kFaint ? exp_negative(x) : 0;
    };
    Mass total, before;
    for (const T& each : all) total.add(mass_of(each));
    const double wanted = share * total.value() * (1 - kEarly);
    all.resize(place_of_share(all.data(), all.size(), before, wanted, order, mass_of) + 1);
  }

  void find_max() {
    max_ = -std::numeric_limits<float>::infinity();
    for (const Candidate& c : candidates_) max_ = std::max(max_, c.logit);
  }

  std::vector<Candidate>& candidates_;
  float max_;
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
      return xtc_probability > 0 && xtc_uniform(stream) < xtc_probability;
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

Left filter(std::vector<Candidate>& candidates, const RowSampling& row, Progress progress) {
  CandidateList list(candidates);
  Chain(list, row, progress).run();
  return {list.max(), progress.temperature};
}

Mass mass(const std::vector<Candidate>& candidates, const Left& left) {
  Mass sum;
  for (const Candidate& c : candidates) sum.add(exp_negative((static_cast<double>(c.logit) - left.max) / left.temperature));
  return sum;
}

double log_sum(const std::vector<Candidate>& candidates, const Left& left) {
  return log_positive(mass(candidates, left).value() / kMassUnits);
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
