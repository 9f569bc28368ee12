// Dot products: every kernel table, weight dtype and odd size; precision, sameness of bits, and nothing touched beside the data.
#include <algorithm>
#include <span>

#include "../core/numerics/aligned.h"
#include "../core/pass/pass.h"
#include "../core/sources/product_source.h"
#include "check.h"
#include "guard.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

constexpr size_t kSizes[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257, 513, 1100};
constexpr size_t kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 255, 256, 257};
constexpr size_t kColumnCounts[] = {1, 2, 3, 4, 5, 6, 7, 13, 53};
// Of long rows, which are taken in several parts, some counts.
constexpr size_t kLong = 70, kLongRowCounts[] = {1, 4, 7, 17, 257}, kLongColumnCounts[] = {1, 4, 7, 53};
constexpr size_t kMostRows = 257, kMostColumns = 53;

// One matrix and its hidden states, with guard pages before and after each.
struct Operands {
  Operands(Dtype dtype, size_t d, uint64_t seed)
      : dtype(dtype),
        d(d),
        stride(hidden_stride(d)),
        weights(kMostRows * d * bytes_per_element(dtype) + 1),
        hidden(kMostColumns * stride * sizeof(float)) {
    Random random(seed);
    std::vector<uint8_t> bytes(kMostRows * d * bytes_per_element(dtype));
    fill_weights(dtype, bytes.data(), kMostRows * d, random);
    values = std::move(bytes);
    for (size_t c = 0; c < kMostColumns; c++) {
      packed.resize(packed.size() + stride);
      for (size_t k = 0; k < d; k++)
        packed[c * stride + k] = static_cast<float>(random.normal() * std::ldexp(1, static_cast<int>(random.below(9)) - 4));
    }
  }

  size_t weight_bytes() const { return values.size(); }
  enum class Place { last, first, odd };
  Matrix matrix_at(Place place) const {
    // odd: no alignment at all, as a tensor in a file may have it.
    uint8_t* const at = place == Place::last ? weights.last(weight_bytes()) : weights.first() + (place == Place::odd);
    std::memcpy(at, values.data(), weight_bytes());
    return {at, dtype, kMostRows, d};
  }
  const float* hidden_at(Place place) const {
    float* const at = place == Place::last ? hidden.last_of<float>(packed.size()) : hidden.first_of<float>();
    std::memcpy(at, packed.data(), packed.size() * sizeof(float));
    return at;
  }

  const Dtype dtype;
  const size_t d, stride;
  std::vector<uint8_t> values;
  std::vector<float> packed;
  Guarded weights, hidden;
};

// Every (row, column) on its own: [kMostColumns, kMostRows].
std::vector<float> one_by_one(const Kernels& kernels, const Matrix& e, const float* hidden) {
  const size_t stride = hidden_stride(e.columns);
  std::vector<float> products(kMostColumns * kMostRows);
  for (size_t c = 0; c < kMostColumns; c++)
    for (size_t r = 0; r < kMostRows; r++)
      kernels.product[static_cast<size_t>(e.dtype)](e, r, 1, hidden + c * stride, stride, 1, &products[c * kMostRows + r], 1);
  return products;
}

TEST_PER_TABLE(products_stay_within_the_bound_against_double) {
  for (const Dtype dtype : kFloats)
    for (const size_t d : kSizes) {
      const Operands operands(dtype, d, d);
      const Matrix e = operands.matrix_at(Operands::Place::last);
      const float* const hidden = operands.hidden_at(Operands::Place::last);
      const std::vector<float> products = one_by_one(kernels, e, hidden);
      for (size_t c = 0; c < kMostColumns; c++)
        for (size_t r = 0; r < kMostRows; r++) {
          double exact = 0, absolute = 0;
          for (size_t k = 0; k < d; k++) {
            const double term = value_of(e, r, k) * hidden[c * operands.stride + k];
            exact += term;
            absolute += std::abs(term);
          }
          const float got = products[c * kMostRows + r];
          CHECK(std::abs(got - exact) <= product_bound(d, absolute), "%s d=%zu row=%zu column=%zu: %.9g, want %.9g +- %.3g",
                name_of(dtype), d, r, c, got, exact, product_bound(d, absolute));
        }
    }
}

// The promise that results do not depend on batch, tile or thread count; and that no kernel reads or writes outside of its data.
TEST_PER_TABLE(products_have_the_same_bits_in_every_tile_and_batch) {
  constexpr float kUntouched = 12345.678f;
  const Guarded out_memory((kMostColumns * (kMostRows + 3)) * sizeof(float));
  for (const Dtype dtype : kFloats)
    for (const size_t d : kSizes) {
      const Operands operands(dtype, d, d + 1000);
      std::vector<float> want;
      for (const auto place : {Operands::Place::last, Operands::Place::first, Operands::Place::odd}) {
        const bool at_end = place == Operands::Place::last;
        const Matrix e = operands.matrix_at(place);
        const float* const hidden = operands.hidden_at(place);
        if (want.empty()) want = one_by_one(kernels, e, hidden);
        const bool is_long = d > kLong;
        for (const size_t rows : is_long ? std::span<const size_t>(kLongRowCounts) : kRowCounts)
          for (const size_t columns : is_long ? std::span<const size_t>(kLongColumnCounts) : kColumnCounts) {
            // The tile lies in the corner at the guard page.
            const size_t first_row = at_end ? kMostRows - rows : 0, first_column = at_end ? kMostColumns - columns : 0;
            const size_t gap = columns % 2 ? 3 : 0, out_stride = rows + gap;  // tight and loose strides
            const size_t out_count = (columns - 1) * out_stride + rows;
            float* const out = at_end ? out_memory.last_of<float>(out_count) : out_memory.first_of<float>();
            std::fill(out, out + out_count, kUntouched);
            kernels.product[static_cast<size_t>(dtype)](e, first_row, rows, hidden + first_column * operands.stride,
                                                        operands.stride, columns, out, out_stride);
            bool all_same = true, gaps_untouched = true;
            for (size_t c = 0; c < columns; c++) {
              const float* const got = out + c * out_stride;
              all_same &= same(got, &want[(first_column + c) * kMostRows + first_row], rows);
              for (size_t i = rows; c + 1 < columns && i < out_stride; i++) gaps_untouched &= got[i] == kUntouched;
            }
            CHECK(all_same, "%s d=%zu rows=%zu columns=%zu place=%d", name_of(dtype), d, rows, columns, static_cast<int>(place));
            CHECK(gaps_untouched, "%s d=%zu rows=%zu columns=%zu", name_of(dtype), d, rows, columns);
          }
      }
    }
}

// NaN and infinities come out in their row or column, and nowhere else.
TEST_PER_TABLE(non_finite_numbers_propagate_and_stay_in_their_rows) {
  for (const Dtype dtype : kFloats)
    for (const size_t d : {1, 7, 8, 17, 33, 100}) {
      const Operands operands(dtype, d, d + 2000);
      const Matrix e = operands.matrix_at(Operands::Place::last);
      uint8_t* const bytes = const_cast<uint8_t*>(e.data);
      const std::vector<float> before = one_by_one(kernels, e, operands.hidden_at(Operands::Place::last));
      const SpecialWeights special = special_weights(dtype);
      constexpr size_t rows = 9, columns = 7;
      const Matrix top = {e.data, dtype, rows, d};
      for (const size_t k : {size_t{0}, d / 2, d - 1})
        for (const uint32_t bits : {special.nan, special.infinity, special.minus_infinity}) {
          constexpr size_t sick_row = 5;
          uint8_t* const at = bytes + (sick_row * d + k) * bytes_per_element(dtype);
          uint8_t healthy[4];
          std::memcpy(healthy, at, bytes_per_element(dtype));
          put(dtype, at, bits);
          const double weight = value_of(dtype, at);
          const float* const hidden = operands.hidden_at(Operands::Place::last);
          float out[columns * rows];
          kernels.product[static_cast<size_t>(dtype)](top, 0, rows, hidden, operands.stride, columns, out, rows);
          for (size_t c = 0; c < columns; c++)
            for (size_t r = 0; r < rows; r++) {
              const float got = out[c * rows + r];
              if (r != sick_row)
                CHECK(same(got, before[c * kMostRows + r]), "%s d=%zu k=%zu row=%zu", name_of(dtype), d, k, r);
              else
                CHECK(same(got, static_cast<float>(weight * hidden[c * operands.stride + k])), "%s d=%zu k=%zu: %g",
                      name_of(dtype), d, k, got);
            }
          std::memcpy(at, healthy, bytes_per_element(dtype));
        }
      for (const float sick : {kNan, kInf, -kInf})
        for (const size_t k : {size_t{0}, d - 1}) {
          constexpr size_t sick_column = 3;
          float* const hidden = const_cast<float*>(operands.hidden_at(Operands::Place::last));
          hidden[sick_column * operands.stride + k] = sick;
          float out[columns * rows];
          kernels.product[static_cast<size_t>(dtype)](top, 0, rows, hidden, operands.stride, columns, out, rows);
          for (size_t c = 0; c < columns; c++)
            for (size_t r = 0; r < rows; r++) {
              const float want = c == sick_column ? static_cast<float>(value_of(top, r, k) * sick) : before[c * kMostRows + r];
              CHECK(same(out[c * rows + r], want), "%s d=%zu k=%zu row=%zu column=%zu", name_of(dtype), d, k, r, c);
            }
        }
    }
}

// The ends of the range. Every product and sum here is exact in f32, so the result must be too.
TEST_PER_TABLE(subnormal_largest_and_zero_operands_are_exact) {
  for (const Dtype dtype : kFloats)
    for (const size_t d : {1, 5, 8, 19}) {
      const SpecialWeights special = special_weights(dtype);
      const uint32_t patterns[] = {special.subnormal, special.largest_subnormal, special.minus_zero, special.largest, 0};
      for (const uint32_t bits : patterns)
        for (const float h : {1.0f, -1.0f, 0.5f, 0.0f, -0.0f, 0x1p-149f, 0x1p20f}) {
          std::vector<uint8_t> weights(d * bytes_per_element(dtype));  // zeros, and one number at the end
          put(dtype, weights.data() + (d - 1) * bytes_per_element(dtype), bits);
          const double weight = value_of(dtype, weights.data() + (d - 1) * bytes_per_element(dtype));
          AlignedFloats hidden(hidden_stride(d));
          hidden[d - 1] = h;
          float got;
          const Matrix e = {weights.data(), dtype, 1, d};
          kernels.product[static_cast<size_t>(dtype)](e, 0, 1, hidden.data(), hidden_stride(d), 1, &got, 1);
          // The double may round to f32 where f32 has no bits left: half of the smallest subnormal.
          CHECK(got == static_cast<float>(weight * h), "%s d=%zu bits=%#x h=%g: %g", name_of(dtype), d, bits, h, got);
        }
    }
}

TEST_PER_TABLE(unpacking_is_exact_for_every_16_bit_pattern) {
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) {
    std::vector<uint8_t> all(65536 * 2);
    for (uint32_t i = 0; i < 65536; i++) put(dtype, &all[i * 2], i);
    std::vector<float> wide(65536);
    kernels.unpack[static_cast<size_t>(dtype)](all.data(), 65536, wide.data());
    for (uint32_t i = 0; i < 65536; i++)
      CHECK(same(wide[i], static_cast<float>(value_of(dtype, &all[i * 2]))), "%s %#x: %g", name_of(dtype), i, wide[i]);
  }
}

TEST_PER_TABLE(unpacking_stays_inside_its_buffers) {
  Random random(3);
  for (const Dtype dtype : kFloats)
    for (size_t count = 0; count <= 70; count++) {
      const size_t size = count * bytes_per_element(dtype);
      std::vector<uint8_t> bytes(size);
      fill_weights(dtype, bytes.data(), count, random);
      at_both_edges(bytes.data(), size, [&](const uint8_t* source) {
        const Guarded out(count * sizeof(float));
        float* const wide = out.last_of<float>(count);
        kernels.unpack[static_cast<size_t>(dtype)](source, count, wide);
        for (size_t i = 0; i < count; i++)
          CHECK(wide[i] == value_of(dtype, &bytes[i * bytes_per_element(dtype)]), "%s %zu of %zu", name_of(dtype), i, count);
      });
    }
}

TEST_PER_TABLE(packed_hidden_states_end_in_zeros) {
  Random random(4);
  for (const Dtype dtype : kFloats)
    for (const size_t d : kSizes)
      for (const size_t n : {1, 2, 5}) {
        const size_t size = n * d * bytes_per_element(dtype);
        std::vector<uint8_t> bytes(size);
        fill_weights(dtype, bytes.data(), n * d, random);
        at_both_edges(bytes.data(), size, [&](const uint8_t* hidden) {
          const AlignedFloats packed = pack_hidden(kernels, hidden, dtype, n, d);
          for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < hidden_stride(d); k++) {
              const double want = k < d ? value_of(dtype, &bytes[(i * d + k) * bytes_per_element(dtype)]) : 0;
              CHECK(packed[i * hidden_stride(d) + k] == want, "%s d=%zu row=%zu k=%zu", name_of(dtype), d, i, k);
            }
        });
      }
}

// The benchmark's yardsticks: they must read what they are given and no more.
TEST_PER_TABLE(yardsticks_stay_inside_their_data) {
  for (const size_t size : {0, 1, 3, 63, 64, 511, 512, 513, 1024, 4095, 5000}) {
    const std::vector<uint8_t> bytes(size, 0x3f);
    at_both_edges(bytes.data(), size, [&](const uint8_t* data) { CHECK(kernels.read(data, size) >= 0); });
    const Guarded memory(size + 1);
    std::memset(memory.first() + 1, 0x3f, size);
    CHECK(kernels.read(memory.first() + 1, size) >= 0);
  }
  for (const auto rate : {kernels.multiply_adds, kernels.bf16_multiply_adds, kernels.int8_multiply_adds})
    CHECK(!rate || std::isfinite(rate(10000)));
}

}  // namespace
}  // namespace lmhead::test
