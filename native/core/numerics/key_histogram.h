// Keys that filters go by, and bins of them, from low keys to high.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "exact_math.h"

namespace lmhead {

// The first number from `low` on that `holds`, as all after it do; `end` if none below that does.
template <class Holds>
int64_t first_that(int64_t low, int64_t end, Holds holds) {
  while (low < end) {
    const int64_t middle = low + (end - low) / 2;
    if (holds(middle))
      end = middle;
    else
      low = middle + 1;
  }
  return low;
}

// Of x = (u - max) / T, of a logit u: how far its surprisal is from that of the likeliest, which is -x; or, given the moments of
// the distribution, from their mean.
struct Key {
  double log_sum = 0, entropy = 0;
  // The key is its magnitude.
  double offset(double x) const { return x - log_sum + entropy; }
  double of(double x) const { return std::abs(offset(x)); }
};

// Keys of one kind from low to high, in bins of one width.
struct KeyHistogram {
  static constexpr size_t kCount = 1024;
  // Behind them, bins for other keys: several, as adding to one again and again is slow.
  static constexpr size_t kOthers = 16, kAll = kCount + kOthers;
  Key key;
  double low, high, per_key;
  float least;  // no logit below it has such a key

  // per_key is finite, so that low * per_key has an index even where high is hardly above it.
  KeyHistogram(const Key& kind, double lowest, double highest, float least_logit)
      : key(kind),
        low(lowest),
        high(highest),
        per_key(std::min(kCount / (highest - lowest), std::numeric_limits<double>::max())),
        least(least_logit) {}
  // Never less for a larger key. As the kernel `exact_bins` computes it.
  size_t index(double k) const { return static_cast<size_t>(std::min((k - low) * per_key, kCount - 1.0)); }
  // The largest key with at most this index.
  double highest_of(size_t bin) const {
    // Positive doubles are in the order of their bits.
    const auto bits = [](double k) { return static_cast<int64_t>(exact::to_bits(k)); };
    const auto key_at = [](int64_t place) { return exact::from_bits(static_cast<uint64_t>(place)); };
    return key_at(first_that(bits(low) + 1, bits(high) + 1, [&](int64_t place) { return index(key_at(place)) > bin; }) - 1);
  }
  double lowest_of(size_t bin) const { return bin == 0 ? low : exact::from_bits(exact::to_bits(highest_of(bin - 1)) + 1); }
};

}  // namespace lmhead
