#include "quantized_activations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lmhead {

namespace {

constexpr size_t kLine = 64;
constexpr int kMost = 127;

double nearest(double x) { return (x + exact::kRounder) - exact::kRounder; }

// The scale; NaN where the state is not finite.
float scale_of(const float* h, size_t d, int most) {
  float largest = 0, rest = 0;
  for (size_t k = 0; k < d; k++) {
    largest = std::max(largest, std::abs(h[k]));
    rest += h[k] - h[k];  // 0, or NaN
  }
  if (rest != 0 || std::isinf(largest)) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(static_cast<double>(largest) / most);
}

}  // namespace

double sum_in_double_of_mxfp4(const uint8_t* row, size_t d, const IntegerStates& states, size_t column) {
  constexpr int kTwice[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  constexpr RowFormat format = row_format(Dtype::mxfp4);
  const int8_t* const high = states.values + column * states.planes * states.stride;
  double sum = 0;
  for (size_t first = 0; first < d; first += format.elements, row += format.bytes) {
    int64_t dot = 0;
    for (size_t i = 0; i < format.elements; i++) {
      const int nibble = row[1 + i % 16] >> i / 16 * 4 & 15, w = nibble < 8 ? kTwice[nibble] : -kTwice[nibble - 8];
      const size_t k = first + i;
      dot += w * (states.planes == 1 ? high[k] : kHighPlane * high[k] + high[states.stride + k]);
    }
    sum += std::ldexp(static_cast<double>(dot), row[0] - 128);
  }
  return sum;
}

bool rounds_activations(Dtype dtype) { return scalar_kernels()->integer_product[static_cast<size_t>(dtype)] != nullptr; }

void QuantizedActivations::round(Activations kind, const float* hidden, size_t hidden_stride, size_t columns, size_t d) {
  planes_ = kind == Activations::i16 ? 2 : 1;
  stride_ = (d + kLine - 1) / kLine * kLine;
  const int most = planes_ == 2 ? (kHighPlane + 1) * kMost : kMost;
  values_.assign(columns * planes_ * stride_, 0);
  packed_.clear();
  sums_.assign(columns * planes_, 0);
  scales_.resize(columns);
  for (size_t c = 0; c < columns; c++) {
    const float* const h = hidden + c * hidden_stride;
    const float scale = scales_[c] = scale_of(h, d, most);
    if (!(scale > 0)) continue;
    int8_t* const high = &values_[c * planes_ * stride_];
    for (size_t k = 0; k < d; k++) {
      const double q = std::clamp<double>(nearest(static_cast<double>(h[k]) / scale), -most, most);
      const double upper = planes_ == 2 ? nearest(q / kHighPlane) : q;
      high[k] = static_cast<int8_t>(upper);
      if (planes_ == 2) high[stride_ + k] = static_cast<int8_t>(q - kHighPlane * upper);
    }
    for (size_t p = 0; p < planes_; p++)
      sums_[c * planes_ + p] = std::accumulate(high + p * stride_, high + p * stride_ + d, int32_t{0});
  }
}

void QuantizedActivations::pack(const Kernels& kernels, Dtype dtype) {
  const PackedPlanes* const way = kernels.packed_planes[static_cast<size_t>(dtype)];
  if (!way) return;
  packed_.resize(way->size(dtype, columns(), planes_, stride_));
  if (!packed_.empty()) way->pack(dtype, values_.data(), columns(), planes_, stride_, packed_.data());
}

}  // namespace lmhead
