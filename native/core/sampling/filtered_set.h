// What both forms of a set of tokens under filters (CandidateList, MaterializedRow) go by: which token is still in, and where a
// filter cuts.
#pragma once

#include <cmath>
#include <limits>

#include "../dassert.h"

namespace lmhead {

// The logit of a token that may not be drawn, or that a filter has dropped. It is no number: nothing computes with it, and
// whether a token is in is asked by is_in, never by comparing its logit with another.
constexpr float kDropped = -std::numeric_limits<float>::infinity();
constexpr bool is_in(float logit) { return logit > kDropped; }

// From which logit on a filter keeps tokens. Held as the least finite float that it keeps, so that what is dropped stays so
// however low the floor is.
class Floor {
 public:
  // at: any number, infinities among them.
  explicit Floor(double at) : least_(rounded_up(at)) { LMHEAD_DASSERT(!std::isnan(at)); }
  bool admits(float logit) const { return logit >= least_; }
  // +inf: it admits none.
  float least() const { return least_; }

 private:
  static float rounded_up(double at) {
    constexpr float kMost = std::numeric_limits<float>::max();
    if (at <= -kMost) return -kMost;
    if (at > kMost) return std::numeric_limits<float>::infinity();
    const float nearest = static_cast<float>(at);
    return nearest >= at ? nearest : std::nextafter(nearest, kMost);
  }

  float least_;
};

}  // namespace lmhead
