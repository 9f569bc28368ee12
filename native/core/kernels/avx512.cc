// AVX-512 F, DQ, BW, VL: Skylake-SP (2017), Zen 4 (2022) and later.
#include <cstring>
#include <limits>

#include "kernels.h"

#include "generic/region.h"

#if LMHEAD_X86
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512 {

#include "generic/avx512.inc"

// Bytes are multiplied without a sign on one side: so it goes to the other.
struct Signed {
  Q magnitude;
  __mmask64 negative;
};
static inline Signed with_sign(Q w) { return {_mm512_abs_epi8(w), _mm512_movepi8_mask(w)}; }
static inline Q times_sign(Q x, const Signed& w) { return _mm512_mask_sub_epi8(x, w.negative, zero_i(), x); }
// Sums of two products fit 16 bits: 2 * 128 * 127.
static inline I add_dots(I sum, const Signed& w, Q x) {
  const __m512i pairs = _mm512_maddubs_epi16(w.magnitude, times_sign(x, w));
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
using Biased = Signed;
constexpr int kBias = 0;
static inline Biased with_bias(Q w) { return with_sign(w); }

// Bytes below 64 have no sign to move.
constexpr bool kAnyBytes = false;
constexpr int kWideOffset = 0;
constexpr bool kMultipliesOpened = false;
static inline Q wide(Q w) { return w; }
static inline I add_pairs(I sum, __m512i pairs) { return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))); }
static inline I add_narrow(I sum, Q w, Q x) { return add_pairs(sum, _mm512_maddubs_epi16(w, x)); }
// Of bytes below 32: sums of four products fit 16 bits.
static inline I add_narrow(I sum, Q w0, Q x0, Q w1, Q x1) {
  return add_pairs(sum, _mm512_add_epi16(_mm512_maddubs_epi16(w0, x0), _mm512_maddubs_epi16(w1, x1)));
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
