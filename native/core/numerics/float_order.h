// Finite floats by their order.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "key_histogram.h"

namespace lmhead {

constexpr float kLowest = -std::numeric_limits<float>::max();

inline int32_t place_of(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits < 0 ? std::numeric_limits<int32_t>::min() - bits : bits;
}
inline float float_at(int32_t place) {
  return std::bit_cast<float>(place < 0 ? std::numeric_limits<int32_t>::min() - place : place);
}
// The first that `holds`, as all after it do; infinity if none does.
template <class Holds>
float first_float(Holds holds) {
  const auto at = [](int64_t place) { return float_at(static_cast<int32_t>(place)); };
  return at(first_that(place_of(kLowest), place_of(-kLowest) + int64_t{1}, [&](int64_t place) { return holds(at(place)); }));
}
inline float float_before(float x) { return float_at(place_of(x) - 1); }

}  // namespace lmhead
