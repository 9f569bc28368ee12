#include "quantize.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "storage/map_guard.h"

namespace lmhead {

namespace {

// As in lib/dtypes/quantize.ts, which says why.
constexpr double kStep = 0.04, kSmallestFit = 0.5;

double short_float(double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  return std::bit_cast<float>((bits + 0x80) & 0xffffff00);
}

uint16_t nearest_half(double x) {
  if (x >= 65504) return 0x7bff;
  const int exponent = std::max(x > 0 ? std::ilogb(x) : -14, -14);
  const double units = std::ldexp(x, 10 - exponent), whole = std::floor(units);
  return static_cast<uint16_t>(((exponent + 14) << 10) + static_cast<int>(whole) + (units - whole >= 0.5));
}

double half_value(uint16_t bits) {  // of a finite one that is not negative
  const int exponent = bits >> 10, fraction = bits & 0x3ff;
  return exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
}

struct Fit {
  double wq, qq;
};
Fit nearest(const float* w, size_t count, double scale, int8_t* q) {
  const double inverse = 1 / scale;
  double wq = 0, qq = 0;
  for (size_t k = 0; k < count; k++) {
    const double x = w[k];
    double n = x * inverse + exact::kRounder - exact::kRounder;
    n = n > 127 ? 127 : n;
    n = n < -127 ? -127 : n;
    q[k] = static_cast<int8_t>(n);
    wq += x * n;
    qq += n * n;
  }
  return {wq, qq};
}

// trial: room for `count`.
template <class Round>
double best_fit(const float* w, size_t count, int8_t* q, int8_t* trial, Round round) {
  double largest = 0;
  for (size_t k = 0; k < count; k++) largest = std::max<double>(largest, std::fabs(w[k]));
  const double widest = largest / 127;
  if (!(round(widest / 2) > 0)) {
    std::memset(q, 0, count);
    return 0;
  }
  double scale = 0, most = 0;
  int worse = 0;
  for (double part = 1; part >= kSmallestFit && worse < 2; part -= kStep) {
    const auto [wq, qq] = nearest(w, count, widest * part, trial);
    const double explained = wq * wq / qq;
    if (explained > most) {
      most = explained;
      scale = round(wq / qq);
      std::memcpy(q, trial, count);
      worse = 0;
    } else {
      worse++;
    }
  }
  return scale;
}

void add_errors(const float* w, size_t count, const int8_t* q, double scale, WeightErrors& errors) {
  for (size_t k = 0; k < count; k++) {
    const double x = w[k], rest = x - scale * q[k];
    errors.max = std::max(errors.max, std::fabs(rest));
    errors.squares += rest * rest;
    errors.total += x * x;
  }
}

bool is_finite(const float* w, size_t count) {
  return std::all_of(w, w + count, [](float x) { return std::isfinite(x); });
}

}  // namespace

WeightErrors quantize_row(const float* w, size_t d, Dtype to, uint8_t* bytes, int8_t* trial) {
  const bool by_row = to == Dtype::i8;
  const size_t block = by_row ? d : row_format(to).elements, size = row_bytes(to, block);
  WeightErrors errors;
  for (size_t k = 0; k < d; k += block, bytes += size) {
    int8_t* const q = reinterpret_cast<int8_t*>(bytes + size - block);
    if (by_row) {
      const double scale = best_fit(w, block, q, trial, short_float);
      const float stored = static_cast<float>(scale);
      std::memcpy(bytes, &stored, sizeof stored);
      add_errors(w, block, q, scale, errors);
    } else {
      const double scale = best_fit(w + k, block, q, trial, [](double x) { return half_value(nearest_half(x)); });
      const uint16_t stored = nearest_half(scale);
      std::memcpy(bytes, &stored, sizeof stored);
      add_errors(w + k, block, q, scale, errors);
    }
  }
  return errors;
}

size_t quantize_rows(const Kernels& kernels, const Matrix& e, size_t first, size_t count, Dtype to, const ParallelFor& workers,
                     uint8_t* bytes, WeightErrors* errors) {
  constexpr size_t kRows = 16;  // that a thread takes at once
  const size_t stride = row_bytes(to, e.columns);
  std::vector<float> wide(workers.threads * e.columns);
  std::vector<int8_t> trials(workers.threads * e.columns);
  std::atomic<size_t> bad{e.rows};
  workers.parallel_for((count + kRows - 1) / kRows, [&](size_t task, unsigned slot) {
    float* const row = wide.data() + slot * e.columns;
    MapGuard::renew();
    for (size_t i = task * kRows; i < std::min((task + 1) * kRows, count); i++) {
      kernels.unpack_row[static_cast<size_t>(e.dtype)](e, first + i, row);
      if (is_finite(row, e.columns)) {
        errors[i] = quantize_row(row, e.columns, to, bytes + i * stride, trials.data() + slot * e.columns);
        continue;
      }
      size_t lowest = bad.load();
      while (first + i < lowest && !bad.compare_exchange_weak(lowest, first + i)) {
      }
    }
  });
  return bad.load();
}

}  // namespace lmhead
