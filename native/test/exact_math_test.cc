// exp and log of exact_math.h, in ULPs of double against long double.
#include "../core/numerics/exact_math.h"

#include <cfloat>

#include "check.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

// Elsewhere long double is double, and proves nothing.
constexpr bool kLongDoubleIsLonger = LDBL_MANT_DIG >= 64;

struct Worst {
  long double error = 0;
  double at = 0;
  void add(double x, double got, long double want) {
    const long double e = kLongDoubleIsLonger ? std::abs(got - want) / ulp_d(want) : 0;
    if (!(e <= error)) {
      error = e;
      at = x;
    }
  }
};

// Where long double is quadruple precision, software computes it.
constexpr int kTries = LDBL_MANT_DIG == 113 ? 20000 : 200000;

TEST(exp_negative_is_within_2_ULP) {
  Random random(21);
  Worst worst;
  const auto add = [&](double x) { worst.add(x, exp_negative(x), std::exp(static_cast<long double>(x))); };
  for (int i = 0; i < kTries; i++) {
    add(random.uniform(-708, 0));
    add(random.uniform(-2, 0));
    add(-std::exp(random.uniform(-700, 6.5)));
    add(-(static_cast<double>(random.below(1020)) + 0.5) * 0.6931471805599453 + random.uniform(-1e-9, 1e-9));
  }
  for (const double x : {-0.0, -5e-324, -1e-300, -708.0, -0x1p-53}) add(x);
  CHECK(worst.error <= 2, "%.3Lf ULP at %.17g", worst.error, worst.at);
  CHECK(exp_negative(0) == 1 && exp_negative(-0.0) == 1);
  CHECK(exp_negative(-708.0000001) == 0 && exp_negative(-1e300) == 0 && exp_negative(-static_cast<double>(kInf)) == 0);
  CHECK(std::isnan(exp_negative(kNan)));
}

TEST(log_positive_is_within_2_ULP) {
  Random random(22);
  Worst worst;
  const auto add = [&](double x) { worst.add(x, log_positive(x), std::log(static_cast<long double>(x))); };
  for (int i = 0; i < kTries; i++) {
    add(std::exp(random.uniform(-708, 709)));
    add(random.uniform(0.5, 2));  // where e is 0 and 1, and log x is small
    add(1 + random.uniform(-1e-6, 1e-6));
    add(1.4142135623730951 * (1 + random.uniform(-1e-12, 1e-12)));
    add(std::ldexp(1 + random.uniform(-1e-12, 1e-12), static_cast<int>(random.below(200)) - 100));
  }
  for (const double x : {DBL_MIN, DBL_MAX, 1 + DBL_EPSILON, 1 - DBL_EPSILON / 2, 2.0, 0.5, 0x1p-65}) add(x);
  CHECK(worst.error <= 2, "%.3Lf ULP at %.17g", worst.error, worst.at);
  CHECK(log_positive(1) == 0 && !std::signbit(log_positive(1)));
}

// -log(1 - U), U = (bits + 1/2) / 2^64. Small ones, which decide Gumbel-max, within 2 ULP. From U = 1/4 on, 1 - U is rounded to a
// double before its logarithm is taken: up to half an ULP of it, which is up to two of a logarithm around 0.3.
TEST(exponential_is_within_2_ULP_where_small_and_4_elsewhere) {
  Random random(23);
  Worst small_end, rest;
  const auto add = [&](uint32_t high, uint32_t low) {
    const uint64_t bits = uint64_t{high} << 32 | low;
    const long double two_64 = 18446744073709551616.0L;
    const long double want = bits >> 63 ? -std::log((static_cast<long double>(~bits) + 0.5L) / two_64)
                                        : -std::log1p(-(static_cast<long double>(bits) + 0.5L) / two_64);
    (high < 0x40000000u ? small_end : rest).add(static_cast<double>(bits), exponential(high, low), want);
  };
  for (int i = 0; i < kTries; i++) {
    const uint64_t bits = random.bits();
    add(static_cast<uint32_t>(bits >> 32), static_cast<uint32_t>(bits));
    const uint64_t small = bits >> random.below(64);  // every magnitude, at either end
    add(static_cast<uint32_t>(small >> 32), static_cast<uint32_t>(small));
    add(~static_cast<uint32_t>(small >> 32), ~static_cast<uint32_t>(small));
    add(0x40000000u - static_cast<uint32_t>(random.below(3)), static_cast<uint32_t>(bits));  // where the two branches meet
  }
  for (const uint32_t high : {0u, 0x3fffffffu, 0x40000000u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
    for (const uint32_t low : {0u, 1u, 0xffffffffu}) add(high, low);
  CHECK(small_end.error <= 2, "%.3Lf ULP at bits %.17g", small_end.error, small_end.at);
  CHECK(rest.error <= 4, "%.3Lf ULP at bits %.17g", rest.error, rest.at);
  CHECK(exponential(0, 0) == 0x1p-65, "the smallest variate, which bounds the Gumbel noise");
}

TEST(gumbel_keys_order_by_logit_and_fall_with_the_variate) {
  CHECK(gumbel_key(1, 5, 5) > gumbel_key(0, 5, 5));
  CHECK(gumbel_key(0, 0, 0) > gumbel_key(0, 0, 1) && gumbel_key(0, 1, 0) > gumbel_key(0, 2, 0));
  CHECK(gumbel_key(0, 0, 0) < 45.1, "GumbelMaxSink's kMaxNoise");
  CHECK(gumbel_key(-static_cast<double>(kInf), 0, 0) == -static_cast<double>(kInf));
}

}  // namespace
}  // namespace lmhead::test
