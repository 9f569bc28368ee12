// Products over hidden states that were laid out once for a pass: the same bits as the products of single rows and states,
// wherever they lie; and what the unit cannot hold goes another way, and alone.
#include <algorithm>
#include <cstring>
#include <span>

#include "../core/pass/pass.h"
#include "check.h"
#include "guard.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

// About a tile's depth, and eight of them; and rows that are taken in parts.
constexpr size_t kPackedDepths[] = {1, 31, 32, 33, 70, 256, 257, 300, 523, 1100};
constexpr size_t kPackedRows = 75, kPackedColumns = 53;  // three panels, four blocks
constexpr size_t kLongRow = 70, kPackedRowCounts[] = {1, 15, 16, 17, 32, 33, 64, 75}, kRowCountsOfLongRows[] = {1, 17, 32, 75};

float number_with_bits(Random& random, uint32_t kept) {
  const uint32_t bits = random_weight(Dtype::f32, random) & kept;
  return std::bit_cast<float>(bits);
}

// States that need one, two and three bfloat16 numbers, `kept` saying which bits of each they use.
AlignedFloats some_states(size_t d, Random& random, uint32_t (*kept)(size_t column)) {
  const size_t stride = hidden_stride(d);
  AlignedFloats hidden(kPackedColumns * stride);
  for (size_t c = 0; c < kPackedColumns; c++)
    for (size_t k = 0; k < d; k++) hidden[c * stride + k] = number_with_bits(random, kept(c));
  return hidden;
}
uint32_t all_bits(size_t) { return 0xffffffff; }
uint32_t f16_bits(size_t) { return 0xffffe000; }
uint32_t bf16_bits(size_t) { return 0xffff0000; }
uint32_t mixed_bits(size_t column) { return column % 3 == 0 ? 0xffff0000 : column % 3 == 1 ? 0xffffe000 : 0xffffffff; }

// A number that every type of weights holds.
uint32_t bits_of(Dtype dtype, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (dtype == Dtype::f32) return bits;
  if (dtype == Dtype::bf16 || x == 0) return bits >> 16;
  return (bits >> 16 & 0x8000) | ((bits >> 23 & 0xff) - 112) << 10 | (bits >> 13 & 0x3ff);
}

AlignedFloats packed(const PackedProduct& product, const float* hidden, size_t columns, size_t d) {
  AlignedFloats to;
  product.pack(hidden, hidden_stride(d), columns, d, to);
  return to;
}

template <class Body>
void for_each_packed(const Kernels& kernels, Body body) {
  for (const Dtype dtype : kFloats)
    if (const PackedProduct* const product = kernels.packed[static_cast<size_t>(dtype)]) body(dtype, *product);
}

// Every (row, state) by Kernels::product on its own: [kPackedColumns, kPackedRows].
std::vector<float> one_by_one(const Kernels& kernels, const Matrix& e, const AlignedFloats& hidden) {
  const size_t stride = hidden_stride(e.columns);
  std::vector<float> products(kPackedColumns * kPackedRows);
  for (size_t c = 0; c < kPackedColumns; c++)
    for (size_t r = 0; r < kPackedRows; r++)
      kernels.product[static_cast<size_t>(e.dtype)](e, r, 1, &hidden[c * stride], stride, 1, &products[c * kPackedRows + r], 1);
  return products;
}

TEST_PER_TABLE(packed_products_have_the_bits_of_single_ones) {
  constexpr float kUntouched = 12345.678f;
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    for (const size_t d : kPackedDepths)
      for (const auto kept : {all_bits, f16_bits, bf16_bits, mixed_bits}) {
        if (kept != all_bits && (product.takes_all_columns || d > 1000)) continue;  // which take no part of a state away
        Random random(d);
        const size_t size = kPackedRows * d * bytes_per_element(dtype);
        std::vector<uint8_t> weights(size);
        fill_weights(dtype, weights.data(), kPackedRows * d, random);
        const AlignedFloats hidden = some_states(d, random, kept);
        const std::vector<float> want = one_by_one(kernels, {weights.data(), dtype, kPackedRows, d}, hidden);
        const AlignedFloats states = packed(product, hidden.data(), kPackedColumns, d);
        at_both_edges(weights.data(), size, [&](const uint8_t* data) {
          const Matrix e = {data, dtype, kPackedRows, d};
          for (const size_t rows : d > kLongRow ? std::span<const size_t>(kRowCountsOfLongRows) : kPackedRowCounts)
            for (const auto& [first_column, columns] :
                 {std::pair<size_t, size_t>{0, kPackedColumns}, {0, 1}, {15, 2}, {16, 16}, {17, 33}, {52, 1}, {0, 32}}) {
              const size_t first_row = kPackedRows - rows, out_stride = rows + 3;
              const size_t count = (columns - 1) * out_stride + rows;
              const Guarded memory(count * sizeof(float));
              float* const out = memory.last_of<float>(count);
              std::fill(out, out + count, kUntouched);
              product.product(e, first_row, rows, states.data(), first_column, columns, out, out_stride);
              bool all_same = true, gaps_untouched = true;
              for (size_t c = 0; c < columns; c++) {
                all_same &= same(out + c * out_stride, &want[(first_column + c) * kPackedRows + first_row], rows);
                for (size_t i = rows; c + 1 < columns && i < out_stride; i++)
                  gaps_untouched &= out[c * out_stride + i] == kUntouched;
              }
              CHECK(all_same && gaps_untouched, "d=%zu rows=%zu columns=%zu from %zu", d, rows, columns, first_column);
            }
        });
      }
  });
}

// Integers, whose sums are exact: a lost or doubled part, term or tile shows, whatever the bound is.
TEST_PER_TABLE(packed_products_of_integers_are_exact) {
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    for (const size_t d : kPackedDepths)
      for (const uint64_t states : {4096, 256}) {  // of up to 11 bits: two parts; or one
        Random random(d + 1);
        std::vector<uint8_t> weights(kPackedRows * d * bytes_per_element(dtype));
        for (size_t i = 0; i < kPackedRows * d; i++) {
          const float x = static_cast<float>(random.below(9)) - 4;
          put(dtype, &weights[i * bytes_per_element(dtype)], bits_of(dtype, x));
        }
        const Matrix e = {weights.data(), dtype, kPackedRows, d};
        AlignedFloats hidden(kPackedColumns * hidden_stride(d));
        for (size_t c = 0; c < kPackedColumns; c++)
          for (size_t k = 0; k < d; k++)
            hidden[c * hidden_stride(d) + k] = static_cast<float>(random.below(states)) - static_cast<float>(states / 2);
        std::vector<float> out(kPackedColumns * kPackedRows);
        product.product(e, 0, kPackedRows, packed(product, hidden.data(), kPackedColumns, d).data(), 0, kPackedColumns,
                        out.data(), kPackedRows);
        for (size_t c = 0; c < kPackedColumns; c++)
          for (size_t r = 0; r < kPackedRows; r++) {
            double exact = 0;
            for (size_t k = 0; k < d; k++) exact += value_of(e, r, k) * hidden[c * hidden_stride(d) + k];
            CHECK(out[c * kPackedRows + r] == exact, "d=%zu row=%zu column=%zu: %g, want %g", d, r, c, out[c * kPackedRows + r],
                  exact);
          }
      }
  });
}

// About the lengths of parts that are added up; numbers of one sign too, and a sum that all others are lost beside where results
// are rounded to odd.
TEST_PER_TABLE(packed_products_of_bfloat16_states_stay_within_the_bound) {
  constexpr size_t rows = 11, columns = 7;  // more than any table has in a group, of which nothing is packed
  enum Kind { normal, one_sign, lost, kinds };
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    if (dtype != Dtype::bf16) return;
    for (const size_t d : {1, 2, 4, 15, 16, 17, 32, 33, 64, 129, 511, 512, 576, 1000, 1023, 1024, 1025, 1152, 2048, 4096})
      for (int kind = 0; kind < kinds; kind++) {
        Random random(d + static_cast<size_t>(kind));
        const auto bits = [&](double x) { return std::bit_cast<uint32_t>(static_cast<float>(x)) & 0xffff0000; };
        const auto number = [&] { return bits(kind == normal ? random.normal() : random.uniform(1, 2)); };
        std::vector<uint8_t> weights(rows * d * 2);
        for (size_t i = 0; i < rows * d; i++)
          put(dtype, &weights[2 * i], (kind == lost ? bits(i % d == 0 ? 4096 : 1) : number()) >> 16);
        const Matrix e = {weights.data(), dtype, rows, d};
        AlignedFloats hidden(columns * hidden_stride(d));
        for (size_t c = 0; c < columns; c++)
          for (size_t k = 0; k < d; k++)  // 2^23 and 1, whose sum is odd; then 7/8 by twos
            hidden[c * hidden_stride(d) + k] = std::bit_cast<float>(kind == lost ? bits(k == 0   ? 2048
                                                                                        : k == 1 ? 1
                                                                                        : k % 2  ? 0.375
                                                                                                 : 0.5)
                                                                                 : number());
        float out[columns * rows];
        product.product(e, 0, rows, packed(product, hidden.data(), columns, d).data(), 0, columns, out, rows);
        for (size_t c = 0; c < columns; c++)
          for (size_t r = 0; r < rows; r++) {
            double exact = 0, absolute = 0;
            for (size_t k = 0; k < d; k++) {
              const double term = value_of(e, r, k) * hidden[c * hidden_stride(d) + k];
              exact += term;
              absolute += std::abs(term);
            }
            CHECK(std::abs(out[c * rows + r] - exact) <= product_bound(d, absolute), "d=%zu row=%zu column=%zu: %.9g, want %.9g",
                  d, r, c, out[c * rows + r], exact);
          }
      }
  });
}

// A float of 24 bits is three bfloat16 numbers, up to the largest one: against a weight of 1 nothing of it may be lost.
TEST_PER_TABLE(packed_products_keep_every_bit_of_a_hidden_state) {
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    Random random(3);
    std::vector<uint8_t> weight(bytes_per_element(dtype));
    put(dtype, weight.data(), bits_of(dtype, 1));
    const Matrix e = {weight.data(), dtype, 1, 1};
    AlignedFloats hidden(kPackedColumns * hidden_stride(1));
    for (size_t c = 0; c < kPackedColumns; c++) {
      const uint32_t exponent = static_cast<uint32_t>(c == 0 ? 254 : c == 1 ? 1 : 1 + random.below(254));  // every normal one
      const uint32_t bits = (static_cast<uint32_t>(random.bits()) & 0x807fffff) | exponent << 23;
      hidden[c * hidden_stride(1)] = c == 0 ? std::numeric_limits<float>::max() : std::bit_cast<float>(bits);
    }
    std::vector<float> out(kPackedColumns);
    product.product(e, 0, 1, packed(product, hidden.data(), kPackedColumns, 1).data(), 0, kPackedColumns, out.data(), 1);
    for (size_t c = 0; c < kPackedColumns; c++)
      CHECK(same(out[c], hidden[c * hidden_stride(1)]), "%a, want %a", out[c], hidden[c * hidden_stride(1)]);
  });
}

// What the unit would lose, by the bound that has no room for it: subnormal weights times large states, and the other way round.
TEST_PER_TABLE(packed_products_lose_no_subnormal_number) {
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    if (dtype != Dtype::bf16) return;
    for (const size_t d : {1, 40, 300})
      for (const uint32_t kept : {0xffffffff, 0xffff0000}) {
        std::vector<uint8_t> weights(kPackedRows * d * 2);
        AlignedFloats hidden(kPackedColumns * hidden_stride(d));
        const Matrix e = {weights.data(), dtype, kPackedRows, d};
        const size_t k = d - 1;
        const auto weight = [&](size_t row, float x) {
          put(dtype, &weights[(row * d + k) * 2], std::bit_cast<uint32_t>(x) >> 16);
        };
        for (size_t r = 0; r < kPackedRows; r++) weight(r, r == 37 ? 0x1.5p-128f : 0x1p100f);
        for (size_t c = 0; c < kPackedColumns; c++) {
          const float h = c == 20 ? 0x1.234568p-120f : c == 21 ? 0x1.8p-130f : c == 22 ? 0x1.234568p20f : 0x1.234568p-20f;
          hidden[c * hidden_stride(d) + k] = std::bit_cast<float>(std::bit_cast<uint32_t>(h) & kept);
        }
        std::vector<float> out(kPackedColumns * kPackedRows);
        product.product(e, 0, kPackedRows, packed(product, hidden.data(), kPackedColumns, d).data(), 0, kPackedColumns,
                        out.data(), kPackedRows);
        for (size_t c = 0; c < kPackedColumns; c++)
          for (size_t r = 0; r < kPackedRows; r++) {
            const double exact = value_of(e, r, k) * hidden[c * hidden_stride(d) + k];
            CHECK(std::abs(out[c * kPackedRows + r] - exact) <= std::max(0x1p-23 * std::abs(exact), 0x1p-149),
                  "d=%zu row=%zu column=%zu: %a, want %a", d, r, c, out[c * kPackedRows + r], exact);
          }
      }
  });
}

// One sick row and one sick state among healthy ones: the rest has the bits that it had.
TEST_PER_TABLE(packed_products_keep_what_is_not_finite_to_itself) {
  for_each_packed(kernels, [&](Dtype dtype, const PackedProduct& product) {
    const SpecialWeights special = special_weights(dtype);
    for (const size_t d : {1, 33, 300}) {
      Random random(d + 2);
      std::vector<uint8_t> weights(kPackedRows * d * bytes_per_element(dtype));
      fill_weights(dtype, weights.data(), kPackedRows * d, random);
      const Matrix e = {weights.data(), dtype, kPackedRows, d};
      AlignedFloats hidden = some_states(d, random, mixed_bits);
      const std::vector<float> before = one_by_one(kernels, e, hidden);
      constexpr size_t sick_row = 40, sick_column = 18;
      const size_t k = d / 2;
      put(dtype, &weights[(sick_row * d + k) * bytes_per_element(dtype)], special.infinity);
      hidden[sick_column * hidden_stride(d) + k] = kNan;
      std::vector<float> out(kPackedColumns * kPackedRows);
      product.product(e, 0, kPackedRows, packed(product, hidden.data(), kPackedColumns, d).data(), 0, kPackedColumns, out.data(),
                      kPackedRows);
      for (size_t c = 0; c < kPackedColumns; c++)
        for (size_t r = 0; r < kPackedRows; r++) {
          const float h = hidden[c * hidden_stride(d) + k];
          const float want = c == sick_column ? kNan : r == sick_row ? kInf * h : before[c * kPackedRows + r];
          CHECK(same(out[c * kPackedRows + r], want), "d=%zu row=%zu column=%zu: %g, want %g", d, r, c, out[c * kPackedRows + r],
                want);
        }
    }
  });
}

// What the suites that run over the best table need not run over those of an older CPU.
TEST(tables_of_arm_differ_in_products_alone) {
  if (!neon_kernels()) return;
  for (const Kernels* table : {neon_dotprod_kernels(), neon_i8mm_kernels()}) {
    const Kernels& all = *table;
    Kernels same = *neon_kernels();
    same.name = all.name;
    std::copy_n(all.integer_product, kDtypes, same.integer_product);
    std::copy_n(all.packed_planes, kDtypes, same.packed_planes);
    constexpr size_t bf16 = static_cast<size_t>(Dtype::bf16);
    same.product[bf16] = all.product[bf16];
    same.packed[bf16] = all.packed[bf16];
    same.bf16_multiply_adds = all.bf16_multiply_adds;
    same.int8_multiply_adds = all.int8_multiply_adds;
    CHECK(std::memcmp(&same, &all, sizeof all) == 0, "%s", all.name);
  }
}

TEST(tables_for_tests_are_offered_to_nobody) {
  for (const Kernels* table : test_kernels()) {
    const auto& offered = available_kernels();
    CHECK(std::find(offered.begin(), offered.end(), table) == offered.end(), "%s", table->name);
  }
}

}  // namespace
}  // namespace lmhead::test
