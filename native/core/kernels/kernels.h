// The table that every CPU path fills: all arithmetic over more than one number goes through it.
//
// Promises that the rest of the core builds on:
//  - product: the bits of a dot product depend on the row of E and the hidden state alone, not on which rows or columns are
//    computed along with it. Hence the same bits for any batch, tile and thread count.
//  - product of a quantized matrix: the bits of product[f32] over its unpacked rows.
//  - sums run over a whole chunk from its first element, in an order fixed by the length alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "../epilogue.h"
#include "../matrix.h"
#include "../numerics/aligned.h"
#include "../numerics/exact_math.h"
#include "../numerics/fixed_point_sum.h"
#include "../numerics/key_histogram.h"
#include "../numerics/philox.h"

namespace lmhead {

// Hidden states are packed as f32 rows of hidden_stride(d) floats, the rest zeros, so that kernels read whole vectors of h.
constexpr size_t kMaxLanes = 16;
constexpr size_t hidden_stride(size_t d) {
  size_t lines = (d + kMaxLanes - 1) / kMaxLanes;
  constexpr size_t kSets = 64, kApart = 8;
  const size_t m = lines % kSets;
  if (lines >= kSets && (m < kApart || m > kSets - kApart)) lines += (kSets + kApart - m) % kSets;
  return lines * kMaxLanes;
}

struct MaxResult {
  float max;       // NaN if there is one; -inf for count = 0
  int64_t nan_at;  // index of the first NaN, or -1
};
struct ExpSums {
  double sum;    // sum of e^x, x = (u - max) / T
  double x_sum;  // sum of x * e^x, if asked for
};
// Gumbel-max sampling in progress; see sampling/gumbel_max.h.
struct GumbelMaxState {
  Stream stream;
  double inverse_temperature;
  double best_key;
};

// How far ahead of its use E is asked for, where it is read as it lies: more than a memory's latency at full bandwidth. Into a
// second-level cache, as a first-level one has hidden states to hold, and few lines that it can wait for.
constexpr size_t kPrefetchDistance = 12288;

// Hidden states of integers, in planes of int8, each number within +-127; see quantized_activations.h. Number k of state c
// is values[c * stride + k], or with two planes kHighPlane * values[2c * stride + k] + values[(2c + 1) * stride + k], times
// scales[c]. Planes are as many whole cache lines as hold d values, zeros beyond these.
constexpr int kHighPlane = 255;
struct IntegerStates {
  const int8_t* values;
  size_t stride, planes;
  const int32_t* sums;  // of each plane's values
  const float* scales;
  const void* packed;  // all planes once more, by the table's PackedPlanes; null: they aren't
};

// From sums of integers to a product: the same steps, and so the same bits, in every kernel.
inline double join_planes(double high_sum, double low_sum) { return kHighPlane * high_sum + low_sum; }
inline double scale_of_row(const uint8_t* row) {  // of i8
  float scale;
  std::memcpy(&scale, row, sizeof scale);
  return static_cast<double>(scale);
}
inline float scale_sum(double sum, double row_scale, float state_scale) {
  return static_cast<float>(sum * (row_scale * static_cast<double>(state_scale)));
}

// The sum of a row of mxfp4 times the integers of a state, whose partial sums may be beyond float32 where it is not.
double sum_in_double_of_mxfp4(const uint8_t* row, size_t d, const IntegerStates& states, size_t column);

// Planes that are laid out for a table's products with weights of a dtype, once for a whole pass.
struct PackedPlanes {
  // In bytes, of `columns` states with `planes` each; 0 where so few are better left as they are.
  size_t (*size)(Dtype dtype, size_t columns, size_t planes, size_t stride);
  void (*pack)(Dtype dtype, const int8_t* values, size_t columns, size_t planes, size_t stride, int8_t* to);
};

// A product over hidden states that are laid out for it once for a whole pass. Same bits as Kernels::product.
struct PackedProduct {
  // Leaves `to` as large as the layout is, which the hidden states decide: one step, so that it cannot be another's; empty where
  // they are better left as they are. They may be looked at again by the product. Throws std::bad_alloc.
  void (*pack)(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to);
  // out[c * out_stride + r] = E[first_row + r] . hidden[first_column + c]
  void (*product)(const Matrix& e, size_t first_row, size_t rows, const void* packed, size_t first_column, size_t columns,
                  float* out, size_t out_stride);
  bool takes_all_columns;  // at once, and blocks them itself
};

struct Kernels {
  const char* name;

  // out[c * out_stride + r] = E[first_row + r] . hidden[c], for r < rows and c < columns. One per weight dtype.
  void (*product[kDtypes])(const Matrix& e, size_t first_row, size_t rows, const float* hidden, size_t hidden_stride,
                           size_t columns, float* out, size_t out_stride);
  // From how many columns on quantized rows are better unpacked once for all of them, and multiplied as f32.
  size_t unpack_from;
  // u[i] becomes a logit; bias (if any) starts at u[0]'s row.
  void (*epilogue)(float* u, size_t count, const float* bias, const Epilogue& epilogue);
  // The f32 values that count stored ones stand for: exactly, or rounded once where f32 cannot hold them (q4_k, q5_k, q4_1,
  // q5_1, as ggml does). Of a quantized dtype: from the start of a row, whole blocks.
  void (*unpack[kDtypes])(const uint8_t* source, size_t count, float* out);
  // The same of one row of a matrix, and of grouped formats too, which `unpack` has none for.
  void (*unpack_row[kDtypes])(const Matrix& e, size_t row, float* out);

  MaxResult (*max)(const float* u, size_t count);
  // max is finite and no smaller than any u; no NaN.
  ExpSums (*exp_sums)(const float* u, size_t count, float max, double inverse_temperature, bool with_x);
  // x = (u - max) / T and e^x to the last bit as exact_math.h computes them, where x <= 0. Both have room for whole vectors.
  void (*exact_terms)(const float* u, size_t count, float max, double temperature, double* x, double* e);
  // Sums of these terms, and of what moments are made of.
  FixedPointSum (*exact_mass)(const float* u, size_t count, float max, double temperature);
  MomentSums (*exact_moments)(const float* u, size_t count, float max, double temperature);
  // The bin of the key of each u, as an integer, and its term's mass in parts; but the masses of some in no bin are added to
  // `outside`. How many the others are, with some of no mass among them. All have room for count and a vector more.
  size_t (*exact_bins)(const float* u, size_t count, float max, double temperature, const KeyHistogram& bins, double* bin,
                       double* low, double* high, FixedPointSum& outside);
  // out = (u - max) / T - log_sum; in place if out == u.
  void (*log_probs)(const float* u, size_t count, float max, double inverse_temperature, double log_sum, float* out);
  // out = e^((u - max) / T) * inverse_sum
  void (*probs)(const float* u, size_t count, float max, double inverse_temperature, double inverse_sum, float* out);

  // How many u are > threshold (or >= threshold).
  size_t (*count_above)(const float* u, size_t count, float threshold, bool or_equal);
  // Indices of the u that are > threshold (or >=), ascending; out has room for count.
  size_t (*indices_above)(const float* u, size_t count, float threshold, bool or_equal, uint32_t* out);
  // Indices that can still have the largest key: every i whose key is above state.best_key is among them, and few others.
  // first_id is even.
  size_t (*gumbel_max_candidates)(const float* u, size_t count, uint32_t first_id, const GumbelMaxState& state, uint32_t* out);

  // The limits that the rest is measured against. read: touches every byte and does next to nothing with it.
  // multiply_adds: count of them (rounded up), from registers. All return a number so that they can't be left out.
  float (*read)(const uint8_t* data, size_t size);
  float (*multiply_adds)(size_t count);

  // As product, with states of integers. One per weight dtype, where there is one; those of i8 have the same bits
  // everywhere. Takes states that are packed for this table; with i8, also such that aren't.
  void (*integer_product[kDtypes])(const Matrix& e, size_t first_row, size_t rows, const IntegerStates& states,
                                   size_t first_column, size_t columns, float* out, size_t out_stride);

  // One per weight dtype, where there is one.
  const PackedProduct* packed[kDtypes] = {};
  const PackedPlanes* packed_planes[kDtypes] = {};

  // As multiply_adds, of bfloat16 values and of int8 ones, where instructions of their own multiply them.
  float (*bf16_multiply_adds)(size_t count) = nullptr;
  float (*int8_multiply_adds)(size_t count) = nullptr;
};

// The same table, with other products of integers and layouts for them.
inline Kernels with_integer_products(const Kernels& table, const decltype(Kernels::integer_product)& products,
                                     const decltype(Kernels::packed_planes)& planes) {
  Kernels all = table;
  for (size_t i = 0; i < kDtypes; i++) {
    all.integer_product[i] = products[i];
    all.packed_planes[i] = planes[i];
  }
  return all;
}

// The tables compiled in and usable on this CPU and system, best first. Never empty: scalar is always there.
const std::vector<const Kernels*>& available_kernels();
// The table by that name, or nullptr where it is unknown or unusable here. Takes the names of test_kernels(), too.
const Kernels* find_kernels(const std::string& name);
// Tables that stand in for hardware that is not here, in tests. Slow; never chosen, and named to nobody.
const std::vector<const Kernels*>& test_kernels();

// One definition per file; nullptr where the target CPU family has no such table.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512_vnni_kernels();  // with the integer products that VNNI makes
const Kernels* avx512_bf16_kernels();  // that, with products of bfloat16 weights and states
const Kernels* neon_kernels();
const Kernels* neon_dotprod_kernels();  // with the integer products that SDOT makes
const Kernels* neon_i8mm_kernels();     // and by SMMLA, with products of bfloat16 by BFMMLA

}  // namespace lmhead
