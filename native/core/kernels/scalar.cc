// Plain C++: runs anywhere, and is what the other tables are read against. Its "vectors" are small arrays, which a compiler
// turns into whatever the baseline CPU has.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "interleaved_states.h"
#include "kernels.h"
#include "row_tiles.h"

#include "generic/region.h"

namespace lmhead {
namespace scalar {

constexpr size_t kLanes = 8;
constexpr int kRows = 4, kColumns = 2, kQuantizedColumns = 1;
constexpr size_t kUnpackFrom = 4;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct F {
  float v[kLanes];
};
struct D {
  double v[kLanes / 2];
};

template <class Function>
static inline F lanes(Function f) {
  F y;
  for (size_t i = 0; i < kLanes; i++) y.v[i] = f(i);
  return y;
}
template <class Function>
static inline D lanes_d(Function f) {
  D y;
  for (size_t i = 0; i < kLanes / 2; i++) y.v[i] = f(i);
  return y;
}
template <class Function>
static inline uint32_t mask(Function f) {
  uint32_t m = 0;
  for (size_t i = 0; i < kLanes; i++) m |= static_cast<uint32_t>(f(i)) << i;
  return m;
}

static inline F set(float x) {
  return lanes([&](size_t) { return x; });
}
static inline F zero() { return set(0); }
static inline F load(const float* p) {
  F y;
  std::memcpy(y.v, p, sizeof y.v);
  return y;
}
static inline F load_partial(const float* p, size_t n, float padding) {
  return lanes([&](size_t i) { return i < n ? p[i] : padding; });
}
static inline void store(float* p, F x) { std::memcpy(p, x.v, sizeof x.v); }
static inline void store_partial(float* p, F x, size_t n) { std::memcpy(p, x.v, n * sizeof(float)); }

static inline float float_from_half(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fff) << 13;
  if (rest >= 0x0f800000) return std::bit_cast<float>(sign | 0x70000000 | rest);  // infinity and NaN: exponent 255
  const float magnitude = std::bit_cast<float>(rest) * 0x1p112f;                  // exact, subnormals included
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}
template <Dtype dtype>
static inline float weight(const uint8_t* p) {
  if constexpr (dtype == Dtype::f32) {
    float x;
    std::memcpy(&x, p, sizeof x);
    return x;
  } else {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return dtype == Dtype::f16 ? float_from_half(bits) : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
}
template <Dtype dtype>
static inline F load_weights(const uint8_t* p) {
  return lanes([&](size_t i) { return weight<dtype>(p + i * bytes_per_element(dtype)); });
}
template <Dtype dtype>
static inline F load_weights_partial(const uint8_t* p, size_t n) {
  return lanes([&](size_t i) { return i < n ? weight<dtype>(p + i * bytes_per_element(dtype)) : 0.0f; });
}

static inline F add(F a, F b) {
  return lanes([&](size_t i) { return a.v[i] + b.v[i]; });
}
static inline F multiply(F a, F b) {
  return lanes([&](size_t i) { return a.v[i] * b.v[i]; });
}
static inline F multiply_add(F a, F b, F c) {
  return lanes([&](size_t i) { return a.v[i] * b.v[i] + c.v[i]; });
}
static inline F maximum(F a, F b) {
  return lanes([&](size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
static inline F minimum(F a, F b) {
  return lanes([&](size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
static inline F round(F x) {  // to the nearest integer, for |x| < 2^22
  return lanes([&](size_t i) { return (x.v[i] + 12582912.0f) - 12582912.0f; });
}
static inline F zero_where_less(F x, F limit, F value) {
  return lanes([&](size_t i) { return x.v[i] < limit.v[i] ? 0.0f : value.v[i]; });
}
static inline F scale_by_power_of_two(F p, F n) {  // -126 <= n <= 127; elsewhere any number
  return lanes([&](size_t i) {
    const float k = n.v[i] > -127.0f ? n.v[i] : -127.0f;
    return p.v[i] * std::bit_cast<float>(static_cast<uint32_t>(static_cast<int32_t>(k < 127.0f ? k : 127.0f) + 127) << 23);
  });
}
static inline float reduce(F x) {
  const float* v = x.v;
  const float s0 = v[0] + v[4], s1 = v[1] + v[5], s2 = v[2] + v[6], s3 = v[3] + v[7];
  return (s0 + s2) + (s1 + s3);
}
static inline void reduce4(F a, F b, F c, F d, float* out) {
  out[0] = reduce(a);
  out[1] = reduce(b);
  out[2] = reduce(c);
  out[3] = reduce(d);
}
static inline float reduce_max(F x) {
  float best = x.v[0];
  for (size_t i = 1; i < kLanes; i++) best = best > x.v[i] ? best : x.v[i];
  return best;
}
static inline uint32_t nan_mask(F x) {
  return mask([&](size_t i) { return x.v[i] != x.v[i]; });
}
static inline uint32_t greater_mask(F a, F b) {
  return mask([&](size_t i) { return a.v[i] > b.v[i]; });
}
static inline uint32_t not_less_mask(F a, F b) {
  return mask([&](size_t i) { return a.v[i] >= b.v[i]; });
}
static inline uint32_t lanes_below(size_t n) { return n >= kLanes ? 0xffu : (1u << n) - 1; }

static inline D low_half(F x) {
  return lanes_d([&](size_t i) { return static_cast<double>(x.v[i]); });
}
static inline D high_half(F x) {
  return lanes_d([&](size_t i) { return static_cast<double>(x.v[i + kLanes / 2]); });
}
static inline F join(D low, D high) {
  return lanes([&](size_t i) { return static_cast<float>(i < kLanes / 2 ? low.v[i] : high.v[i - kLanes / 2]); });
}
static inline void store_d(double* p, D x) { std::memcpy(p, x.v, sizeof x.v); }
static inline D set_d(double x) {
  return lanes_d([&](size_t) { return x; });
}
static inline D add_d(D a, D b) {
  return lanes_d([&](size_t i) { return a.v[i] + b.v[i]; });
}
static inline D subtract_d(D a, D b) {
  return lanes_d([&](size_t i) { return a.v[i] - b.v[i]; });
}
static inline D multiply_d(D a, D b) {
  return lanes_d([&](size_t i) { return a.v[i] * b.v[i]; });
}
static inline D divide_d(D a, D b) {
  return lanes_d([&](size_t i) { return a.v[i] / b.v[i]; });
}
static inline D min_d(D a, D b) {
  return lanes_d([&](size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
static inline D abs_d(D x) {
  return lanes_d([&](size_t i) { return std::bit_cast<double>(std::bit_cast<uint64_t>(x.v[i]) & ~(uint64_t{1} << 63)); });
}
static inline D copy_sign_d(D x, D sign) {
  return lanes_d([&](size_t i) {
    const uint64_t bit = uint64_t{1} << 63;
    return std::bit_cast<double>((std::bit_cast<uint64_t>(x.v[i]) & ~bit) | (std::bit_cast<uint64_t>(sign.v[i]) & bit));
  });
}
static inline D round_d(D x) {
  return lanes_d([&](size_t i) { return (x.v[i] + exact::kRounder) - exact::kRounder; });
}
static inline D floor_d(D x) {
  const D nearest = round_d(x);
  return lanes_d([&](size_t i) { return nearest.v[i] > x.v[i] ? nearest.v[i] - 1 : nearest.v[i]; });
}
static inline D scale_by_power_of_two_d(D p, D k) {  // -1022 <= k <= 1023
  return lanes_d([&](size_t i) {
    const uint64_t biased = std::bit_cast<uint64_t>(k.v[i] + (exact::kRounder + 1023)) << 52;
    return p.v[i] * std::bit_cast<double>(biased);
  });
}
static inline D where_less_d(D a, D limit, D x, D y) {
  return lanes_d([&](size_t i) { return a.v[i] < limit.v[i] ? x.v[i] : y.v[i]; });
}
static inline double reduce_d(D x) { return (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]); }

static inline F token_uniforms(const Stream& stream, uint32_t first_id) {
  F y;
  for (size_t i = 0; i < kLanes; i += 2) {
    const PhiloxBlock b = philox4x32(
        {{(first_id >> 1) + static_cast<uint32_t>(i / 2), stream.step, static_cast<uint32_t>(stream.purpose), stream.number}},
        stream.seed_low, stream.seed_high);
    y.v[i] = static_cast<float>(b.word[0]) * 0x1p-32f;
    y.v[i + 1] = static_cast<float>(b.word[2]) * 0x1p-32f;
  }
  return y;
}

static inline void prefetch_far(const void*) {}
static inline size_t popcount(uint32_t m) { return static_cast<size_t>(std::popcount(m)); }
static inline size_t lowest_bit(uint32_t m) { return static_cast<size_t>(std::countr_zero(m)); }

// ---- integers, for quantized weights ----

struct I {
  uint32_t v[kLanes];
};
template <class Function>
static inline I lanes_i(Function f) {
  I y;
  for (size_t i = 0; i < kLanes; i++) y.v[i] = f(i);
  return y;
}
static inline I load_u8(const uint8_t* p) {
  return lanes_i([&](size_t i) { return uint32_t{p[i]}; });
}
static inline I load_i8(const uint8_t* p) {
  return lanes_i([&](size_t i) { return static_cast<uint32_t>(static_cast<int8_t>(p[i])); });
}
static inline I bytes_of(uint64_t x) {
  return lanes_i([&](size_t i) { return static_cast<uint8_t>(x >> 8 * i); });
}
static inline F to_float(I x) {
  return lanes([&](size_t i) { return static_cast<float>(static_cast<int32_t>(x.v[i])); });
}
static inline I low_bits(I x, uint32_t mask) {
  return lanes_i([&](size_t i) { return x.v[i] & mask; });
}
static inline I either(I a, I b) {
  return lanes_i([&](size_t i) { return a.v[i] | b.v[i]; });
}
static inline I shift_right(I x, unsigned n) {
  return lanes_i([&](size_t i) { return x.v[i] >> n; });
}
static inline I where_bits(uint32_t bits, uint32_t value) {  // lane i: value where bit i is set, else 0
  return lanes_i([&](size_t i) { return (bits >> i & 1) * value; });
}
static inline F low_bits_in(const float* values, I x, F scale) {  // values: sixteen
  return lanes([&](size_t i) { return values[x.v[i] & 15] * scale.v[i]; });
}
static inline F set_half(const uint8_t* p) { return set(weight<Dtype::f16>(p)); }

// Rounded once, where product and sum have few enough bits for a double.
static inline F multiply_add_once(F a, F b, F c) {
  return lanes([&](size_t i) { return static_cast<float>(double{a.v[i]} * b.v[i] + c.v[i]); });
}
static inline I load_nibbles(const uint8_t* p) {  // values of four bits, one after another, below bits that may be anything
  return lanes_i([&](size_t i) { return static_cast<uint32_t>(p[i / 2] >> i % 2 * 4); });
}

constexpr size_t kByteLanes = 16;
struct Bytes {
  uint8_t v[kByteLanes];
};
template <class Function>
static inline Bytes byte_lanes(Function f) {
  Bytes y;
  for (size_t i = 0; i < kByteLanes; i++) y.v[i] = static_cast<uint8_t>(f(i));
  return y;
}
static inline Bytes load_bytes(const uint8_t* p) {
  return byte_lanes([&](size_t i) { return p[i]; });
}
static inline void store_bytes(uint8_t* p, Bytes x) { std::memcpy(p, x.v, sizeof x.v); }
static inline Bytes low_bits(Bytes x, uint8_t mask) {
  return byte_lanes([&](size_t i) { return x.v[i] & mask; });
}
static inline Bytes either(Bytes a, Bytes b) {
  return byte_lanes([&](size_t i) { return a.v[i] | b.v[i]; });
}
static inline Bytes minus(Bytes x, uint8_t y) {
  return byte_lanes([&](size_t i) { return x.v[i] - y; });
}
static inline Bytes shift_left(Bytes x, int n) {  // low_bits takes away what comes in from a neighbor, where shifts do that
  return byte_lanes([&](size_t i) { return x.v[i] << n; });
}
static inline Bytes shift_right(Bytes x, int n) {
  return byte_lanes([&](size_t i) { return x.v[i] >> n; });
}

#include "generic/eight_lanes.inc"

constexpr bool kLooksUpBytes = false;
struct ByteHalves {};
template <int offset>
ByteHalves with_fifth_bits(const uint8_t*, const uint8_t*, const uint8_t (*)[16], const uint8_t*);  // none asks for it

// ---- integers ----

struct Q {
  int8_t v[4 * kLanes];
};
constexpr int kIntegerRows = 4, kPlanes = 2, kStepPlanes = 2;

static inline I zero_i() {
  return lanes_i([](size_t) { return 0u; });
}
static inline Q load_q(const void* p) {
  Q y;
  std::memcpy(y.v, p, sizeof y.v);
  return y;
}
template <class Function>
static inline Q lanes_q(Function f) {
  Q y;
  for (size_t i = 0; i < sizeof y.v; i++) y.v[i] = static_cast<int8_t>(f(i));
  return y;
}
static inline Q load_parts(const uint8_t* p, size_t apart) {  // of sixteen bytes
  return lanes_q([&](size_t i) { return p[i / 16 * apart + i % 16]; });
}
static inline Q repeat(const uint8_t* p) { return load_parts(p, 0); }
static inline Q low_halves(const Q& x) {
  return lanes_q([&](size_t i) { return x.v[i] & 15; });
}
static inline Q high_halves(const Q& x) {
  return lanes_q([&](size_t i) { return x.v[i] >> 4 & 15; });
}
static inline Q shuffle(const Q& table, const Q& index) {  // within a part
  return lanes_q([&](size_t i) { return table.v[i / 16 * 16 + static_cast<size_t>(index.v[i])]; });
}
static inline Q with_sixteen(const Q& w, const Q& x, const Q& bits) {  // where x has the byte's bit
  return lanes_q([&](size_t i) { return w.v[i] | ((x.v[i] & bits.v[i]) != 0 ? 16 : 0); });
}
template <class Get>
static inline F spread_each(Get get) {  // of each part
  return lanes([&](size_t i) { return get(i / 4); });
}
static inline F spread(const float* sixteen, size_t first, size_t apart) {
  return spread_each([&](size_t part) { return sixteen[first + part * apart]; });
}
static inline F spread_halves(const uint8_t* p, size_t apart) {
  return lanes([&](size_t i) { return weight<Dtype::f16>(p + i / 4 * apart); });
}
static inline int32_t reduce_i(I x) {
  uint32_t sum = 0;
  for (const uint32_t lane : x.v) sum += lane;
  return static_cast<int32_t>(sum);
}
static inline void reduce4_i(I a, I b, I c, I d, int32_t* out) {
  out[0] = reduce_i(a);
  out[1] = reduce_i(b);
  out[2] = reduce_i(c);
  out[3] = reduce_i(d);
}
struct Signed {
  Q values;
};
static inline Signed with_sign(Q w) { return {w}; }
static inline I add_dots(I sum, const Signed& w, const Q& x) {
  return lanes_i([&](size_t i) {
    int32_t dot = 0;
    for (size_t j = 4 * i; j < 4 * i + 4; j++) dot += w.values.v[j] * x.v[j];
    return sum.v[i] + static_cast<uint32_t>(dot);
  });
}
using Biased = Signed;
constexpr int kBias = 0;
static inline Biased with_bias(Q w) { return with_sign(w); }

// Whether add_narrow takes bytes of any kind: with their sign, or that many larger; else only such below 64, or below 32 in
// pairs.
constexpr bool kAnyBytes = true;
constexpr int kWideOffset = 0;
constexpr bool kMultipliesOpened = false;
static inline Q wide(const Q& w) { return w; }
static inline I add_narrow(I sum, const Q& w, const Q& x) { return add_dots(sum, with_sign(w), x); }
static inline I add_narrow(I sum, const Q& w0, const Q& x0, const Q& w1, const Q& x1) {
  return add_narrow(add_narrow(sum, w0, x0), w1, x1);
}

#include "generic/kernels.inc"

#include "generic/integer_steps.inc"

static const Kernels table = LMHEAD_KERNEL_TABLE("scalar");

}  // namespace scalar

const Kernels* scalar_kernels() { return &scalar::table; }

}  // namespace lmhead
