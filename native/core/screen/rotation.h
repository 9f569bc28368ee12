// The rotation that spreads what is in few values of a row over all of them: signs, a Hadamard transform of each block, an order
// that mixes blocks, and signs and transforms once more. Orthogonal but for a factor, which is a power of two.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace lmhead::screen {

struct Rotation {
  explicit Rotation(size_t columns);

  size_t columns, padded;  // padded: whole blocks, zeros behind the columns
  size_t span;             // of a transform: the largest power of two that divides `padded`. Also the factor: |result| = span |x|
  std::vector<float> before, between;  // [padded], signs

  RotationView view() const { return {padded, span, before.data(), between.data()}; }
  // Of `padded` values, in double.
  void rotate(double* x) const;
};

}  // namespace lmhead::screen
