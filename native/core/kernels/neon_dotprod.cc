// Integer products by SDOT (FEAT_DotProd): Cortex-A76 and later, Neoverse N1 (Graviton 2), Apple's since A13 and M1. Everything
// else as in the NEON table.
#include <cstring>

#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_ARM64
#include <arm_neon.h>

LMHEAD_BEGIN_REGION(LMHEAD_TARGET_DOTPROD)
namespace lmhead {
namespace neon_dotprod {

#include "generic/neon.inc"

#include "generic/neon_dots.inc"

#include "generic/blocks.inc"
#include "generic/integer.inc"

#include "generic/integer_steps.inc"

// As generic/kernels.inc has it of floats.
static float int8_multiply_adds(size_t count) {
  constexpr int kChains = 16;
  uint32x4_t acc[kChains];
  LMHEAD_UNROLL
  for (int j = 0; j < kChains; j++) acc[j] = vdupq_n_u32(static_cast<uint32_t>(j));  // or compilers make one chain of equal ones
  const int8x16_t none = vdupq_n_s8(0);
  for (size_t i = 0; i < count; i += kChains * 16) {
    LMHEAD_UNROLL
    for (int j = 0; j < kChains; j++) acc[j] = dots(acc[j], none, none);
  }
  uint32x4_t all = acc[0];
  LMHEAD_UNROLL
  for (int j = 1; j < kChains; j++) all = vaddq_u32(all, acc[j]);
  return static_cast<float>(vaddvq_u32(all));
}

constexpr decltype(Kernels::integer_product) kProducts = LMHEAD_INTEGER_PRODUCTS;
constexpr decltype(Kernels::packed_planes) kPacked = LMHEAD_PACKED_PLANES;

}  // namespace neon_dotprod
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
// Out of the region: whoever asks for a table need not be a CPU that can use it.
const Kernels* neon_dotprod_kernels() {
#if LMHEAD_ARM64
  static const Kernels table = [] {
    Kernels all = with_integer_products(*neon_kernels(), neon_dotprod::kProducts, neon_dotprod::kPacked);
    all.name = "neon_dotprod";
    all.int8_multiply_adds = neon_dotprod::int8_multiply_adds;
    return all;
  }();
  return &table;
#else
  return nullptr;
#endif
}
}  // namespace lmhead
