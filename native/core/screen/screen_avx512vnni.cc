// Products of bytes by AVX-512 VNNI.
#include <cstring>

#include "kernels.h"

#include "../kernels/generic/region.h"

#if LMHEAD_AVX512
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512vnni,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead::screen {
namespace avx512vnni {

#include "x86.inc"

struct Sums {
  __m512i v[2];
};
static inline Sums no_sums() { return {{_mm512_setzero_si512(), _mm512_setzero_si512()}}; }
static inline F floats_of(const Sums& sums, size_t first) {
  const __m512i x = sums.v[first / 16];
  return _mm256_cvtepi32_ps(first % 16 ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x));
}

static inline void add_block(const uint8_t* block, const uint8_t* factors, const int8_t* values, int32_t sum, Sums& sums) {
  __m512i low[2], high[2];
  LMHEAD_UNROLL
  for (size_t r = 0; r < 2; r++) low[r] = high[r] = _mm512_setzero_si512();
  const __m512i mask = _mm512_set1_epi8(15);
  LMHEAD_UNROLL
  for (size_t line = 0; line < kBlock / kLanes; line++) {
    prefetch_far(block + kLineBytes * line + kPrefetchDistance);
    prefetch_far(block + kLineBytes * line + kPrefetchDistance + kLineBytes / 2);
    const __m512i v_low = _mm512_set1_epi32(four_values(values + kLanes * line));
    const __m512i v_high = _mm512_set1_epi32(four_values(values + kLanes * line + 4));
    LMHEAD_UNROLL
    for (size_t r = 0; r < 2; r++) {
      const __m512i q = _mm512_loadu_si512(block + kLineBytes * line + 64 * r);
      low[r] = _mm512_dpbusd_epi32(low[r], _mm512_and_si512(q, mask), v_low);
      high[r] = _mm512_dpbusd_epi32(high[r], _mm512_and_si512(_mm512_srli_epi16(q, 4), mask), v_high);
    }
  }
  const __m512i too_much = _mm512_set1_epi32(sum);
  LMHEAD_UNROLL
  for (size_t r = 0; r < 2; r++) {
    const __m512i dots = _mm512_add_epi32(low[r], high[r]);
    const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(factors + 16 * r)));
    const __m512i twice = _mm512_sub_epi32(_mm512_add_epi32(dots, dots), too_much);
    sums.v[r] = _mm512_add_epi32(sums.v[r], _mm512_mullo_epi32(twice, c));
  }
}

#include "screen.inc"

static const Kernels table = LMHEAD_SCREEN_TABLE;

}  // namespace avx512vnni
}  // namespace lmhead::screen
LMHEAD_END_REGION
#endif

namespace lmhead::screen {
#if LMHEAD_AVX512
const Kernels* avx512_vnni_kernels() { return &avx512vnni::table; }
#else
const Kernels* avx512_vnni_kernels() { return nullptr; }
#endif
}  // namespace lmhead::screen
