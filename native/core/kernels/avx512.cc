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

// Sums of two products fit 16 bits: 2 * 128 * 127.
static inline I add_dots(I sum, const Signed& w, Q x) {
  const __m512i pairs = _mm512_maddubs_epi16(w.magnitude, times_sign(x, w));
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
using Biased = Signed;
constexpr int kBias = 0;
static inline Biased with_bias(Q w) { return with_sign(w); }

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
