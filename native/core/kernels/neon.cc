// NEON (Advanced SIMD): every 64-bit ARM CPU, f16 conversion included.
#include <cstring>

#include "interleaved_states.h"
#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_ARM64
#include <arm_neon.h>

namespace lmhead {
namespace neon {

#include "generic/neon.inc"

// Sums of two products fit 16 bits: 2 * 128 * 127.
static inline int16x8_t dots(int8x16_t w, int8x16_t x) { return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x); }
static inline int16x8_t dots(int16x8_t sum, int8x16_t w, int8x16_t x) {
  return vmlal_high_s8(vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x)), w, x);
}
static inline uint32x4_t add_pairs(uint32x4_t sum, int16x8_t pairs) {
  return vreinterpretq_u32_s32(vpadalq_s16(vreinterpretq_s32_u32(sum), pairs));
}
struct Signed {
  Q values;
};
static inline Signed with_sign(Q w) { return {w}; }
static inline I add_dots(I sum, const Signed& w, Q x) {
  return {add_pairs(sum.low, dots(w.values.low, x.low)), add_pairs(sum.high, dots(w.values.high, x.high))};
}
using Biased = Signed;
constexpr int kBias = 0;
static inline Biased with_bias(Q w) { return with_sign(w); }

constexpr bool kAnyBytes = false;
constexpr int kWideOffset = 0;
constexpr bool kMultipliesOpened = false;
static inline Q wide(Q w) { return w; }
static inline I add_narrow(I sum, const Q& w, const Q& x) { return add_dots(sum, with_sign(w), x); }
// Of bytes below 32: sums of four products fit 16 bits.
static inline I add_narrow(I sum, const Q& w0, const Q& x0, const Q& w1, const Q& x1) {
  return {add_pairs(sum.low, dots(dots(w0.low, x0.low), w1.low, x1.low)),
          add_pairs(sum.high, dots(dots(w0.high, x0.high), w1.high, x1.high))};
}

#include "generic/kernels.inc"

#include "generic/integer_steps.inc"

static const Kernels table = LMHEAD_KERNEL_TABLE("neon");

}  // namespace neon
}  // namespace lmhead
#endif

namespace lmhead {
#if LMHEAD_ARM64
const Kernels* neon_kernels() { return &neon::table; }
#else
const Kernels* neon_kernels() { return nullptr; }
#endif
}  // namespace lmhead
