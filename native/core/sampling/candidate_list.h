// Candidates in any order, as Chain takes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "../numerics/exact_math.h"
#include "../numerics/fixed_point_sum.h"
#include "../numerics/key_histogram.h"
#include "filter_chain.h"
#include "filtered_set.h"

namespace lmhead {

class CandidateList {
 public:
  // Leaves in `candidates` those that are in; what is dropped later goes from there.
  explicit CandidateList(std::vector<Candidate>& candidates) : candidates_(candidates) {
    drop_where([](const Candidate& c) { return !is_in(c.logit); });
  }

  static constexpr bool kIsList = true;
  bool does(Stage, const RowSampling&) const { return true; }
  float max() const { return max_; }
  size_t count() const { return candidates_.size(); }
  bool is_sound() const {
    const auto found = [&](const Candidate& c) { return c.logit == max_; };
    return std::isfinite(max_) && std::any_of(candidates_.begin(), candidates_.end(), found) &&
           std::all_of(candidates_.begin(), candidates_.end(), [&](auto& c) { return is_in(c.logit) && c.logit <= max_; });
  }

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

  void keep_at_least(const Floor& floor, size_t min_keep) {
    const auto keeps = [&](const Candidate& c) { return floor.admits(c.logit) || c.logit == max_; };
    if (min_keep > 1 && count_where(keeps) < min_keep) return keep_count(min_keep);
    std::erase_if(candidates_, [&](const Candidate& c) { return !keeps(c); });
  }

  template <class Holds>
  size_t count_where(Holds holds) const {
    return static_cast<size_t>(std::count_if(candidates_.begin(), candidates_.end(), holds));
  }

  void keep_count(size_t count) {
    if (count >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count), candidates_.end(), better);
    candidates_.resize(count);
  }

  void keep_best() { candidates_ = {*std::min_element(candidates_.begin(), candidates_.end(), better)}; }

  void keep_share(double share, double temperature, size_t min_keep) {
    keep_share(candidates_, share, temperature, min_keep, better);
  }

  void keep_typical(double share, double temperature, size_t min_keep) {
    struct Typical : Candidate {
      double distance;
    };
    const Moments m = moments(temperature);
    const Key key{m.log_sum, m.entropy};
    std::vector<Typical> all;
    all.reserve(candidates_.size());
    for (const Candidate& c : candidates_) all.push_back({c, key.of(x_of(c, temperature))});
    keep_share(all, share, temperature, min_keep, [](const Typical& a, const Typical& b) {
      return a.distance < b.distance || (a.distance == b.distance && better(a, b));
    });
    candidates_.assign(all.begin(), all.end());
    find_max();
  }

  std::optional<Candidate> last_from(const Floor& floor) const {
    std::optional<Candidate> last;
    for (const Candidate& c : candidates_)
      if (floor.admits(c.logit) && (!last || better(*last, c))) last = c;
    return last;
  }

  template <class Drops>
  void drop_where(Drops drops) {
    std::erase_if(candidates_, drops);
    find_max();
  }

 private:
  double x_of(const Candidate& c, double temperature) const { return (static_cast<double>(c.logit) - max_) / temperature; }

  // Leaves the first in order up to and including the one at which their mass reaches `share` of all.
  template <class T, class Order>
  void keep_share(std::vector<T>& all, double share, double temperature, size_t min_keep, Order order) const {
    const auto mass_of = [&](const T& each) {
      const double x = x_of(each, temperature);
      return x >= kFaint ? exp_negative(x) : 0;
    };
    FixedPointSum total, before;
    for (const T& each : all) total.add(mass_of(each));
    const double wanted = share * total.value() * (1 - kEarly);
    size_t kept = index_of_share(all.data(), all.size(), before, wanted, order, mass_of) + 1;
    const size_t least = std::min(min_keep, all.size());
    if (kept < least) {
      kept = least;
      std::nth_element(all.begin(), all.begin() + static_cast<ptrdiff_t>(kept - 1), all.end(), order);
    }
    all.resize(kept);
  }

  void find_max() {
    max_ = kDropped;
    for (const Candidate& c : candidates_) max_ = std::max(max_, c.logit);
  }

  std::vector<Candidate>& candidates_;
  float max_;
};

}  // namespace lmhead
