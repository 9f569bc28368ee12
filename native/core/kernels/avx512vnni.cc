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

static inline I add_dots(I sum, const Signed& w, Q x) { return _mm512_dpbusd_epi32(sum, w.magnitude, times_sign(x, w)); }

// Of weights plus 128, which have no sign: 128 times the sum of the state's numbers is then too much.
struct Biased {
  Q numbers;
};
constexpr int kBias = 128;
static inline Biased with_bias(Q w) { return {_mm512_xor_si512(w, _mm512_set1_epi8(-128))}; }
static inline I add_dots(I sum, const Biased& w, Q x) { return _mm512_dpbusd_epi32(sum, w.numbers, x); }

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

static Kernels with_integer_products(Kernels table) {
  const decltype(Kernels::integer_product) products = LMHEAD_INTEGER_PRODUCTS;
  for (size_t i = 0; i < kDtypes; i++) table.integer_product[i] = products[i];
  table.int8_multiply_adds = int8_multiply_adds;
  return table;
}

}  // namespace avx512vnni
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
const Kernels* avx512_vnni_kernels() {
#if LMHEAD_X86
  static const Kernels table = avx512vnni::with_integer_products(*avx512_kernels());
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
