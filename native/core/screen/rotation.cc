#include "rotation.h"

namespace lmhead::screen {

namespace {

// SplitMix64: the signs are part of the format.
uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::vector<float> signs(size_t count, uint64_t seed) {
  std::vector<float> result(count);
  for (size_t i = 0; i < count; i++) result[i] = mixed(seed + (i + 1) * 0x9e3779b97f4a7c15u) >> 63 ? -1.0f : 1.0f;
  return result;
}

void transform(double* x, size_t count, size_t span) {
  for (double* at = x; at < x + count; at += span)
    for (size_t half = 1; half < span; half *= 2)
      for (size_t i = 0; i < span; i += 2 * half)
        for (size_t j = i; j < i + half; j++) {
          const double a = at[j], b = at[j + half];
          at[j] = a + b;
          at[j + half] = a - b;
        }
}

}  // namespace

Rotation::Rotation(size_t its_columns)
    : columns(its_columns),
      padded(blocks_of(its_columns) * kBlock),
      span(padded & (~padded + 1)),
      before(signs(padded, 1)),
      between(signs(padded, 2)) {}

void Rotation::rotate(double* x) const {
  for (size_t k = 0; k < padded; k++) x[k] *= before[k];
  transform(x, padded, span);
  const std::vector<double> from(x, x + padded);
  const size_t spans = padded / span;
  for (size_t b = 0; b < span; b++)
    for (size_t a = 0; a < spans; a++) x[b * spans + a] = from[a * span + b] * between[b * spans + a];
  transform(x, padded, span);
}

}  // namespace lmhead::screen
