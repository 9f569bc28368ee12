// Keys that filters go by, and bins of them, from low keys to high.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "exact_math.h"

namespace lmhead {

// Of x = (u - max) / T, of a logit u: how far its surprise is from that of the likeliest, which is -x; or, given the moments of
// the distribution, from their mean.
struct Key {
  double log_sum = 0, entropy = 0;
  // The key is its magnitude.
  double offset(double x) const { return x - log_sum + entropy; }
  double of(double x) const { return std::abs(offset(x)); }
};

// Keys of one kind from low to high, in bins of one width.
struct Bins {
  static constexpr size_t kCount = 1024;
  // Behind them, bins for other keys: several, as adding to one again and again is slow.
  static constexpr size_t kOthers = 16, kAll = kCount + kOthers;
  Key key;
  double low, high, per_key;
  float least;  // no logit below it has such a key

  // per_key is finite, so that low * per_key has an index even where high is hardly above it.
  Bins(const Key& kind, double lowest, double highest, float least_logit)
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
    uint64_t in = exact::to_bits(low), out = exact::to_bits(high) + 1;
    while (out - in > 1) {
      const uint64_t middle = in + (out - in) / 2;
      (index(exact::from_bits(middle)) <= bin ? in : out) = middle;
    }
    return exact::from_bits(in);
  }
  double lowest_of(size_t bin) const { return bin == 0 ? low : exact::from_bits(exact::to_bits(highest_of(bin - 1)) + 1); }
};

}  // namespace lmhead
