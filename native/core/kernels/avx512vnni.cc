// Integer products by AVX-512 VNNI: Cascade Lake (2019), Zen 4 (2022) and later. Everything else as in the AVX-512 table.
#include <cstring>
#include <limits>

#include "kernels.h"

#include "generic/region.h"

#if LMHEAD_X86
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx512vnni,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
namespace lmhead {
namespace avx512vnni {

#include "generic/avx512.inc"

// Of weights plus 128, which have no sign: 128 times the sum of the state's values is then too much.
struct Biased {
  Q values;
};
constexpr int kBias = 128;
static inline Biased with_bias(Q w) { return {_mm512_xor_si512(w, _mm512_set1_epi8(-128))}; }
static inline I add_dots(I sum, const Biased& w, Q x) { return _mm512_dpbusd_epi32(sum, w.values, x); }

// Any bytes without a sign, so that those with one are 128 too large.
constexpr bool kAnyBytes = true;
constexpr int kWideOffset = kBias;
constexpr bool kMultipliesOpened = false;
static inline Q wide(Q w) { return with_bias(w).values; }
static inline I add_narrow(I sum, Q w, Q x) { return _mm512_dpbusd_epi32(sum, w, x); }
static inline I add_narrow(I sum, Q w0, Q x0, Q w1, Q x1) { return add_narrow(add_narrow(sum, w0, x0), w1, x1); }

#include "generic/blocks.inc"
#include "generic/integer.inc"

// As generic/kernels.inc has it of floats.
static float int8_multiply_adds(size_t count) {
  constexpr int kChains = 12;
  I acc[kChains];
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) acc[j] = zero_i();
  const Q a = _mm512_set1_epi8(1);
  for (size_t i = 0; i < count; i += kChains * kIntegers) {
    LMHEAD_UNROLL
    for (int j = 0; j < kChains; j++) acc[j] = _mm512_dpbusd_epi32(acc[j], acc[j], a);
  }
  I all = acc[0];
  LMHEAD_UNROLL
  for (int j = 1; j < kChains; j++) all = _mm512_add_epi32(all, acc[j]);
  return static_cast<float>(reduce_i(all));
}

constexpr decltype(Kernels::integer_product) kProducts = LMHEAD_INTEGER_PRODUCTS;
constexpr decltype(Kernels::packed_planes) kPacked = LMHEAD_PACKED_PLANES;

}  // namespace avx512vnni
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
// Out of the region: whoever asks for a table need not be a CPU that can use it.
const Kernels* avx512_vnni_kernels() {
#if LMHEAD_X86
  static const Kernels table = [] {
    Kernels all = *avx512_kernels();
    for (size_t i = 0; i < kDtypes; i++) {
      all.integer_product[i] = avx512vnni::kProducts[i];
      all.packed_planes[i] = avx512vnni::kPacked[i];
    }
    all.int8_multiply_adds = avx512vnni::int8_multiply_adds;
    return all;
  }();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
