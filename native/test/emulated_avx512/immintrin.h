// Stands before the compiler's own <immintrin.h> where kernels for AVX-512 are tested on a CPU with AVX2 (LMHEAD_EMULATE_AVX512
// in CMakeLists.txt). SIMDe has nearly all of their intrinsics in plain C; here is what its version 0.7.4 lacks, or has wrong.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NATURAL_VECTOR_SIZE 256
#include <simde/x86/avx512.h>

#include <cmath>
#include <cstdint>
#include <cstring>

// The kernels are compiled for what is here.
#undef LMHEAD_BEGIN_REGION
#undef LMHEAD_END_REGION
#define LMHEAD_BEGIN_REGION(target_list)
#define LMHEAD_END_REGION

namespace emulated_avx512 {

// A vector as its two halves, or as its lanes.
template <class To, class From>
static inline To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
struct Floats {
  __m256 low, high;
};
struct Doubles {
  __m256d low, high;
};
struct Integers {
  __m256i low, high;
};
template <class T, size_t kLanes>
struct Lanes {
  T at[kLanes] = {};
};

static inline __m512i cvtepu8_epi32(__m128i x) {
  return as<__m512i>(Integers{_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))});
}
static inline __m512i cvtepi8_epi32(__m128i x) {
  return as<__m512i>(Integers{_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))});
}
static inline __m512i cvtepu16_epi32(__m256i x) {
  return as<__m512i>(
      Integers{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1))});
}
// Lanes of 32 bits, each converted.
template <class From, class To, class Vector>
static inline Vector converted(__m512i x) {
  const auto from = as<Lanes<From, 16>>(x);
  Lanes<To, 16> to;
  for (size_t i = 0; i < 16; i++) to.at[i] = static_cast<To>(from.at[i]);
  return as<Vector>(to);
}
static inline __m512 cvtph_ps(__m256i x) {
  return as<__m512>(Floats{_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))});
}
static inline __m512d cvtps_pd(__m256 x) {
  return as<__m512d>(Doubles{_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))});
}
static inline __m512d cvtepi32_pd(__m256i x) {
  return as<__m512d>(Doubles{_mm256_cvtepi32_pd(_mm256_castsi256_si128(x)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(x, 1))});
}
static inline __m256 cvtpd_ps(__m512d x) {
  const Doubles halves = as<Doubles>(x);
  return _mm256_set_m128(_mm256_cvtpd_ps(halves.high), _mm256_cvtpd_ps(halves.low));
}
static inline __m256 extractf32x8_ps(__m512 x, int half) {
  const Floats halves = as<Floats>(x);
  return half ? halves.high : halves.low;
}
static inline float reduce_max_ps(__m512 x) {
  const auto lanes = as<Lanes<float, 16>>(x);
  float most = lanes.at[0];
  for (const float lane : lanes.at) most = lane > most ? lane : most;
  return most;
}
static inline __m512i madd_epi16(__m512i a, __m512i b) {
  const Integers x = as<Integers>(a), y = as<Integers>(b);
  return as<__m512i>(Integers{_mm256_madd_epi16(x.low, y.low), _mm256_madd_epi16(x.high, y.high)});
}

// Memory is touched where the mask has a bit, and nowhere else.
template <class T, size_t kLanes, class Vector>
static inline Vector load_masked(Vector others, uint64_t mask, const void* from) {
  auto lanes = as<Lanes<T, kLanes>>(others);
  for (size_t i = 0; i < kLanes; i++)
    if (mask >> i & 1) std::memcpy(&lanes.at[i], static_cast<const T*>(from) + i, sizeof(T));
  return as<Vector>(lanes);
}
static inline void mask_storeu_ps(void* to, __mmask16 mask, __m512 x) {
  const auto lanes = as<Lanes<float, 16>>(x);
  for (size_t i = 0; i < 16; i++)
    if (mask >> i & 1) std::memcpy(static_cast<float*>(to) + i, &lanes.at[i], sizeof(float));
}

template <class T, size_t kLanes>
static inline uint64_t less(__m512i a, __m512i b) {
  const auto x = as<Lanes<T, kLanes>>(a), y = as<Lanes<T, kLanes>>(b);
  uint64_t mask = 0;
  for (size_t i = 0; i < kLanes; i++) mask |= uint64_t{x.at[i] < y.at[i]} << i;
  return mask;
}

template <int mode>
static inline __m512 round_ps(__m512 x) {
  const Floats halves = as<Floats>(x);
  return as<__m512>(Floats{_mm256_round_ps(halves.low, mode), _mm256_round_ps(halves.high, mode)});
}
template <int mode>
static inline __m512d round_pd(__m512d x) {
  const Doubles halves = as<Doubles>(x);
  return as<__m512d>(Doubles{_mm256_round_pd(halves.low, mode), _mm256_round_pd(halves.high, mode)});
}
// a times two to the power of b, rounded down; beyond these limits the result is 0 or an infinity whatever a is.
template <class T, size_t kLanes, class Vector>
static inline Vector scalef(Vector a, Vector b) {
  auto x = as<Lanes<T, kLanes>>(a);
  const auto y = as<Lanes<T, kLanes>>(b);
  for (size_t i = 0; i < kLanes; i++) {
    const T n = y.at[i];
    x.at[i] = std::isnan(n) ? n : std::ldexp(x.at[i], static_cast<int>(std::fmax(std::fmin(std::floor(n), T{5000}), T{-5000})));
  }
  return as<Vector>(x);
}

}  // namespace emulated_avx512

#undef _mm512_madd_epi16
#undef _mm512_maskz_loadu_epi8
#undef _mm512_cvtepu32_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_roundscale_ps
#undef _mm512_roundscale_pd
#undef _mm512_scalef_ps
#undef _mm512_scalef_pd
#define _mm512_cvtepu8_epi32 emulated_avx512::cvtepu8_epi32
#define _mm512_cvtepi8_epi32 emulated_avx512::cvtepi8_epi32
#define _mm512_cvtepu16_epi32 emulated_avx512::cvtepu16_epi32
#define _mm512_cvtepi32_epi16 emulated_avx512::converted<int32_t, int16_t, __m256i>
#define _mm512_cvtepi32_ps emulated_avx512::converted<int32_t, float, __m512>
#define _mm512_cvtepu32_ps emulated_avx512::converted<uint32_t, float, __m512>
#define _mm512_cvtph_ps emulated_avx512::cvtph_ps
#define _mm512_cvtps_pd emulated_avx512::cvtps_pd
#define _mm512_cvtepi32_pd emulated_avx512::cvtepi32_pd
#define _mm512_cvtpd_ps emulated_avx512::cvtpd_ps
#define _mm512_extractf32x8_ps emulated_avx512::extractf32x8_ps
#define _mm512_reduce_max_ps emulated_avx512::reduce_max_ps
#define _mm512_madd_epi16 emulated_avx512::madd_epi16
#define _mm512_mask_loadu_ps emulated_avx512::load_masked<float, 16>
#define _mm512_maskz_loadu_ps(mask, from) emulated_avx512::load_masked<float, 16>(_mm512_setzero_ps(), mask, from)
#define _mm512_maskz_loadu_epi8(mask, from) emulated_avx512::load_masked<int8_t, 64>(_mm512_setzero_si512(), mask, from)
#define _mm512_maskz_loadu_epi16(mask, from) emulated_avx512::load_masked<int16_t, 32>(_mm512_setzero_si512(), mask, from)
#define _mm256_maskz_loadu_epi16(mask, from) emulated_avx512::load_masked<int16_t, 16>(_mm256_setzero_si256(), mask, from)
#define _mm512_mask_storeu_ps emulated_avx512::mask_storeu_ps
#define _mm512_cmplt_epu32_mask(a, b) static_cast<__mmask16>(emulated_avx512::less<uint32_t, 16>(a, b))
#define _mm512_cmplt_epu16_mask(a, b) static_cast<__mmask32>(emulated_avx512::less<uint16_t, 32>(a, b))
#define _mm512_roundscale_ps(x, mode) emulated_avx512::round_ps<mode>(x)
#define _mm512_roundscale_pd(x, mode) emulated_avx512::round_pd<mode>(x)
#define _mm512_scalef_ps emulated_avx512::scalef<float, 16>
#define _mm512_scalef_pd emulated_avx512::scalef<double, 8>
