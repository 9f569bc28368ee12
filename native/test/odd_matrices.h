// Matrices that a bounded copy has a hard time with.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/matrix.h"
#include "numbers.h"

namespace lmhead::test {

enum class Kind { normal, outliers, duplicates, subnormal, huge, zeros, mean, not_finite, tiny_beside_huge };
constexpr int kKinds = 9;

inline std::vector<float> matrix_of(Kind kind, size_t rows, size_t d, Random& random) {
  std::vector<float> e(rows * d);
  for (size_t i = 0; i < rows; i++)
    for (size_t k = 0; k < d; k++) {
      double x = random.normal();
      switch (kind) {
        case Kind::outliers:
          if (k == 3 % d || i % 17 == 5) x *= 300;
          break;
        case Kind::subnormal:
          x *= 0x1p-140;
          break;
        case Kind::huge:
          x *= 0x1p90 * std::ldexp(1, static_cast<int>(i % 30));
          break;
        case Kind::zeros:
          if (i % 3 > 0) x = 0;
          break;
        case Kind::mean:
          x += 50 * std::sin(static_cast<double>(k));
          break;
        case Kind::tiny_beside_huge:
          x *= i % 2 ? 0x1p-100 : 0x1p40;
          break;
        default:
          break;
      }
      e[i * d + k] = static_cast<float>(x);
      if (kind == Kind::duplicates && i > 0 && i % 3) e[i * d + k] = e[(i - 1) * d + k];
      if (kind == Kind::not_finite && i % 5 == 2 && k == i % d) e[i * d + k] = i % 2 ? kInf : kNan;
    }
  return e;
}

inline Matrix view_of(const std::vector<float>& e, size_t rows, size_t d) {
  return {reinterpret_cast<const uint8_t*>(e.data()), Dtype::f32, rows, d};
}

}  // namespace lmhead::test
