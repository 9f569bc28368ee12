// AVX2 with FMA and F16C: Haswell (2013), Zen (2017) and later. 16 registers of 8 floats.
#include <cstring>
#include <limits>

#include "interleaved_states.h"
#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

#if LMHEAD_X86
#include <immintrin.h>

LMHEAD_BEGIN_REGION("avx2,fma,f16c")
namespace lmhead {
namespace avx2 {

constexpr size_t kLanes = 8;
constexpr int kRows = 4, kColumns = 3, kQuantizedColumns = 3;
constexpr size_t kUnpackFrom = 8;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using F = __m256;
using D = __m256d;

static inline F set(float x) { return _mm256_set1_ps(x); }
static inline F zero() { return _mm256_setzero_ps(); }
static inline F load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, F x) { _mm256_storeu_ps(p, x); }

alignas(32) static const int32_t kMaskWords[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static inline __m256i first_lanes(size_t n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWords + kLanes - n));
}
static inline F load_partial(const float* p, size_t n, float padding) {
  const __m256i m = first_lanes(n);
  return _mm256_blendv_ps(set(padding), _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
}
static inline void store_partial(float* p, F x, size_t n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

template <Dtype dtype>
static inline F from_16_bit(__m128i bits) {
  if constexpr (dtype == Dtype::f16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
alignas(32) static const int8_t kUpperHalves[32] = {-1, -1, 0, 1, -1, -1, 2,  3,  -1, -1, 4,  5,  -1, -1, 6,  7,
                                                    -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15};
template <Dtype dtype>
static inline F load_weights(const uint8_t* p) {
  if constexpr (dtype == Dtype::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  if constexpr (dtype == Dtype::f16) return from_16_bit<dtype>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  // From a load that repeats them, one operation puts bytes where widening and a shift would.
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, _mm256_load_si256(reinterpret_cast<const __m256i*>(kUpperHalves))));
}
template <Dtype dtype>
static inline F load_weights_partial(const uint8_t* p, size_t n) {
  if constexpr (dtype == Dtype::f32) return _mm256_maskload_ps(reinterpret_cast<const float*>(p), first_lanes(n));
  alignas(16) uint16_t bits[kLanes] = {};
  memcpy(bits, p, n * sizeof *bits);
  return from_16_bit<dtype>(_mm_load_si128(reinterpret_cast<const __m128i*>(bits)));
}

static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
static inline F multiply(F a, F b) { return _mm256_mul_ps(a, b); }
static inline F multiply_add(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
static inline F maximum(F a, F b) { return _mm256_max_ps(a, b); }
static inline F minimum(F a, F b) { return _mm256_min_ps(a, b); }
static inline F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline F zero_where_less(F x, F limit, F value) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), value); }
static inline F scale_by_power_of_two(F p, F n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
}
static inline __m128 fold(F x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }

#include "generic/x86.inc"

static inline float reduce_max(F x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline uint32_t bits(F mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
static inline uint32_t nan_mask(F x) { return bits(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
static inline uint32_t greater_mask(F a, F b) { return bits(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
static inline uint32_t not_less_mask(F a, F b) { return bits(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
static inline uint32_t lanes_below(size_t n) { return n >= kLanes ? 0xffu : (1u << n) - 1; }

static inline D low_half(F x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
static inline D high_half(F x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
static inline F join(D low, D high) { return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low)); }
static inline void store_d(double* p, D x) { _mm256_storeu_pd(p, x); }
static inline D set_d(double x) { return _mm256_set1_pd(x); }
static inline D add_d(D a, D b) { return _mm256_add_pd(a, b); }
static inline D subtract_d(D a, D b) { return _mm256_sub_pd(a, b); }
static inline D multiply_d(D a, D b) { return _mm256_mul_pd(a, b); }
static inline D divide_d(D a, D b) { return _mm256_div_pd(a, b); }
static inline D min_d(D a, D b) { return _mm256_min_pd(a, b); }
static inline D abs_d(D x) { return _mm256_andnot_pd(set_d(-0.0), x); }
static inline D copy_sign_d(D x, D sign) {
  return _mm256_or_pd(_mm256_andnot_pd(set_d(-0.0), x), _mm256_and_pd(set_d(-0.0), sign));
}
static inline D round_d(D x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline D floor_d(D x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
static inline D scale_by_power_of_two_d(D p, D k) {
  // Adding 1.5 * 2^52 leaves the integer in the low bits.
  const __m256i biased = _mm256_castpd_si256(_mm256_add_pd(k, set_d(exact::kRounder + 1023)));
  return _mm256_mul_pd(p, _mm256_castsi256_pd(_mm256_slli_epi64(biased, 52)));
}
static inline D where_less_d(D a, D limit, D x, D y) { return _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, limit, _CMP_LT_OQ)); }
static inline double reduce_d(D x) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// The high words of eight ids' random bits, as fractions of one. 64-bit lane j holds block j, whose words are the low halves.
static inline F token_uniforms(const Stream& stream, uint32_t first_id) {
  __m256i c0 = _mm256_add_epi64(_mm256_set1_epi64x(first_id >> 1), _mm256_set_epi64x(3, 2, 1, 0));
  __m256i c1 = _mm256_set1_epi64x(stream.step), c2 = _mm256_set1_epi64x(static_cast<uint32_t>(stream.purpose)),
          c3 = _mm256_set1_epi64x(stream.number);
  const __m256i m0 = _mm256_set1_epi64x(philox::kMultiplier0), m1 = _mm256_set1_epi64x(philox::kMultiplier1);
  uint32_t k0 = stream.seed_low, k1 = stream.seed_high;
  for (int round = 0; round < philox::kRounds; round++, k0 += philox::kWeyl0, k1 += philox::kWeyl1) {
    const __m256i p0 = _mm256_mul_epu32(c0, m0), p1 = _mm256_mul_epu32(c2, m1);
    c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1), _mm256_set1_epi64x(k0));
    c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3), _mm256_set1_epi64x(k1));
    c1 = p1;
    c3 = p0;
  }
  const __m256i high = _mm256_blend_epi32(c0, _mm256_slli_epi64(c2, 32), 0xaa);
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(high, 1)), set(0x1p-31f));
}

// ---- integers, for quantized weights ----

using I = __m256i;

static inline I load_u8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
static inline I load_i8(const uint8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
static inline I bytes_of(uint64_t x) { return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(x))); }
static inline F to_float(I x) { return _mm256_cvtepi32_ps(x); }
static inline I low_bits(I x, int mask) { return _mm256_and_si256(x, _mm256_set1_epi32(mask)); }
static inline I either(I a, I b) { return _mm256_or_si256(a, b); }
static inline I shift_left(I x, unsigned n) { return _mm256_slli_epi32(x, static_cast<int>(n)); }
static inline I shift_right(I x, unsigned n) { return _mm256_srli_epi32(x, static_cast<int>(n)); }
static inline I where_bits(uint32_t bits, int value) {
  const I lane = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
  const I chosen = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane), lane);
  return _mm256_and_si256(chosen, _mm256_set1_epi32(value));
}
static inline F low_bits_in(const float* values, I x, F scale) {
  const F low = multiply(load(values), scale), high = multiply(load(values + 8), scale);
  const F bit_3 = _mm256_castsi256_ps(shift_left(x, 28));  // as the sign, which is what a blend looks at
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, x), _mm256_permutevar8x32_ps(high, x), bit_3);
}

static inline F set_half(const uint8_t* p) {
  short bits;
  std::memcpy(&bits, p, sizeof bits);
  return _mm256_cvtph_ps(_mm_set1_epi16(bits));
}

static inline F multiply_add_once(F a, F b, F c) { return multiply_add(a, b, c); }
static inline I load_nibbles(const uint8_t* p) {
  int word;
  std::memcpy(&word, p, sizeof word);
  return _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0));
}

#include "generic/eight_lanes.inc"

constexpr bool kLooksUpBytes = true;
struct ByteHalves {
  I low, high;  // sixteen bytes each, twice
};
static inline I repeat(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline ByteHalves look_up_halves(const uint8_t* p, const uint8_t* values) {
  const I table = repeat(values), both = repeat(p), low = _mm256_set1_epi8(15);
  return {_mm256_shuffle_epi8(table, _mm256_and_si256(both, low)),
          _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(both, 4), low))};
}
// To the top of lanes, as widening crosses halves, which takes longer.
alignas(32) static const int8_t kToTop[2][32] = {
    {-1, -1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1, 4, -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7},
    {-1, -1, -1, 8,  -1, -1, -1, 9,  -1, -1, -1, 10, -1, -1, -1, 11,
     -1, -1, -1, 12, -1, -1, -1, 13, -1, -1, -1, 14, -1, -1, -1, 15}};
static inline I eight_of(const ByteHalves& x, size_t i) {
  const I places = _mm256_load_si256(reinterpret_cast<const __m256i*>(kToTop[i % 16 / 8]));
  return _mm256_srai_epi32(_mm256_shuffle_epi8(i < 16 ? x.low : x.high, places), 24);
}

static inline void store_halves(uint8_t* p, const ByteHalves& x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_blend_epi32(x.low, x.high, 0xf0));
}

// ---- integers ----

using Q = __m256i;
constexpr int kIntegerRows = 4, kPlanes = 2, kStepPlanes = 4;

static inline I zero_i() { return _mm256_setzero_si256(); }
static inline Q load_q(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
static inline Q load_parts(const uint8_t* p, size_t apart) {
  return _mm256_blend_epi32(repeat(p), repeat(p + apart), 0xf0);  // an insertion is made by one unit alone
}
static inline Q low_halves(Q x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
static inline Q high_halves(Q x) { return low_halves(_mm256_srli_epi16(x, 4)); }
static inline Q shuffle(Q table, Q index) { return _mm256_shuffle_epi8(table, index); }
// offset: 0, or 16 taken away, from what has no fifth bit.
template <int offset = 0>
static inline Q with_sixteen(Q w, Q x, Q bits) {
  const Q has_bit = _mm256_cmpeq_epi8(_mm256_and_si256(x, bits), bits);
  return _mm256_or_si256(
      w, offset == 16 ? _mm256_andnot_si256(has_bit, _mm256_set1_epi8(-16)) : _mm256_and_si256(has_bit, _mm256_set1_epi8(16)));
}
// which_byte: of the word, for each byte; which_bit: of that.
template <int offset>
static inline ByteHalves with_fifth_bits(const uint8_t* halves, const uint8_t* word, const uint8_t (*which_byte)[16],
                                         const uint8_t* which_bit) {
  int fifth;
  std::memcpy(&fifth, word, sizeof fifth);
  const Q both = repeat(halves), bytes = _mm256_set1_epi32(fifth), bit = repeat(which_bit);
  return {with_sixteen<offset>(low_halves(both), shuffle(bytes, repeat(which_byte[0])), bit),
          with_sixteen<offset>(high_halves(both), shuffle(bytes, repeat(which_byte[1])), bit)};
}
template <class Get>
static inline F spread_each(Get get) {
  return _mm256_set_m128(_mm_set1_ps(get(1)), _mm_set1_ps(get(0)));
}
static inline F spread(const float* sixteen, size_t first, size_t apart) {
  const __m256i part = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
  const __m256i at = _mm256_mullo_epi32(part, _mm256_set1_epi32(static_cast<int>(apart)));
  // Both lie in the same half.
  return _mm256_permutevar8x32_ps(load(sixteen + first / 8 * 8), _mm256_add_epi32(at, _mm256_set1_epi32(first % 8)));
}
static inline F spread_halves(const uint8_t* p, size_t apart) {
  uint16_t low, high;
  std::memcpy(&low, p, sizeof low);
  std::memcpy(&high, p + apart, sizeof high);
  const __m128i both = _mm_insert_epi16(_mm_cvtsi32_si128(low), high, 1);
  return _mm256_cvtph_ps(_mm_shuffle_epi8(both, _mm_set_epi8(3, 2, 3, 2, 3, 2, 3, 2, 1, 0, 1, 0, 1, 0, 1, 0)));
}
static inline __m128i fold_i(I x) { return _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }
#include "generic/x86_integer.inc"
struct Signed {
  Q magnitude, values;
};
static inline Signed with_sign(Q w) { return {_mm256_abs_epi8(w), w}; }
static inline Q times_sign(Q x, const Signed& w) { return _mm256_sign_epi8(x, w.values); }
static inline Q set_words(short x) { return _mm256_set1_epi16(x); }
static inline I add_i(I a, I b) { return _mm256_add_epi32(a, b); }
static inline Q add_each_word(Q a, Q b) { return _mm256_add_epi16(a, b); }
static inline I multiply_words(Q w, Q x) { return _mm256_madd_epi16(w, x); }
static inline Q multiply_bytes(Q w, Q x) { return _mm256_maddubs_epi16(w, x); }
constexpr bool kMultipliesOpened = true;
#include "generic/x86_signed_bytes.inc"

#include "generic/kernels.inc"

#include "generic/integer_steps.inc"

// ---- integers of 16 bits ----

static inline Q load_words(const uint8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// Of sixteen bytes in either half the first eight, and the others: with their sign, or too large by an offset.
static inline Q widened(Q twice, Q wide, bool has_sign, int offset) {
  return has_sign ? _mm256_srai_epi16(twice, 8) : _mm256_sub_epi16(wide, _mm256_set1_epi16(static_cast<short>(offset)));
}
template <bool has_sign>
static inline Q first_words(Q w, int offset) {
  return widened(_mm256_unpacklo_epi8(w, w), _mm256_unpacklo_epi8(w, zero_i()), has_sign, offset);
}
template <bool has_sign>
static inline Q last_words(Q w, int offset) {
  return widened(_mm256_unpackhi_epi8(w, w), _mm256_unpackhi_epi8(w, zero_i()), has_sign, offset);
}
static inline Q multiply_each_word(Q x, short y) { return _mm256_mullo_epi16(x, set_words(y)); }
static inline Q words_of(uint64_t first, uint64_t second) {
  return _mm256_cvtepi8_epi16(_mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first)));
}
static inline Q join_parts(Q lower, Q upper) { return _mm256_blend_epi32(lower, upper, 0xf0); }
static inline I spread_lanes(I x, size_t lower, size_t upper) {
  const int a = static_cast<int>(lower), b = static_cast<int>(upper);
  return _mm256_permutevar8x32_epi32(x, _mm256_set_epi32(b, b, b, b, a, a, a, a));
}
// to[i]: words 2i and 2i + 1, each eight times.
static inline void spread_words(Q words, Q* to) {
  const Q pairs[2] = {_mm256_unpacklo_epi16(words, words), _mm256_unpackhi_epi16(words, words)};
  LMHEAD_UNROLL
  for (size_t i = 0; i < 8; i++) {
    const size_t first = i / 4 * 4 + i % 2 * 2;
    to[i] = spread_lanes(pairs[i / 2 % 2], first, first + 1);
  }
}
static inline double reduce_wide(I x) {
  return reduce_d(
      _mm256_add_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(x)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(x, 1))));
}

#include "generic/integer_words.inc"

static constexpr Kernels table = with_words(LMHEAD_KERNEL_TABLE("avx2"));

}  // namespace avx2
}  // namespace lmhead
LMHEAD_END_REGION
#endif

namespace lmhead {
#if LMHEAD_X86
const Kernels* avx2_kernels() { return &avx2::table; }
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif
}  // namespace lmhead
