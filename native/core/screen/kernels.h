// What the bounded copy needs of a CPU: integers and a few float32 values, the former the same everywhere.
#pragma once

#include "../kernels/kernels.h"
#include "layout.h"

namespace lmhead::screen {

// A hidden state as a search takes it; see bound.h.
struct StateView {
  const int8_t* values;         // [blocks * kBlock]: v, y = sigma v + what is missing
  const int32_t* sums;          // [blocks]: 15 times the sum of a block's
  float base, step;             // an estimate is base + step * S * sum of c (2q - 15) v
  float of_rho, of_norm, rest;  // and it is off by of_rho * rho + of_norm * N + rest at most
};
struct RotationView {
  size_t padded, span;
  const float *before, *between;
};

struct Kernels {
  // Rotates kLanes rows [padded, kLanes]; other: as large. Leaves them in `other`.
  void (*rotate)(const RotationView& rotation, float* x, float* other);
  // Of a block, for each lane: the largest magnitude, and the sum of squares.
  void (*measure)(const float* block, float* most, float* squares);
  // Lines of a block for kLanes rows, whose steps s are given: into `to`. The sums of squares of what is left.
  void (*encode)(const float* block, const float* steps, uint8_t* to, float* squares);
  // Estimates and upper bounds of the products of a tile's rows.
  void (*bounds)(const uint8_t* tile, size_t blocks, const StateView& state, float* estimates, float* upper);
};

// Those that go with a table of the library's.
const Kernels& kernels_for(const lmhead::Kernels& table);

// One definition per file; nullptr where the target CPU family has no such.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* neon_kernels();

}  // namespace lmhead::screen
