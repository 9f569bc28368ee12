// Finite floats by their order.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "key_histogram.h"

namespace lmhead {

constexpr float kLowest = -std::numeric_limits<float>::max();

inline int32_t ordinal_of(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits < 0 ? std::numeric_limits<int32_t>::min() - bits : bits;
}
inline float float_at(int32_t ordinal) {
  return std::bit_cast<float>(ordinal < 0 ? std::numeric_limits<int32_t>::min() - ordinal : ordinal);
}
// The first that `holds`, as all after it do; infinity if none does.
template <class Holds>
float first_float(Holds holds) {
  const auto at = [](int64_t ordinal) { return float_at(static_cast<int32_t>(ordinal)); };
  return at(
      first_that(ordinal_of(kLowest), ordinal_of(-kLowest) + int64_t{1}, [&](int64_t ordinal) { return holds(at(ordinal)); }));
}
inline float float_before(float x) { return float_at(ordinal_of(x) - 1); }

}  // namespace lmhead
