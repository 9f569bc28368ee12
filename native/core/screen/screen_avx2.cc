// Products of bytes by AVX2's maddubs.
#include <cstring>

#include "kernels.h"

#include "../kernels/generic/region.h"

#if LMHEAD_X86
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx2,fma,f16c")
namespace lmhead::screen {
namespace avx2 {

#include "x86.inc"

constexpr size_t kVectors = kTileRows / 8;
struct Sums {
  __m256i v[kVectors];
};
static inline Sums no_sums() {
  const __m256i zero = _mm256_setzero_si256();
  return {{zero, zero, zero, zero}};
}
static inline F floats_of(const Sums& sums, size_t first) { return _mm256_cvtepi32_ps(sums.v[first / 8]); }

// Of a row's low bits, and of its high ones, sums of pairs are at most 8 * 2 * 15 * 127 = 30,480: they fit 16 bits.
static inline void add_block(const uint8_t* block, const uint8_t* factors, const int8_t* values, int32_t sum, Sums& sums) {
  __m256i low[kVectors], high[kVectors];
  LMHEAD_UNROLL
  for (size_t r = 0; r < kVectors; r++) low[r] = high[r] = _mm256_setzero_si256();
  const __m256i mask = _mm256_set1_epi8(15);
  for (size_t line = 0; line < kBlock / kLanes; line++) {
    prefetch_far(block + kLineBytes * line + kPrefetchDistance);
    prefetch_far(block + kLineBytes * line + kPrefetchDistance + kLineBytes / 2);
    const __m256i v_low = _mm256_set1_epi32(four_values(values + kLanes * line));
    const __m256i v_high = _mm256_set1_epi32(four_values(values + kLanes * line + 4));
    LMHEAD_UNROLL
    for (size_t r = 0; r < kVectors; r++) {
      const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + kLineBytes * line) + r);
      low[r] = _mm256_add_epi16(low[r], _mm256_maddubs_epi16(_mm256_and_si256(q, mask), v_low));
      high[r] = _mm256_add_epi16(high[r], _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(q, 4), mask), v_high));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1), too_much = _mm256_set1_epi32(sum);
  LMHEAD_UNROLL
  for (size_t r = 0; r < kVectors; r++) {
    const __m256i dots = _mm256_add_epi32(_mm256_madd_epi16(low[r], ones), _mm256_madd_epi16(high[r], ones));
    const __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(factors + 8 * r)));
    const __m256i twice = _mm256_sub_epi32(_mm256_add_epi32(dots, dots), too_much);
    sums.v[r] = _mm256_add_epi32(sums.v[r], _mm256_mullo_epi32(twice, c));
  }
}

#include "screen.inc"

static const Kernels table = LMHEAD_SCREEN_TABLE;

}  // namespace avx2
}  // namespace lmhead::screen
LMHEAD_END_REGION
#endif

namespace lmhead::screen {
#if LMHEAD_X86
const Kernels* avx2_kernels() { return &avx2::table; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif
}  // namespace lmhead::screen
