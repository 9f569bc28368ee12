#include "bound.h"

#include <algorithm>
#include <cmath>

#include "rounding.h"

namespace lmhead::screen {

namespace {

constexpr double kEpsilon = 0x1p-23;  // of float32
constexpr double kMost = 127;         // of v
// Lengths of states and products that there is a bound for.
constexpr double kLongest = 0x1p60, kShortest = 0x1p-60, kMostProduct = 0x1p120;
// Of what is computed in double: far more than it rounds by.
constexpr double kDoubleError = 0x1p-36;
// Of estimates and bounds in float32, relative to the values that they are sums of: sums of blocks' sums (at most
// kMostColumns / (kBlock * kMostBlocksOfSum) = 16 of them), three products and three sums, each rounded by 2^-24.
constexpr double kFloatError = 0x1p-18;

}  // namespace

State::State(const Copy& copy, const float* hidden) {
  const Rotation& rotation = copy.rotation();
  const size_t d = rotation.columns, blocks = copy.blocks();
  std::vector<double> y(rotation.padded);
  double square = 0, base = 0;
  for (size_t k = 0; k < d; k++) {
    y[k] = hidden[k];
    square += y[k] * y[k];
    base += y[k] * copy.mean()[k];
  }
  const double length = std::sqrt(square) * (1 + kDoubleError);
  const double d_ = static_cast<double>(d), c = ((d_ + 7) / 8 + 16) / 2 * 1.01;
  if (!(length >= kShortest && length <= kLongest)) return;  // NaN
  if (!(length * (static_cast<double>(copy.most_norm()) + copy.mean_norm()) <= kMostProduct)) return;
  is_usual_ = true;

  rotation.rotate(y.data());
  double most = 0;
  for (double& each : y) {
    each /= static_cast<double>(rotation.span);
    most = std::max(most, std::fabs(each));
  }
  const float sigma = static_cast<float>(most / kMost);
  values_.resize(blocks * kBlock);
  sums_.resize(blocks);
  double missing = 0;
  for (size_t k = 0; k < values_.size(); k++) {
    const double v = std::clamp(std::nearbyint(y[k] / sigma), -kMost, kMost);
    const double left = y[k] - static_cast<double>(sigma) * v;
    missing += left * left;
    values_[k] = static_cast<int8_t>(v);
    sums_[k / kBlock] += 15 * static_cast<int32_t>(v);
  }
  const double eta = std::sqrt(missing) * (1 + kDoubleError) + kDoubleError * length;

  const double rounding = kFloatError * (length + eta), product = c * kEpsilon * length;
  const double rest = product * copy.mean_norm() + kFloatError * std::fabs(base) + kDoubleError * length * copy.mean_norm() +
                      10 * d_ * 0x1p-126 * std::max(1.0, length);
  view_.values = values_.data();
  view_.sums = sums_.data();
  view_.base = static_cast<float>(base);
  view_.step = sigma / 2;
  view_.of_rho = float_above((length + eta + rounding) * (1 + kFloatError));
  view_.of_norm = float_above((eta + product + rounding) * (1 + kFloatError));
  view_.rest = float_above(rest * (1 + kFloatError));
}

}  // namespace lmhead::screen
