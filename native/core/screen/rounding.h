// Rounding upwards, which bounds rest on.
#pragma once

#include <cmath>
#include <limits>

namespace lmhead::screen {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The least float that is no less than x.
inline float float_above(double x) {
  const float nearest = static_cast<float>(x);
  return nearest >= x ? nearest : std::nextafter(nearest, kInfinity);
}

}  // namespace lmhead::screen
