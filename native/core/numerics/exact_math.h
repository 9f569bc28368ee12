// exp and log out of +, -, *, / alone.
//
// IEEE 754 fixes every bit of those four, and nothing of std::exp. Sampling compares values that come out of exp and log; so
// that this core and the TypeScript reference draw the same token from the same logits, always, both compute them by the
// operations below, in this order. lib/reference/exact-math.ts is the same text in TypeScript; error bounds stand there.
// Must be compiled without contraction (-ffp-contract=off).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace lmhead {

namespace exact {

inline constexpr double kExpTerms[] = {
    1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
    1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0};
inline constexpr double kAtanhTerms[] = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                         1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
inline constexpr double kLn2High = 6.931471803691238e-1;
inline constexpr double kLn2Low = 1.9082149292705877e-10;
inline constexpr double kLog2E = 1.4426950408889634;
inline constexpr double kSqrt2 = 1.4142135623730951;
// Added and taken away, it leaves a double below 2^51 rounded to the nearest integer, ties to even.
inline constexpr double kRounder = 0x1.8p52;

inline double from_bits(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline uint64_t to_bits(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// 2 * atanh(s) for |s| <= 0.1716
inline double twice_atanh(double s) {
  const double z = s * s;
  double p = kAtanhTerms[0];
  for (size_t i = 1; i < sizeof kAtanhTerms / sizeof *kAtanhTerms; i++) p = p * z + kAtanhTerms[i];
  const double t = 2 * s;
  return t + t * z * p;
}

}  // namespace exact

// e^x for x <= 0; 0 below -708; NaN for NaN.
inline double exp_negative(double x) {
  using namespace exact;
  if (!(x >= -708)) return x < -708 ? 0 : std::numeric_limits<double>::quiet_NaN();
  const double k = std::floor(x * kLog2E + 0.5);
  const double r = x - k * kLn2High - k * kLn2Low;
  double p = kExpTerms[0];
  for (size_t i = 1; i < sizeof kExpTerms / sizeof *kExpTerms; i++) p = p * r + kExpTerms[i];
  return (p * r + 1) * from_bits(static_cast<uint64_t>(static_cast<int64_t>(k) + 1023) << 52);
}

// log x for a positive, normal x.
inline double log_positive(double x) {
  using namespace exact;
  const uint64_t bits = to_bits(x);
  double e = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  double m = from_bits((bits & 0xfffffffffffffull) | (uint64_t{1023} << 52));  // x = m * 2^e, 1 <= m < 2
  if (m > kSqrt2) {
    m = m * 0.5;
    e = e + 1;
  }
  return e * kLn2High + (twice_atanh((m - 1) / (m + 1)) + e * kLn2Low);
}

// An Exp(1) variate, -log(1 - U), from 64 random bits: U = (bits + 1/2) / 2^64. Precise when small, where Gumbel-max is decided.
inline double exponential(uint32_t high, uint32_t low) {
  constexpr double two_to_minus_64 = 1.0 / 18446744073709551616.0;
  if (high < 0x40000000u) {
    const double u = (high * 4294967296.0 + (low + 0.5)) * two_to_minus_64;
    return exact::twice_atanh(u / (2 - u));
  }
  const double complement = static_cast<double>(~high) * 4294967296.0 + (static_cast<double>(~low) + 0.5);
  return -log_positive(complement * two_to_minus_64);
}

// The most that Gumbel noise adds to a logit: -log of the smallest E, 2^-65.
inline constexpr double kMaxNoise = 45.1;

// The key of one id in Gumbel-max sampling; the largest wins. scaled_logit is u/T, or the logarithm of any other weight.
inline double gumbel_key(double scaled_logit, uint32_t high, uint32_t low) {
  return scaled_logit - log_positive(exponential(high, low));
}

}  // namespace lmhead
