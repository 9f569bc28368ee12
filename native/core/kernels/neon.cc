// NEON (Advanced SIMD): every 64-bit ARM CPU, f16 conversion included. 32 registers of 4 floats; a vector here is two of them,
// so that a dot product has as many partial sums as elsewhere.
#include <cstring>

#include "kernels.h"

#include "generic/region.h"

#if LMHEAD_ARM64
#include <arm_neon.h>

namespace lmhead {
namespace neon {

constexpr size_t kLanes = 8;
constexpr int kRows = 4, kColumns = 2;  // 4 x 3 would fill all 32 registers, and compilers spill then
constexpr size_t kGroups = 2;
constexpr size_t part_elements(size_t) { return 32 * kLanes; }
constexpr int kQuantizedColumns = 3;
constexpr size_t kUnpackFrom = 4;
constexpr float kInfinity = __builtin_huge_valf();

struct F {
  float32x4_t low, high;
};
struct D {
  float64x2_t low, high;
};
struct Mask {  // all ones or all zeros in each lane
  uint32x4_t low, high;
};

static inline F set(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
static inline F zero() { return set(0); }
static inline F load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
static inline void store(float* p, F x) {
  vst1q_f32(p, x.low);
  vst1q_f32(p + 4, x.high);
}
static inline F load_partial(const float* p, size_t n, float padding) {
  float buffer[kLanes];
  store(buffer, set(padding));
  __builtin_memcpy(buffer, p, n * sizeof *p);
  return load(buffer);
}
static inline void store_partial(float* p, F x, size_t n) {
  float buffer[kLanes];
  store(buffer, x);
  __builtin_memcpy(p, buffer, n * sizeof *p);
}

template <Dtype dtype>
static inline F load_weights(const uint8_t* p) {
  if constexpr (dtype == Dtype::f32) {
    return {vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(vld1q_u8(p + 16))};
  } else if constexpr (dtype == Dtype::f16) {
    const float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  } else {
    const uint16x8_t bits = vreinterpretq_u16_u8(vld1q_u8(p));
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(bits), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(bits, 16))};
  }
}
template <Dtype dtype>
static inline F load_weights_partial(const uint8_t* p, size_t n) {
  uint8_t buffer[kLanes * bytes_per_element(dtype)] = {};
  __builtin_memcpy(buffer, p, n * bytes_per_element(dtype));
  return load_weights<dtype>(buffer);
}

static inline F add(F a, F b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
static inline F multiply(F a, F b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
static inline F multiply_add(F a, F b, F c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
static inline F maximum(F a, F b) { return {vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high)}; }
static inline F minimum(F a, F b) { return {vminq_f32(a.low, b.low), vminq_f32(a.high, b.high)}; }
static inline F round(F x) { return {vrndnq_f32(x.low), vrndnq_f32(x.high)}; }

static inline Mask less(F a, F b) { return {vcltq_f32(a.low, b.low), vcltq_f32(a.high, b.high)}; }
static inline float32x4_t clear_where(uint32x4_t mask, float32x4_t x) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), mask));
}
static inline F zero_where_less(F x, F limit, F value) {
  const Mask mask = less(x, limit);
  return {clear_where(mask.low, value.low), clear_where(mask.high, value.high)};
}
static inline float32x4_t power_of_two(float32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline F scale_by_power_of_two(F p, F n) { return multiply(p, {power_of_two(n.low), power_of_two(n.high)}); }

static inline float32x4_t fold(F x) { return vaddq_f32(x.low, x.high); }
static inline float reduce(F x) {
  const float32x4_t s = fold(x), pairs = vpaddq_f32(s, s);
  return vgetq_lane_f32(vpaddq_f32(pairs, pairs), 0);
}
static inline void reduce4(F a, F b, F c, F d, float* out) {  // the same tree as reduce, four at a time
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(fold(a), fold(b)), vpaddq_f32(fold(c), fold(d))));
}
static inline float reduce_max(F x) { return vmaxvq_f32(vmaxq_f32(x.low, x.high)); }

static inline uint32_t bits(Mask m) {
  static const uint16_t kBits[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128};
  return vaddvq_u16(vandq_u16(vmovn_high_u32(vmovn_u32(m.low), m.high), vld1q_u16(kBits)));
}
static inline uint32_t lanes_below(size_t n) { return n >= kLanes ? 0xffu : (1u << n) - 1; }
static inline uint32_t nan_mask(F x) { return bits({vceqq_f32(x.low, x.low), vceqq_f32(x.high, x.high)}) ^ 0xffu; }
static inline uint32_t greater_mask(F a, F b) { return bits(less(b, a)); }
static inline uint32_t not_less_mask(F a, F b) { return bits({vcgeq_f32(a.low, b.low), vcgeq_f32(a.high, b.high)}); }

static inline D low_half(F x) { return {vcvt_f64_f32(vget_low_f32(x.low)), vcvt_high_f64_f32(x.low)}; }
static inline D high_half(F x) { return {vcvt_f64_f32(vget_low_f32(x.high)), vcvt_high_f64_f32(x.high)}; }
static inline float32x4_t narrow(D x) { return vcvt_high_f32_f64(vcvt_f32_f64(x.low), x.high); }
static inline F join(D low, D high) { return {narrow(low), narrow(high)}; }
static inline void store_d(double* p, D x) {
  vst1q_f64(p, x.low);
  vst1q_f64(p + 2, x.high);
}
static inline D set_d(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
static inline D add_d(D a, D b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
static inline D subtract_d(D a, D b) { return {vsubq_f64(a.low, b.low), vsubq_f64(a.high, b.high)}; }
static inline D multiply_d(D a, D b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
static inline D divide_d(D a, D b) { return {vdivq_f64(a.low, b.low), vdivq_f64(a.high, b.high)}; }
static inline D min_d(D a, D b) { return {vminq_f64(a.low, b.low), vminq_f64(a.high, b.high)}; }
static inline D abs_d(D x) { return {vabsq_f64(x.low), vabsq_f64(x.high)}; }
static inline float64x2_t copy_sign(float64x2_t x, float64x2_t sign) {
  return vbslq_f64(vdupq_n_u64(uint64_t{1} << 63), sign, x);
}
static inline D copy_sign_d(D x, D sign) { return {copy_sign(x.low, sign.low), copy_sign(x.high, sign.high)}; }
static inline D round_d(D x) { return {vrndnq_f64(x.low), vrndnq_f64(x.high)}; }
static inline D floor_d(D x) { return {vrndmq_f64(x.low), vrndmq_f64(x.high)}; }
static inline float64x2_t power_of_two_d(float64x2_t k) {
  return vreinterpretq_f64_s64(vshlq_n_s64(vaddq_s64(vcvtnq_s64_f64(k), vdupq_n_s64(1023)), 52));
}
static inline D scale_by_power_of_two_d(D p, D k) { return multiply_d(p, {power_of_two_d(k.low), power_of_two_d(k.high)}); }
static inline D where_less_d(D a, D limit, D x, D y) {
  return {vbslq_f64(vcltq_f64(a.low, limit.low), x.low, y.low), vbslq_f64(vcltq_f64(a.high, limit.high), x.high, y.high)};
}
static inline double reduce_d(D x) { return vaddvq_f64(vaddq_f64(x.low, x.high)); }

// The high words of eight ids' random bits, as fractions of one. Lane j of a word's vector holds block j, which serves two ids.
static inline F token_uniforms(const Stream& stream, uint32_t first_id) {
  static const uint32_t kBlocks[4] = {0, 1, 2, 3};
  uint32x4_t c0 = vaddq_u32(vdupq_n_u32(first_id >> 1), vld1q_u32(kBlocks));
  uint32x4_t c1 = vdupq_n_u32(stream.step), c2 = vdupq_n_u32(static_cast<uint32_t>(stream.purpose)),
             c3 = vdupq_n_u32(stream.number);
  const uint32x4_t m0 = vdupq_n_u32(philox::kMultiplier0), m1 = vdupq_n_u32(philox::kMultiplier1);
  struct Words {
    uint32x4_t low, high;
  };
  const auto product = [](uint32x4_t a, uint32x4_t b) -> Words {
    const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vget_low_u32(b)));
    const uint32x4_t last = vreinterpretq_u32_u64(vmull_high_u32(a, b));
    return {vuzp1q_u32(first, last), vuzp2q_u32(first, last)};
  };
  uint32_t k0 = stream.seed_low, k1 = stream.seed_high;
  for (int round = 0; round < philox::kRounds; round++, k0 += philox::kWeyl0, k1 += philox::kWeyl1) {
    const Words p0 = product(c0, m0), p1 = product(c2, m1);
    c0 = veorq_u32(veorq_u32(p1.high, c1), vdupq_n_u32(k0));
    c2 = veorq_u32(veorq_u32(p0.high, c3), vdupq_n_u32(k1));
    c1 = p1.low;
    c3 = p0.low;
  }
  return multiply({vcvtq_f32_u32(vzip1q_u32(c0, c2)), vcvtq_f32_u32(vzip2q_u32(c0, c2))}, set(0x1p-32f));
}

static inline void prefetch(const void* p) { __builtin_prefetch(p); }
static inline void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }
static inline size_t popcount(uint32_t m) { return static_cast<size_t>(__builtin_popcount(m)); }
static inline size_t lowest_bit(uint32_t m) { return static_cast<size_t>(__builtin_ctz(m)); }

// ---- integers, for quantized weights ----

struct I {
  uint32x4_t low, high;
};

static inline I widened(uint8x8_t x) {
  const uint16x8_t wide = vmovl_u8(x);
  return {vmovl_u16(vget_low_u16(wide)), vmovl_high_u16(wide)};
}
static inline I load_u8(const uint8_t* p) { return widened(vld1_u8(p)); }
static inline I bytes_of(uint64_t x) { return widened(vcreate_u8(x)); }
static inline I with_sign(uint8x8_t x) {
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(x));
  return {vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(wide))), vreinterpretq_u32_s32(vmovl_high_s16(wide))};
}
static inline I load_i8(const uint8_t* p) { return with_sign(vld1_u8(p)); }
static inline F to_float(I x) {
  return {vcvtq_f32_s32(vreinterpretq_s32_u32(x.low)), vcvtq_f32_s32(vreinterpretq_s32_u32(x.high))};
}
static inline I low_bits(I x, uint32_t mask) {
  return {vandq_u32(x.low, vdupq_n_u32(mask)), vandq_u32(x.high, vdupq_n_u32(mask))};
}
static inline I either(I a, I b) { return {vorrq_u32(a.low, b.low), vorrq_u32(a.high, b.high)}; }
static inline I shift_right(I x, int n) {
  const int32x4_t by = vdupq_n_s32(-n);
  return {vshlq_u32(x.low, by), vshlq_u32(x.high, by)};
}
static inline I where_bits(uint32_t bits, uint32_t value) {
  static const uint32_t kLaneBits[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint32x4_t all = vdupq_n_u32(bits), v = vdupq_n_u32(value);
  return {vandq_u32(vtstq_u32(all, vld1q_u32(kLaneBits)), v), vandq_u32(vtstq_u32(all, vld1q_u32(kLaneBits + 4)), v)};
}
static inline F low_bits_in(const float* values, I x, F scale) {
  uint32_t lanes[kLanes];
  vst1q_u32(lanes, x.low);
  vst1q_u32(lanes + 4, x.high);
  float chosen[kLanes];
  for (size_t i = 0; i < kLanes; i++) chosen[i] = values[lanes[i] & 15];
  return multiply(load(chosen), scale);
}
static inline F set_half(const uint8_t* p) {
  uint16_t bits;
  memcpy(&bits, p, sizeof bits);
  const float32x4_t x = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits)));
  return {x, x};
}

static inline F multiply_add_once(F a, F b, F c) { return multiply_add(a, b, c); }
static inline I load_nibbles(const uint8_t* p) {
  static const int32_t kShifts[kLanes] = {0, -4, -8, -12, -16, -20, -24, -28};
  uint32_t word;
  memcpy(&word, p, sizeof word);
  const uint32x4_t all = vdupq_n_u32(word);
  return {vshlq_u32(all, vld1q_s32(kShifts)), vshlq_u32(all, vld1q_s32(kShifts + 4))};
}

constexpr size_t kByteLanes = 16;
using Bytes = uint8x16_t;
static inline Bytes load_bytes(const uint8_t* p) { return vld1q_u8(p); }
static inline void store_bytes(uint8_t* p, Bytes x) { vst1q_u8(p, x); }
static inline Bytes low_bits(Bytes x, uint8_t mask) { return vandq_u8(x, vdupq_n_u8(mask)); }
static inline Bytes either(Bytes a, Bytes b) { return vorrq_u8(a, b); }
static inline Bytes minus(Bytes x, uint8_t y) { return vsubq_u8(x, vdupq_n_u8(y)); }
static inline Bytes shift_left(Bytes x, int n) { return vshlq_u8(x, vdupq_n_s8(static_cast<int8_t>(n))); }
static inline Bytes shift_right(Bytes x, int n) { return vshlq_u8(x, vdupq_n_s8(static_cast<int8_t>(-n))); }

#include "generic/eight_lanes.inc"

constexpr bool kLooksUpBytes = true;
struct ByteHalves {
  uint8x16_t low, high;
};
static inline ByteHalves look_up_halves(const uint8_t* p, const uint8_t* values) {
  const uint8x16_t table = vld1q_u8(values), both = vld1q_u8(p);
  return {vqtbl1q_u8(table, vandq_u8(both, vdupq_n_u8(15))), vqtbl1q_u8(table, vshrq_n_u8(both, 4))};
}
static inline I eight_of(const ByteHalves& x, size_t i) {
  const uint8x16_t half = i < 16 ? x.low : x.high;
  return with_sign(i % 16 ? vget_high_u8(half) : vget_low_u8(half));
}

static inline void store_halves(uint8_t* p, const ByteHalves& x) {
  vst1q_u8(p, x.low);
  vst1q_u8(p + 16, x.high);
}

// ---- integers ----

struct Q {
  int8x16_t low, high;
};
constexpr int kIntegerRows = 4, kPlanes = 2, kStepPlanes = 2;

static inline I zero_i() { return {vdupq_n_u32(0), vdupq_n_u32(0)}; }
static inline Q load_q(const void* p) {
  const int8_t* const bytes = static_cast<const int8_t*>(p);
  return {vld1q_s8(bytes), vld1q_s8(bytes + 16)};
}
static inline Q load_parts(const uint8_t* p, size_t apart) {
  return {vreinterpretq_s8_u8(vld1q_u8(p)), vreinterpretq_s8_u8(vld1q_u8(p + apart))};
}
static inline Q repeat(const uint8_t* p) { return load_parts(p, 0); }
static inline int8x16_t low_halves(int8x16_t x) { return vandq_s8(x, vdupq_n_s8(15)); }
static inline int8x16_t high_halves(int8x16_t x) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x), 4)); }
static inline Q low_halves(Q x) { return {low_halves(x.low), low_halves(x.high)}; }
static inline Q high_halves(Q x) { return {high_halves(x.low), high_halves(x.high)}; }
static inline Q shuffle(Q table, Q index) {
  return {vqtbl1q_s8(table.low, vreinterpretq_u8_s8(index.low)), vqtbl1q_s8(table.high, vreinterpretq_u8_s8(index.high))};
}
static inline int8x16_t with_sixteen(int8x16_t w, int8x16_t x, int8x16_t bits) {
  return vorrq_s8(w, vreinterpretq_s8_u8(vandq_u8(vtstq_s8(x, bits), vdupq_n_u8(16))));
}
static inline Q with_sixteen(Q w, Q x, Q bits) {
  return {with_sixteen(w.low, x.low, bits.low), with_sixteen(w.high, x.high, bits.high)};
}
template <class Get>
static inline F spread_each(Get get) {
  return {vdupq_n_f32(get(0)), vdupq_n_f32(get(1))};
}
static inline F spread(const float* sixteen, size_t first, size_t apart) {
  return spread_each([&](size_t part) { return sixteen[first + part * apart]; });
}
static inline F spread_halves(const uint8_t* p, size_t apart) { return {set_half(p).low, set_half(p + apart).low}; }
static inline int32_t reduce_i(I x) { return vaddvq_s32(vreinterpretq_s32_u32(vaddq_u32(x.low, x.high))); }
static inline void reduce4_i(I a, I b, I c, I d, int32_t* out) {
  out[0] = reduce_i(a);
  out[1] = reduce_i(b);
  out[2] = reduce_i(c);
  out[3] = reduce_i(d);
}
// Sums of two products fit 16 bits: 2 * 128 * 127.
static inline int16x8_t dots(int8x16_t w, int8x16_t x) { return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x); }
static inline int16x8_t dots(int16x8_t sum, int8x16_t w, int8x16_t x) {
  return vmlal_high_s8(vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x)), w, x);
}
static inline uint32x4_t add_pairs(uint32x4_t sum, int16x8_t pairs) {
  return vreinterpretq_u32_s32(vpadalq_s16(vreinterpretq_s32_u32(sum), pairs));
}
struct Signed {
  Q values;
};
static inline Signed with_sign(Q w) { return {w}; }
static inline I add_dots(I sum, const Signed& w, Q x) {
  return {add_pairs(sum.low, dots(w.values.low, x.low)), add_pairs(sum.high, dots(w.values.high, x.high))};
}
using Biased = Signed;
constexpr int kBias = 0;
static inline Biased with_bias(Q w) { return with_sign(w); }

constexpr bool kAnyBytes = false;
constexpr int kWideOffset = 0;
constexpr bool kMultipliesOpened = false;
static inline Q wide(Q w) { return w; }
static inline I add_narrow(I sum, const Q& w, const Q& x) { return add_dots(sum, with_sign(w), x); }
// Of bytes below 32: sums of four products fit 16 bits.
static inline I add_narrow(I sum, const Q& w0, const Q& x0, const Q& w1, const Q& x1) {
  return {add_pairs(sum.low, dots(dots(w0.low, x0.low), w1.low, x1.low)),
          add_pairs(sum.high, dots(dots(w0.high, x0.high), w1.high, x1.high))};
}

#include "generic/kernels.inc"

#include "generic/integer_steps.inc"

static const Kernels table = LMHEAD_KERNEL_TABLE("neon");

}  // namespace neon
}  // namespace lmhead
#endif

namespace lmhead {
#if LMHEAD_ARM64
const Kernels* neon_kernels() { return &neon::table; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif
}  // namespace lmhead
