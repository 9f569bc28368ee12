// The chain of filters: what each stage asks of the set that those before have left. lib/reference/filters.ts defines it.
//
// A set (CandidateList, MaterializedRow) says whether it does() a stage, and offers (each keep_ leaves min_keep at least, as far
// as there are so many)
//   max, count                         its largest logit, its size
//   moments(T), deviation()            of the distribution at temperature T; of the logits
//   keep_at_least(floor, min_keep)     logits from there on, and the best and its equals always
//   keep_share(share, T, min_keep)     the best whose mass reaches that share of all
//   keep_typical(share, T, min_keep)   the most typical whose mass does
//   keep_best()                        the best alone
//   last_from(floor)                   of logits from there on the last in order, if there is any
//   drop_where(drops)                  all that drops(candidate)
//   is_sound()                         for assertions: something is in, and the best of it is max()
// and, where it is a list, keep_count(k), the k best, and count_where(holds).
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "../numerics/fixed_point_sum.h"
#include "filtered_set.h"
#include "filters.h"

namespace lmhead {

template <class Set>
class Chain {
 public:
  Chain(Set& set, const RowSampling& row, Progress& progress) : set_(set), row_(row), progress_(progress) {}

  // Goes on to the end, or to a stage that the set does not do.
  void run() {
    LMHEAD_DASSERT(set_.is_sound());
    for (; progress_.order; progress_.order >>= 4) {
      const Stage stage = static_cast<Stage>(progress_.order & 15);
      if (!row_.works(stage)) continue;
      if (!set_.does(stage, row_)) return;
      apply(stage);
      LMHEAD_DASSERT(set_.is_sound());
      LMHEAD_DASSERT(is_temperature(progress_.temperature));
    }
  }

 private:
  void apply(Stage stage) {
    double& temperature = progress_.temperature;
    switch (stage) {
      case Stage::none:
        return;
      case Stage::top_n_sigma:
        return keep_at_least(Floor(set_.max() - row_.top_n_sigma * set_.deviation()));
      case Stage::top_k:
        if constexpr (Set::kIsList) set_.keep_count(row_.top_k);
        return;
      case Stage::typical_p:
        return set_.keep_typical(row_.typical_p, temperature, row_.min_keep);
      case Stage::top_p:
        return set_.keep_share(row_.top_p, temperature, row_.min_keep);
      case Stage::min_p:
        return keep_at_least(Floor(set_.max() + temperature * row_.log_min_p));
      case Stage::epsilon_cutoff:
        return keep_at_least(floor_of(row_.log_epsilon, moments().log_sum));
      case Stage::eta_cutoff: {
        const Moments m = moments();
        const double adaptive = 0.5 * row_.log_eta - m.entropy;
        return keep_at_least(floor_of(adaptive < row_.log_eta ? adaptive : row_.log_eta, m.log_sum));
      }
      case Stage::p_less: {
        const Moments m = moments();
        return keep_at_least(floor_of(m.log_squares - 2 * m.log_sum, m.log_sum));
      }
      case Stage::xtc: {
        const double log_sum = moments().log_sum;
        // Where the best falls short, no other reaches it: beside large logits the difference would be lost in a floor.
        if (row_.log_xtc_threshold - kEarly + log_sum > 0) return;
        return exclude_top(floor_of(row_.log_xtc_threshold, log_sum));
      }
      case Stage::temperature:
        return set_temperature();
      case Stage::max_surprisal:
        return keep_at_least(floor_of(-row_.max_surprisal, moments().log_sum));
    }
  }

  void keep_at_least(const Floor& floor) { set_.keep_at_least(floor, row_.min_keep); }

  Moments moments() const {
    const Moments m = set_.moments(progress_.temperature);
    LMHEAD_DASSERT(std::isfinite(m.log_sum) && std::isfinite(m.entropy) && std::isfinite(m.log_squares));
    return m;
  }

  // The logit from which on log p >= log_p.
  Floor floor_of(double log_p, double log_sum) const {
    return Floor(set_.max() + progress_.temperature * (log_p - kEarly + log_sum));
  }

  // Of logits from there on only the last in order stays, and those that are protected.
  void exclude_top(const Floor& floor) {
    const std::optional<Candidate> stays = set_.last_from(floor);
    if (!stays) return;
    const auto drops = [&](const Candidate& c) {
      return floor.admits(c.logit) && c.id != stays->id && !row_.xtc_protected.has(c.id);
    };
    if constexpr (Set::kIsList)
      if (set_.count() - set_.count_where(drops) < row_.min_keep) return;
    set_.drop_where(drops);
  }

  void set_temperature() {
    double& temperature = progress_.temperature;
    if (row_.temperature_range == 0 || set_.count() == 1) {
      temperature = row_.temperature;
      return;
    }
    const double low = std::max(row_.temperature - row_.temperature_range, 0.0);
    const double high = row_.temperature + row_.temperature_range;
    const double share = set_.moments(1).entropy / log_positive(static_cast<double>(set_.count()));
    const double power = share >= 1 || row_.temperature_exponent == 0
                             ? 1
                             : (share > 0 ? exp_negative(row_.temperature_exponent * log_positive(share)) : 0);
    temperature = low + (high - low) * power;
    if (temperature > 0) return;
    // So low a temperature is greedy.
    set_.keep_best();
    temperature = row_.temperature;
  }

  Set& set_;
  const RowSampling& row_;
  Progress& progress_;
};

// Puts `count` things in such an order that those ahead of the that index come first by `order`, and are the fewest whose
// mass, with `before`, falls short of `wanted` by no more than that of the thing at that index; or are all but the last. Adds
// their mass, each mass_of() as FixedPointSum::add takes it, to `before`. A selection like quickselect's, by mass instead of by
// count: the mass of the first half says in which half the boundary lies.
template <class T, class Order, class MassOf>
size_t index_of_share(T* first, size_t count, FixedPointSum& before, double wanted, Order order, MassOf mass_of) {
  LMHEAD_DASSERT(count > 0 && std::isfinite(wanted));
  T *begin = first, *end = first + count;
  while (end - begin > 1) {
    T* const middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, order);
    FixedPointSum through = before;
    for (const T* each = begin; each != middle; each++) through.add(mass_of(*each));
    if (through.value() >= wanted) {
      end = middle;
    } else {
      before = through;
      begin = middle;
    }
  }
  return static_cast<size_t>(begin - first);
}

}  // namespace lmhead
