// Sums that filters go by. Those of exact_math's exponentials have the same bits in any order: they are of integers
// of 2^-52.
#pragma once

#include <cmath>
#include <cstdint>

#include "exact_math.h"

namespace lmhead {

constexpr double kMassUnits = 0x1p52;
// An e^x below this x has no mass: e^-36.1 < 2^-52.
constexpr double kFaint = -36.1;
// Shares of a mass are taken for reached by this much early; lib/reference/filters.ts says why.
constexpr double kEarly = 0x1p-22;

// Exact for up to 2^27 terms: integers, low + 2^26 high, whose parts have 26 bits each in a term.
class FixedPointSum {
 public:
  static constexpr double kHigh = 0x1p26;

  FixedPointSum() = default;
  FixedPointSum(double low, double high) : low_(low), high_(high) {}
  // w from 0 to 1.
  void add(double w) {
    const int64_t whole = static_cast<int64_t>(w * kMassUnits);
    low_ += static_cast<double>(whole & ((int64_t{1} << 26) - 1));
    high_ += static_cast<double>(whole >> 26);
  }
  FixedPointSum& operator+=(const FixedPointSum& other) {
    low_ += other.low_;
    high_ += other.high_;
    return *this;
  }
  FixedPointSum operator+(const FixedPointSum& other) const { return FixedPointSum(*this) += other; }
  double value() const { return high_ * kHigh + low_; }

 private:
  double low_ = 0, high_ = 0;
};

// Of a distribution p = e^x / sum e^x.
struct Moments {
  double log_sum, entropy, log_squares;  // log sum e^x; nats; log sum e^2x
};
class MomentSums {
 public:
  MomentSums() = default;
  // Of e^x, -x e^x and e^2x.
  MomentSums(const FixedPointSum& sum, const FixedPointSum& weighted, const FixedPointSum& squares)
      : sum_(sum), weighted_(weighted), squares_(squares) {}
  // e = e^x, x <= 0.
  void add(double x, double e) {
    if (e == 0) return;
    sum_.add(e);
    weighted_.add(e * -x);
    squares_.add(e * e);
  }
  MomentSums operator+(const MomentSums& other) const {
    return {sum_ + other.sum_, weighted_ + other.weighted_, squares_ + other.squares_};
  }
  Moments moments() const {
    const double log_sum = log_positive(sum_.value() / kMassUnits);
    return {log_sum, log_sum + weighted_.value() / sum_.value(), log_positive(squares_.value() / kMassUnits)};
  }

 private:
  FixedPointSum sum_, weighted_, squares_;
};

// The standard deviation of values, from their sums in the order that they come in.
class DeviationSums {
 public:
  void add(double x) {
    count_++;
    sum_ += x;
    squares_ += x * x;
  }
  double deviation() const {
    const double mean = sum_ / count_, variance = squares_ / count_ - mean * mean;
    return std::sqrt(variance > 0 ? variance : 0);
  }

 private:
  double count_ = 0, sum_ = 0, squares_ = 0;
};

}  // namespace lmhead
