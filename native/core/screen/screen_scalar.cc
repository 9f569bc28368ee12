// For every CPU: plain loops.
#include <cmath>
#include <cstring>
#include <string>

#include "kernels.h"

namespace lmhead::screen {
namespace scalar {

struct F {
  float v[kLanes];
};
struct I {
  int32_t v[kLanes];
};

template <class T, class Each>
static inline T each(Each each) {
  T result;
  for (size_t i = 0; i < kLanes; i++) result.v[i] = each(i);
  return result;
}
static inline F load(const float* p) {
  F x;
  std::memcpy(x.v, p, sizeof x.v);
  return x;
}
static inline void store(float* p, F x) { std::memcpy(p, x.v, sizeof x.v); }
static inline void store_i(uint8_t* p, I x) { std::memcpy(p, x.v, sizeof x.v); }
static inline F set(float x) {
  return each<F>([&](size_t) { return x; });
}
static inline I zero_i() { return {}; }
static inline F add(F a, F b) {
  return each<F>([&](size_t i) { return a.v[i] + b.v[i]; });
}
static inline F subtract(F a, F b) {
  return each<F>([&](size_t i) { return a.v[i] - b.v[i]; });
}
static inline F multiply(F a, F b) {
  return each<F>([&](size_t i) { return a.v[i] * b.v[i]; });
}
static inline F maximum(F a, F b) {
  return each<F>([&](size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
static inline F minimum(F a, F b) {
  return each<F>([&](size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
static inline F magnitude(F x) {
  return each<F>([&](size_t i) { return std::fabs(x.v[i]); });
}
static inline F inverse_or_0(F x) {
  return each<F>([&](size_t i) { return x.v[i] > 0 ? 1 / x.v[i] : 0.0f; });
}
static inline I truncate(F x) {
  return each<I>([&](size_t i) { return static_cast<int32_t>(x.v[i]); });
}
static inline F to_float(I x) {
  return each<F>([&](size_t i) { return static_cast<float>(x.v[i]); });
}
static inline I add_i(I a, I b) {
  return each<I>([&](size_t i) { return a.v[i] + b.v[i]; });
}
static inline I either(I a, I b) {
  return each<I>([&](size_t i) { return a.v[i] | b.v[i]; });
}
static inline I shifted(I x, size_t n) {
  return each<I>([&](size_t i) { return static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) << n); });
}
static inline F load_scales(const uint8_t* p) {
  F x;
  std::memcpy(x.v, p, sizeof x.v);
  return x;
}
static inline F load_bf16(const uint8_t* p) {
  uint32_t bits[kLanes];
  for (size_t i = 0; i < kLanes; i++) bits[i] = static_cast<uint32_t>(p[2 * i] | p[2 * i + 1] << 8) << 16;
  F x;
  std::memcpy(x.v, bits, sizeof x.v);
  return x;
}

struct Sums {
  int32_t v[kTileRows];
};
static inline Sums no_sums() { return {}; }
static inline F floats_of(const Sums& sums, size_t first) {
  return each<F>([&](size_t i) { return static_cast<float>(sums.v[first + i]); });
}
// GCC makes vectors of loops at its third level alone.
#if defined(__GNUC__) && !defined(__clang__)
#define LMHEAD_AS_VECTORS [[gnu::optimize("O3"), gnu::noinline]]
#else
#define LMHEAD_AS_VECTORS
#endif

// In steps of so many bytes, of 16-bit sums: a compiler makes vectors of them, of whatever CPU. A byte's sum is at most
// 8 * 2 * 15 * 127 = 30,480.
LMHEAD_AS_VECTORS static void add_block(const uint8_t* block, const uint8_t* factors, const int8_t* values, int32_t sum,
                                        Sums& sums) {
  constexpr size_t kStep = 8, kBytesOfRow = kLanes / 2;
  int16_t dots[kLineBytes] = {};
  for (size_t line = 0; line < kBlock / kLanes; line++) {
    const uint8_t* const q = block + line * kLineBytes;
    int16_t low[kStep], high[kStep];
    for (size_t j = 0; j < kStep; j++) {
      low[j] = values[kLanes * line + j % kBytesOfRow];
      high[j] = values[kLanes * line + kBytesOfRow + j % kBytesOfRow];
    }
    for (size_t i = 0; i < kLineBytes; i += kStep)
      for (size_t j = 0; j < kStep; j++)
        dots[i + j] = static_cast<int16_t>(dots[i + j] + static_cast<int16_t>((q[i + j] & 15) * low[j]) +
                                           static_cast<int16_t>((q[i + j] >> 4) * high[j]));
  }
  for (size_t r = 0; r < kTileRows; r++) {
    int32_t dot = 0;
    for (size_t j = 0; j < kBytesOfRow; j++) dot += dots[r * kBytesOfRow + j];
    sums.v[r] += (2 * dot - sum) * factors[r];
  }
}

#include "screen.inc"

static const Kernels table = LMHEAD_SCREEN_TABLE;

}  // namespace scalar

const Kernels* scalar_kernels() { return &scalar::table; }

const Kernels& kernels_for(const lmhead::Kernels& table) {
  const std::string name = table.name;
  const Kernels* chosen = nullptr;
  if (name.starts_with("avx512") || name.starts_with("amx"))
    chosen = &table == lmhead::avx512_kernels() ? avx2_kernels() : avx512_vnni_kernels();
  else if (name == "avx2")
    chosen = avx2_kernels();
  else if (name.starts_with("neon"))
    chosen = neon_kernels();
  return chosen ? *chosen : *scalar_kernels();
}

}  // namespace lmhead::screen
