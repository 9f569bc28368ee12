// AVX-512 F, DQ, BW, VL: Skylake-SP (2017), Zen 4 (2022) and later. 32 registers of 16 floats.
#include <cstring>
#include <limits>

#include "kernels.h"

#include "generic/region.h"

#if LMHEAD_X86
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512 {

constexpr size_t kLanes = 16;
constexpr int kRows = 4, kColumns = 6;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using F = __m512;
using D = __m512d;

static inline F set(float x) { return _mm512_set1_ps(x); }
static inline F zero() { return _mm512_setzero_ps(); }
static inline F load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
static inline uint32_t lanes_below(size_t n) { return n >= kLanes ? 0xffffu : (1u << n) - 1; }
static inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>(lanes_below(n)); }
static inline F load_partial(const float* p, size_t n, float padding) {
  return _mm512_mask_loadu_ps(set(padding), first_lanes(n), p);
}
static inline void store_partial(float* p, F x, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

template <Dtype dtype>
static inline F from_16_bit(__m256i bits) {
  if constexpr (dtype == Dtype::f16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
template <Dtype dtype>
static inline F load_weights(const uint8_t* p) {
  if constexpr (dtype == Dtype::f32) return _mm512_loadu_ps(p);
  return from_16_bit<dtype>(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <Dtype dtype>
static inline F load_weights_partial(const uint8_t* p, size_t n) {
  if constexpr (dtype == Dtype::f32) return _mm512_maskz_loadu_ps(first_lanes(n), p);
  return from_16_bit<dtype>(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
static inline F multiply(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F multiply_add(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
static inline F maximum(F a, F b) { return _mm512_max_ps(a, b); }
static inline F minimum(F a, F b) { return _mm512_min_ps(a, b); }
static inline F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline F zero_where_less(F x, F limit, F value) {
  return _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), zero());
}
static inline F scale_by_power_of_two(F p, F n) { return _mm512_scalef_ps(p, n); }
static inline __m128 fold(F x) {
  const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

#include "generic/x86.inc"

static inline float reduce_max(F x) { return _mm512_reduce_max_ps(x); }
static inline uint32_t nan_mask(F x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
static inline uint32_t greater_mask(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline uint32_t not_less_mask(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }

static inline D low_half(F x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
static inline D high_half(F x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
static inline F join(D low, D high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}
static inline void store_d(double* p, D x) { _mm512_storeu_pd(p, x); }
static inline D set_d(double x) { return _mm512_set1_pd(x); }
static inline D add_d(D a, D b) { return _mm512_add_pd(a, b); }
static inline D subtract_d(D a, D b) { return _mm512_sub_pd(a, b); }
static inline D multiply_d(D a, D b) { return _mm512_mul_pd(a, b); }
static inline D divide_d(D a, D b) { return _mm512_div_pd(a, b); }
static inline D min_d(D a, D b) { return _mm512_min_pd(a, b); }
static inline D abs_d(D x) { return _mm512_andnot_pd(set_d(-0.0), x); }
static inline D copy_sign_d(D x, D sign) {
  return _mm512_or_pd(_mm512_andnot_pd(set_d(-0.0), x), _mm512_and_pd(set_d(-0.0), sign));
}
static inline D round_d(D x) { return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline D floor_d(D x) { return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
static inline D scale_by_power_of_two_d(D p, D k) { return _mm512_scalef_pd(p, k); }
static inline D where_less_d(D a, D limit, D x, D y) {
  return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(a, limit, _CMP_LT_OQ), x);
}
static inline double reduce_d(D x) {
  const __m256d a = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd(x, 1));
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// The high words of sixteen ids' random bits, as fractions of one. 64-bit lane j holds block j, whose words are the low halves.
static inline F token_uniforms(const Stream& stream, uint32_t first_id) {
  __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64(first_id >> 1), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
  __m512i c1 = _mm512_set1_epi64(stream.step), c2 = _mm512_set1_epi64(static_cast<uint32_t>(stream.purpose)),
          c3 = _mm512_setzero_si512();
  const __m512i m0 = _mm512_set1_epi64(philox::kMultiplier0), m1 = _mm512_set1_epi64(philox::kMultiplier1);
  uint32_t k0 = stream.seed_low, k1 = stream.seed_high;
  for (int round = 0; round < philox::kRounds; round++, k0 += philox::kWeyl0, k1 += philox::kWeyl1) {
    const __m512i p0 = _mm512_mul_epu32(c0, m0), p1 = _mm512_mul_epu32(c2, m1);
    c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, _mm512_set1_epi64(k0), 0x96);  // a ^ b ^ c
    c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, _mm512_set1_epi64(k1), 0x96);
    c1 = p1;
    c3 = p0;
  }
  const __m512i high = _mm512_mask_blend_epi32(0xaaaa, c0, _mm512_slli_epi64(c2, 32));
  return _mm512_mul_ps(_mm512_cvtepu32_ps(high), set(0x1p-32f));
}

// ---- integers, for quantised weights ----

using I = __m512i;

static inline I load_u8(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline I load_i8(const uint8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
static inline I bytes_of(uint64_t x) { return _mm512_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(x))); }
static inline F to_float(I x) { return _mm512_cvtepi32_ps(x); }
static inline I low_bits(I x, int mask) { return _mm512_and_si512(x, _mm512_set1_epi32(mask)); }
static inline I either(I a, I b) { return _mm512_or_si512(a, b); }
static inline I shift_right(I x, unsigned n) { return _mm512_srli_epi32(x, n); }
static inline I where_bits(uint32_t bits, int value) { return _mm512_maskz_set1_epi32(static_cast<__mmask16>(bits), value); }
static inline F sixteen_numbers() { return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }
// All sixteen results are one table, and the four low bits of a lane pick from it.
static inline F low_bits_times(I x, F scale, F offset) {
  return _mm512_permutexvar_ps(x, multiply_add(sixteen_numbers(), scale, offset));
}
static inline F low_bits_from(I x, float lowest, F scale) {
  return _mm512_permutexvar_ps(x, multiply(add(sixteen_numbers(), set(lowest)), scale));
}
static inline F low_bits_in(const float* values, I x, F scale) { return _mm512_permutexvar_ps(x, multiply(load(values), scale)); }

static inline F set_half(const uint8_t* p) {
  short bits;
  std::memcpy(&bits, p, sizeof bits);
  return _mm512_cvtph_ps(_mm256_set1_epi16(bits));
}

#include "generic/kernels.inc"

static const Kernels table = LMHEAD_KERNEL_TABLE("avx512");

}  // namespace avx512
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
#if LMHEAD_X86
const Kernels* avx512_kernels() { return &avx512::table; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif
}  // namespace lmhead
