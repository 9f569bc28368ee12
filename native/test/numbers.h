// Numbers to test with: a generator that is the same everywhere, weights of every dtype, and what they mean.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "../core/matrix.h"

namespace lmhead::test {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Dtype kFloats[kFloatDtypes] = {Dtype::f32, Dtype::f16, Dtype::bf16};

inline const char* name_of(Dtype dtype) { return dtype == Dtype::f32 ? "f32" : dtype == Dtype::f16 ? "f16" : "bf16"; }

// SplitMix64. (Those of <random> differ between standard libraries as soon as a distribution is involved.)
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(bits() % n); }
  double uniform(double low, double high) { return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53); }
  // Near enough to a normal variate.
  double normal() {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += uniform(-0.5, 0.5);
    return sum;
  }

 private:
  uint64_t state_;
};

// Same bits; any NaN is as good as another.
inline bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}
inline bool same(const float* a, const float* b, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!same(a[i], b[i])) return false;
  return true;
}

// What a stored weight means, from the definition of its format.
inline double value_of(Dtype dtype, const uint8_t* p) {
  if (dtype == Dtype::f32) {
    float x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  if (dtype == Dtype::bf16) return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  const double sign = bits & 0x8000 ? -1 : 1;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}
inline double value_of(const Matrix& e, size_t row, size_t column) {
  return value_of(e.dtype, e.row(row) + column * bytes_per_element(e.dtype));
}

// A weight by its bits: the whole of an f32, or the low half.
inline void put(Dtype dtype, uint8_t* p, uint32_t bits) {
  const uint16_t half = static_cast<uint16_t>(bits);
  if (dtype == Dtype::f32)
    std::memcpy(p, &bits, sizeof bits);
  else
    std::memcpy(p, &half, sizeof half);
}

// Weights of either sign and of sizes from 2^-6 to 2^6, all their bits in use.
inline uint32_t random_weight(Dtype dtype, Random& random) {
  const uint32_t r = static_cast<uint32_t>(random.bits()), exponent = static_cast<uint32_t>(random.below(13));
  if (dtype == Dtype::f16) return (r & 0x83ff) | (exponent + 15 - 6) << 10;
  const uint32_t f32 = (r & 0x807fffff) | (exponent + 127 - 6) << 23;
  return dtype == Dtype::f32 ? f32 : f32 >> 16;
}
inline void fill_weights(Dtype dtype, uint8_t* to, size_t count, Random& random) {
  for (size_t i = 0; i < count; i++) put(dtype, to + i * bytes_per_element(dtype), random_weight(dtype, random));
}

// Numbers that arithmetic gets wrong first, as bits of each dtype.
struct SpecialWeights {
  uint32_t nan, infinity, minus_infinity, subnormal, largest_subnormal, minus_zero, largest;
};
inline SpecialWeights special_weights(Dtype dtype) {
  if (dtype == Dtype::f32) return {0x7fc00000, 0x7f800000, 0xff800000, 1, 0x007fffff, 0x80000000, 0x7f7fffff};
  if (dtype == Dtype::f16) return {0x7e00, 0x7c00, 0xfc00, 1, 0x03ff, 0x8000, 0x7bff};
  return {0x7fc0, 0x7f80, 0xff80, 1, 0x007f, 0x8000, 0x7f7f};
}

// |u - u*| <= c eps S + 5 d 2^-126, S = sum |h E|: lib/reference/logits.ts says where that comes from.
inline double product_bound(size_t d, double absolute_sum) {
  const double c = (static_cast<double>((d + 7) / 8) + 16) / 2;
  return c * 0x1p-23 * absolute_sum + 5 * static_cast<double>(d) * 0x1p-126;
}

// The distance between neighboring floats (or doubles) around x, for normal results.
inline double ulp_f(double x) { return std::ldexp(1, std::max(std::ilogb(x), -126) - 23); }
inline long double ulp_d(long double x) { return std::ldexp(1.0L, std::max(std::ilogb(x), -1022) - 52); }

}  // namespace lmhead::test
