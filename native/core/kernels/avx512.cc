// AVX-512 F, DQ, BW, VL: Skylake-SP (2017), Zen 4 (2022) and later.
#include <cstring>
#include <limits>

#include "interleaved_states.h"
#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_AVX512
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512 {

#include "generic/avx512.inc"

struct Signed {
  Q magnitude;
  __mmask64 negative;
};
static inline Signed with_sign(Q w) { return {_mm512_abs_epi8(w), _mm512_movepi8_mask(w)}; }
static inline Q times_sign(Q x, const Signed& w) { return _mm512_mask_sub_epi8(x, w.negative, zero_i(), x); }
static inline Q set_words(short x) { return _mm512_set1_epi16(x); }
static inline I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
static inline Q add_each_word(Q a, Q b) { return _mm512_add_epi16(a, b); }
static inline I multiply_words(Q w, Q x) { return _mm512_madd_epi16(w, x); }
static inline Q multiply_bytes(Q w, Q x) { return _mm512_maddubs_epi16(w, x); }
#include "generic/x86_signed_bytes.inc"

#include "generic/avx512_scales.inc"

#include "generic/kernels.inc"

#include "generic/integer_lanes.inc"

static constexpr Kernels with_rate_of_bytes(Kernels table) {
  table.int8_multiply_adds = int8_multiply_adds;
  return table;
}
static constexpr Kernels table = with_rate_of_bytes(LMHEAD_KERNEL_TABLE("avx512"));

}  // namespace avx512
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
#if LMHEAD_AVX512
const Kernels* avx512_kernels() { return &avx512::table; }
#else
const Kernels* avx512_kernels() { return nullptr; }
#endif
}  // namespace lmhead
