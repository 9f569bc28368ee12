// Products of bytes by NEON's widening multiply-add.
#include <cstring>

#include "kernels.h"

#include "../kernels/generic/region.h"

#if LMHEAD_ARM64
#include <arm_neon.h>

namespace lmhead::screen {
namespace neon {

struct F {
  float32x4_t a, b;
};
struct I {
  int32x4_t a, b;
};

static inline F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
static inline void store(float* p, F x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
}
static inline void store_i(uint8_t* p, I x) {
  vst1q_u8(p, vreinterpretq_u8_s32(x.a));
  vst1q_u8(p + 16, vreinterpretq_u8_s32(x.b));
}
static inline F set(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
static inline I zero_i() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
static inline F add(F x, F y) { return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b)}; }
static inline F subtract(F x, F y) { return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b)}; }
static inline F multiply(F x, F y) { return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b)}; }
static inline F maximum(F x, F y) { return {vmaxq_f32(x.a, y.a), vmaxq_f32(x.b, y.b)}; }
static inline F minimum(F x, F y) { return {vminq_f32(x.a, y.a), vminq_f32(x.b, y.b)}; }
static inline F magnitude(F x) { return {vabsq_f32(x.a), vabsq_f32(x.b)}; }
static inline float32x4_t inverse_or_0(float32x4_t x) {
  const uint32x4_t above = vcgtq_f32(x, vdupq_n_f32(0));
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(vdivq_f32(vdupq_n_f32(1), x)), above));
}
static inline F inverse_or_0(F x) { return {inverse_or_0(x.a), inverse_or_0(x.b)}; }
static inline I truncate(F x) { return {vcvtq_s32_f32(x.a), vcvtq_s32_f32(x.b)}; }
static inline F to_float(I x) { return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b)}; }
static inline I add_i(I x, I y) { return {vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b)}; }
static inline I either(I x, I y) { return {vorrq_s32(x.a, y.a), vorrq_s32(x.b, y.b)}; }
static inline I shifted(I x, size_t n) {
  const int32x4_t by = vdupq_n_s32(static_cast<int32_t>(n));
  return {vshlq_s32(x.a, by), vshlq_s32(x.b, by)};
}
static inline F load_scales(const uint8_t* p) {
  return {vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(vld1q_u8(p + 16))};
}
static inline F load_bf16(const uint8_t* p) {
  const uint16x8_t bits = vreinterpretq_u16_u8(vld1q_u8(p));
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(bits), 16)),
          vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(bits), 16))};
}

struct Sums {
  int32x4_t v[kTileRows / 4];
};
static inline Sums no_sums() {
  Sums sums;
  for (int32x4_t& each : sums.v) each = vdupq_n_s32(0);
  return sums;
}
static inline F floats_of(const Sums& sums, size_t first) {
  return {vcvtq_f32_s32(sums.v[first / 4]), vcvtq_f32_s32(sums.v[first / 4 + 1])};
}

static inline int8x8_t twice(const int8_t* four) {
  uint32_t word;
  std::memcpy(&word, four, sizeof word);
  return vreinterpret_s8_u32(vdup_n_u32(word));
}

// A lane's sum is at most 16 * 15 * 127 = 30,480: it fits 16 bits.
static inline void add_block(const uint8_t* block, const uint8_t* factors, const int8_t* values, int32_t sum, Sums& sums) {
  constexpr size_t kVectors = kLineBytes / 16;  // of four rows each
  int16x8_t dots[2 * kVectors];
  LMHEAD_UNROLL
  for (int16x8_t& each : dots) each = vdupq_n_s16(0);
  const int8x16_t mask = vdupq_n_s8(15);
  for (size_t line = 0; line < kBlock / kLanes; line++) {
    const int8x8_t low = twice(values + kLanes * line), high = twice(values + kLanes * line + 4);
    LMHEAD_UNROLL
    for (size_t r = 0; r < kVectors; r++) {
      const uint8x16_t q = vld1q_u8(block + kLineBytes * line + 16 * r);
      const int8x16_t a = vandq_s8(vreinterpretq_s8_u8(q), mask), b = vreinterpretq_s8_u8(vshrq_n_u8(q, 4));
      dots[2 * r] = vmlal_s8(vmlal_s8(dots[2 * r], vget_low_s8(a), low), vget_low_s8(b), high);
      dots[2 * r + 1] = vmlal_s8(vmlal_s8(dots[2 * r + 1], vget_high_s8(a), low), vget_high_s8(b), high);
    }
  }
  for (size_t r = 0; r < kVectors; r++) {
    const int32x4_t whole = vpaddq_s32(vpaddlq_s16(dots[2 * r]), vpaddlq_s16(dots[2 * r + 1]));
    const uint16x8_t wide = vmovl_u8(vld1_u8(factors + r / 2 * 8));
    const int32x4_t c = vreinterpretq_s32_u32(vmovl_u16(r % 2 ? vget_high_u16(wide) : vget_low_u16(wide)));
    sums.v[r] = vmlaq_s32(sums.v[r], vsubq_s32(vaddq_s32(whole, whole), vdupq_n_s32(sum)), c);
  }
}

#include "screen.inc"

static const Kernels table = LMHEAD_SCREEN_TABLE;

}  // namespace neon
}  // namespace lmhead::screen
#endif

namespace lmhead::screen {
#if LMHEAD_ARM64
const Kernels* neon_kernels() { return &neon::table; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif
}  // namespace lmhead::screen
