// Hidden states as integers, and products with them: each against its definition.
#include <algorithm>
#include <bit>

#include "../core/pass/pass.h"
#include "../core/sources/product_source.h"
#include "check.h"
#include "guard.h"
#include "quantized.h"

namespace lmhead::test {
namespace {

constexpr Activations kRounded[] = {Activations::i8, Activations::i16};
constexpr size_t kRows = 11, kColumns = 9;

int64_t most_of(Activations kind) { return kind == Activations::i8 ? 127 : 127 * 256; }

std::vector<float> random_states(size_t n, size_t stride, size_t d, Random& random) {
  std::vector<float> hidden(n * stride);
  for (size_t c = 0; c < n; c++)
    for (size_t k = 0; k < d; k++) hidden[c * stride + k] = static_cast<float>(random.normal() * (c % 3 == 2 ? 1e-30 : 2));
  return hidden;
}

int64_t integer_of(const IntegerStates& states, size_t column, size_t k) {
  const int8_t* const first = states.values + column * states.planes * states.stride;
  return states.planes == 1 ? first[k] : int64_t{kHighPlane} * first[k] + first[states.stride + k];
}

TEST(states_are_rounded_to_the_nearest_integers) {
  for (const Activations kind : kRounded)
    for (const size_t d : {1, 2, 63, 64, 65, 300}) {
      Random random(d);
      const size_t stride = d + 5;
      std::vector<float> hidden = random_states(kColumns, stride, d, random);
      std::fill_n(&hidden[stride], d, 0.0f);
      hidden[3 * stride + d / 2] = 1e30f;  // beside which the others are nothing
      hidden[4 * stride] = 0x1p-149f;
      QuantizedActivations rounded;
      rounded.round(kind, hidden.data(), stride, kColumns, d);
      const IntegerStates s = rounded.view();
      CHECK(rounded.columns() == kColumns && s.planes == (kind == Activations::i8 ? 1 : 2) && s.stride % 64 == 0 &&
            s.stride >= d);
      for (size_t c = 0; c < kColumns; c++) {
        int32_t sums[2] = {};
        for (size_t k = 0; k < s.stride; k++) {
          const int64_t q = integer_of(s, c, k);
          for (size_t p = 0; p < s.planes; p++) sums[p] += s.values[(c * s.planes + p) * s.stride + k];
          CHECK(std::abs(q) <= most_of(kind) && (k < d || q == 0));
          if (k >= d) continue;
          const double h = hidden[c * stride + k], scale = s.scales[c];
          CHECK(scale == 0 ? std::abs(h) < 0x1p-142 : std::abs(h - scale * static_cast<double>(q)) <= 0.500001 * scale,
                "d=%zu column=%zu k=%zu: %g is %lld times %g", d, c, k, h, static_cast<long long>(q), scale);
        }
        for (size_t p = 0; p < s.planes; p++) CHECK(sums[p] == s.sums[c * s.planes + p]);
      }
    }
}

TEST(states_that_are_not_finite_have_a_scale_that_is_none) {
  for (const Activations kind : kRounded)
    for (const float bad : {kNan, kInf, -kInf}) {
      std::vector<float> hidden(3 * 70, 1.0f);
      hidden[70 + 69] = bad;
      QuantizedActivations rounded;
      rounded.round(kind, hidden.data(), 70, 3, 70);
      const float* const scales = rounded.view().scales;
      CHECK(std::isnan(scales[1]) && scales[0] > 0 && scales[0] == scales[2]);
    }
}

// The numbers of two rows are the largest ones and the smallest: all bits, or none but the highest of a byte of 8 bits. So are
// sub-scales, but q6_k's, bytes with a sign, which are the smallest and the largest.
void fill_values(Dtype dtype, size_t row_bytes, uint8_t* rows) {
  const size_t block = row_format(dtype).bytes, scale = scale_at(dtype);
  for (size_t i = 0; i < 2 * row_bytes; i++) {
    const size_t at = i % block;
    if (dtype == Dtype::mxfp4 ? at == 0 : at - scale < 4) continue;  // of a scale, and perhaps a second one
    rows[i] = i < row_bytes ? 0xff : dtype == Dtype::q8_0 ? 0x80 : 0;
    if (dtype == Dtype::q6_k && at >= 192) rows[i] = i < row_bytes ? 0x80 : 0x7f;
  }
}

// The sum of integers, times scales; of rows with one scale for all it is exact, so that the last rounding is the only one.
TEST_OF_ALL_TABLES(integer_products_are_what_their_definition_says) {
  for (const Dtype dtype : kQuantized) {
    const auto product = kernels.integer_product[static_cast<size_t>(dtype)];
    CHECK((product != nullptr) == rounds_activations(dtype), "%s", quantized_name(dtype));
    if (!product) continue;
    const size_t block = block_size(dtype);
    for (const size_t blocks : {1, 2, 3, 5, 31, 64, 65, 127, 129, 200}) {
      const size_t d = blocks * block;
      if (d > 2048) continue;
      Random random(d);
      std::vector<uint8_t> bytes = random_quantized(dtype, kRows, d, random);
      if (dtype == Dtype::i8) std::fill_n(&bytes[4], d, uint8_t{0x80});  // the largest products that there are
      if (dtype != Dtype::i8) fill_values(dtype, row_bytes(dtype, d), bytes.data());
      std::vector<float> hidden = random_states(kColumns, d, d, random);
      std::fill_n(&hidden[d], d, 3.0f);  // as large integers as there are
      std::fill_n(&hidden[2 * d], d, -3.0f);
      for (const Activations kind : kRounded) {
        QuantizedActivations rounded;
        rounded.round(kind, hidden.data(), d, kColumns, d);
        rounded.pack(kernels, dtype);
        const IntegerStates states = rounded.view();
        std::vector<double> want(kColumns * kRows), bound(kColumns * kRows);
        for (size_t c = 0; c < kColumns; c++)
          for (size_t r = 0; r < kRows; r++) {
            const Matrix e{bytes.data(), dtype, kRows, d};
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < d; k++) {
              const double q = static_cast<double>(integer_of(states, c, k));
              const double term = quantized_value(dtype, e.row(r), k) * q;
              sum += term;
              magnitude += std::abs(term) + 2 * std::abs(quantized_minimum(dtype, e.row(r), k) * q);  // it may cancel the rest
            }
            want[c * kRows + r] = sum * states.scales[c];
            // One rounding where the sum is exact; else d/32 additions in a lane and some more, of terms that two planes double.
            const double roundings = dtype == Dtype::i8 ? 0.5 : static_cast<double>(d) / 16 + 8;
            bound[c * kRows + r] =
                roundings * 0x1p-23 * (dtype == Dtype::i8 ? std::abs(sum) : magnitude) * 1.0001 * states.scales[c] + 0x1p-149;
          }
        at_both_edges(bytes.data(), bytes.size(), [&](const uint8_t* data) {
          const Matrix e{data, dtype, kRows, d};
          std::vector<float> all(kColumns * kRows);
          product(e, 0, kRows, states, 0, kColumns, all.data(), kRows);
          for (size_t i = 0; i < all.size(); i++)
            CHECK(std::abs(all[i] - want[i]) <= bound[i], "%s d=%zu planes=%zu row=%zu column=%zu: %.9g, want %.9g",
                  quantized_name(dtype), d, states.planes, i % kRows, i / kRows, all[i], want[i]);
          // The same bits for any rows and states, alone or together.
          for (const size_t rows : {1, 3, 4, 5, 11})
            for (size_t columns = 1; columns <= kColumns; columns++) {
              const size_t first_row = kRows - rows, first_column = kColumns - columns, out_stride = rows + 2;
              std::vector<float> out(columns * out_stride, 7.5f);
              product(e, first_row, rows, states, first_column, columns, out.data(), out_stride);
              for (size_t c = 0; c < columns; c++) {
                CHECK(same(&out[c * out_stride], &all[(first_column + c) * kRows + first_row], rows),
                      "%s d=%zu rows=%zu columns=%zu", quantized_name(dtype), d, rows, columns);
                CHECK(out[c * out_stride + rows] == 7.5f && out[c * out_stride + rows + 1] == 7.5f);
              }
            }
        });
      }
    }
  }
}

// States to be multiplied with rows of int8, and what the scalar table makes of them: [columns, rows].
struct IntegerProblem {
  size_t rows, columns, d;
  std::vector<uint8_t> bytes;
  std::vector<float> hidden;
  QuantizedActivations rounded;
  std::vector<float> want;

  IntegerProblem(size_t rows, size_t columns, size_t d, Activations kind) : rows(rows), columns(columns), d(d) {
    Random random(d);
    bytes = random_quantized(Dtype::i8, rows, d, random);
    std::fill_n(&bytes[(rows / 2) * (4 + d) + 4], d, uint8_t{0x80});
    hidden = random_states(columns, d, d, random);
    const auto fill = [&](size_t column, float x) { std::fill_n(&hidden[column % columns * d], d, x); };
    fill(11, 0.0f);
    fill(12, 1.0f);  // as large integers as there are
    fill(13, -1.0f);
    hidden[14 % columns * d + d / 2] = kNan;
    hidden[18 % columns * d + d - 1] = -kInf;
    rounded.round(kind, hidden.data(), d, columns, d);
    want.resize(columns * rows);
    scalar_kernels()->integer_product[kI8](matrix(bytes.data()), 0, rows, rounded.view(), 0, columns, want.data(), rows);
  }
  Matrix matrix(const uint8_t* data) const { return {data, Dtype::i8, rows, d}; }

  static constexpr size_t kI8 = static_cast<size_t>(Dtype::i8);
};

// About the sizes of tiles and panels of rows, of a tile's depth and eight of them, and of blocks of states.
TEST_PER_TABLE(integer_products_of_int8_rows_are_the_same_on_every_cpu) {
  constexpr size_t rows = 75, columns = 41;
  constexpr float kUntouched = 12345.678f;
  for (const size_t d : {1, 3, 63, 64, 65, 300, 511, 512, 513, 1000, 1085, 2048})
    for (const Activations kind : kRounded) {
      IntegerProblem problem(rows, columns, d, kind);
      problem.rounded.pack(kernels, Dtype::i8);
      const IntegerStates states = problem.rounded.view();
      at_both_edges(problem.bytes.data(), problem.bytes.size(), [&](const uint8_t* data) {
        for (const size_t some_rows : {1, 15, 16, 17, 32, 33, 64, 75})
          for (const auto& [first_column, some_columns] :
               {std::pair<size_t, size_t>{0, columns}, {0, 1}, {3, 8}, {5, 4}, {7, 9}, {15, 16}, {16, 16}, {17, 24}, {0, 32}}) {
            const size_t first_row = rows - some_rows, out_stride = some_rows + 3;
            const size_t count = (some_columns - 1) * out_stride + some_rows;
            const Guarded memory(count * sizeof(float));
            float* const out = memory.last_of<float>(count);
            std::fill(out, out + count, kUntouched);
            kernels.integer_product[IntegerProblem::kI8](problem.matrix(data), first_row, some_rows, states, first_column,
                                                         some_columns, out, out_stride);
            bool all_same = true, gaps_untouched = true;
            for (size_t c = 0; c < some_columns; c++) {
              all_same &= same(out + c * out_stride, &problem.want[(first_column + c) * rows + first_row], some_rows);
              for (size_t i = some_rows; c + 1 < some_columns && i < out_stride; i++)
                gaps_untouched &= out[c * out_stride + i] == kUntouched;
            }
            CHECK(all_same && gaps_untouched, "d=%zu planes=%zu rows=%zu columns=%zu from %zu", d, states.planes, some_rows,
                  some_columns, first_column);
          }
      });
    }
}

TEST_PER_TABLE(integer_products_do_not_depend_on_how_many_states_are_packed_together) {
  for (size_t columns = 1; columns <= 40; columns++)
    for (const Activations kind : kRounded) {
      IntegerProblem problem(19, columns, 70, kind);
      problem.rounded.pack(kernels, Dtype::i8);
      std::vector<float> got(columns * problem.rows);
      kernels.integer_product[IntegerProblem::kI8](problem.matrix(problem.bytes.data()), 0, problem.rows, problem.rounded.view(),
                                                   0, columns, got.data(), problem.rows);
      CHECK(same(got.data(), problem.want.data(), got.size()), "columns=%zu", columns);
    }
}

// The longest rows that there may be, of the largest products.
TEST_PER_TABLE(sums_of_integers_fit) {
  constexpr size_t d = kMostIntegers, n = 8, rows = 17;
  std::vector<uint8_t> bytes;
  for (size_t r = 0; r < rows; r++) {
    bytes.resize(bytes.size() + 4);
    put(Dtype::f32, &bytes[bytes.size() - 4], std::bit_cast<uint32_t>(1.0f));
    bytes.insert(bytes.end(), d, r % 2 ? 0x7f : 0x80);
  }
  std::vector<float> hidden(n * d, 1.0f);
  std::fill_n(&hidden[d], d, -1.0f);
  for (const Activations kind : kRounded) {
    QuantizedActivations rounded;
    rounded.round(kind, hidden.data(), d, n, d);
    rounded.pack(kernels, Dtype::i8);
    for (const size_t columns : {n, n / 4}) {
      float got[n * rows];
      kernels.integer_product[IntegerProblem::kI8]({bytes.data(), Dtype::i8, rows, d}, 0, rows, rounded.view(), 0, columns, got,
                                                   rows);
      for (size_t i = 0; i < columns * rows; i++) {
        const double weight = i % rows % 2 ? 127 : -128, state = i / rows == 1 ? -1 : 1;
        const double sum = weight * d * state * static_cast<double>(most_of(kind)) * rounded.view().scales[0];
        CHECK(got[i] == static_cast<float>(sum), "%.9g, want %.9g", got[i], sum);
      }
    }
  }
}

// Of several blocks of states, each laid out anew; of all rows of E, and of some that are gathered.
TEST_PER_TABLE(passes_over_int8_rows_and_integers_are_the_same_on_every_cpu) {
  constexpr size_t rows = 600, d = 130, n = 270;
  const std::vector<uint32_t> some = {0, 1, 2, 5, 6, 40, 41, 42, 43, 99, 300, 301, 302, 303, 511, 512, 513, 599};
  for (const Activations kind : kRounded) {
    const IntegerProblem problem(rows, n, d, kind);
    const AlignedFloats hidden = pack_hidden(kernels, reinterpret_cast<const uint8_t*>(problem.hidden.data()), Dtype::f32, n, d);
    const Matrix e = problem.matrix(problem.bytes.data());
    for (const RowSubset& subset : {RowSubset{}, RowSubset{some.data(), some.size()}}) {
      const ProductSource source(kernels, e, {}, rows, hidden.data(), n, subset, kind);
      std::vector<float> logits(n * source.vocabulary());
      PassRequest request;
      request.logits = logits.data();
      CHECK(run_pass(kernels, source, request).status == PassResult::ok);
      for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < source.vocabulary(); i++) {
          const float got = logits[c * source.vocabulary() + i], want = problem.want[c * rows + (subset.ids ? some[i] : i)];
          CHECK(same(got, want), "column=%zu of %zu rows, place=%zu: %.9g, want %.9g", c, source.vocabulary(), i, got, want);
        }
    }
  }
}

// The table without VNNI is not among the usable ones where there is VNNI. Its sums of integers are the same, lane by lane.
TEST(integer_products_have_the_same_bits_with_vnni_and_without) {
  constexpr size_t d = 2560, n = 7;
  const Kernels* const best = find_kernels("avx512");
  const Kernels* const plain = avx512_kernels();
  if (!best) return;
  for (const Dtype dtype : kQuantized) {
    const size_t i = static_cast<size_t>(dtype);
    if (!best->integer_product[i]) continue;
    Random random(11);
    std::vector<uint8_t> bytes = random_quantized(dtype, kRows, d, random);
    if (dtype != Dtype::i8) fill_values(dtype, row_bytes(dtype, d), bytes.data());
    std::vector<float> hidden = random_states(n, d, d, random);
    std::fill_n(&hidden[d], d, 3.0f);
    const Matrix e{bytes.data(), dtype, kRows, d};
    for (const Activations kind : kRounded) {
      std::vector<float> all[2];
      for (const Kernels* const kernels : {best, plain}) {
        QuantizedActivations rounded;
        rounded.round(kind, hidden.data(), d, n, d);
        rounded.pack(*kernels, dtype);
        std::vector<float>& out = all[kernels == plain];
        out.resize(n * kRows);
        kernels->integer_product[i](e, 0, kRows, rounded.view(), 0, n, out.data(), kRows);
      }
      CHECK(best == plain || same(all[0].data(), all[1].data(), n * kRows), "%s", quantized_name(dtype));
    }
  }
}

// The largest powers of two, whose products with integers are beyond float32 until the state's scale makes them small.
TEST_PER_TABLE(integer_products_of_large_powers_of_two_are_finite) {
  constexpr size_t d = 320, rows = 5, n = 3;
  const Dtype dtype = Dtype::mxfp4;
  const auto product = kernels.integer_product[static_cast<size_t>(dtype)];
  Random random(12);
  std::vector<uint8_t> bytes = random_quantized(dtype, rows, d, random);
  for (size_t at = 0; at < bytes.size(); at += row_format(dtype).bytes) bytes[at] = static_cast<uint8_t>(240 + bytes[at] % 12);
  std::vector<float> hidden(n * d);
  for (float& x : hidden) x = static_cast<float>(random.normal() * 1e-8);
  std::fill_n(&hidden[d], d, 0.0f);
  std::fill_n(&hidden[2 * d], d, 1e30f);
  const Matrix e{bytes.data(), dtype, rows, d};
  for (const Activations kind : kRounded) {
    QuantizedActivations rounded;
    rounded.round(kind, hidden.data(), d, n, d);
    rounded.pack(kernels, dtype);
    const IntegerStates states = rounded.view();
    float all[n * rows], alone[rows];
    product(e, 0, rows, states, 0, n, all, rows);
    for (size_t c = 0; c < n; c++) {
      product(e, 0, rows, states, c, 1, alone, rows);
      CHECK(same(alone, all + c * rows, rows));
      for (size_t r = 0; r < rows; r++) {
        double sum = 0, magnitude = 0;
        for (size_t k = 0; k < d; k++) {
          const double term =
              quantized_value(dtype, e.row(r), k) * static_cast<double>(integer_of(states, c, k)) * states.scales[c];
          sum += term;
          magnitude += std::abs(term);
        }
        const float got = all[c * rows + r];
        CHECK(std::abs(sum) > 0x1p128 ? std::isinf(got) : std::abs(got - sum) <= 30 * 0x1p-23 * magnitude, "%.9g, want %.9g", got,
              sum);
      }
    }
  }
}

TEST_PER_TABLE(integer_products_with_a_sick_state_are_sick_alone) {
  constexpr size_t d = 256, n = 5, rows = 6;
  for (const Dtype dtype : kQuantized) {
    const auto product = kernels.integer_product[static_cast<size_t>(dtype)];
    if (!product) continue;
    Random random(6);
    const std::vector<uint8_t> bytes = random_quantized(dtype, rows, d, random);
    std::vector<float> hidden = random_states(n, d, d, random);
    float before[n * rows], after[n * rows];
    QuantizedActivations rounded;
    rounded.round(Activations::i16, hidden.data(), d, n, d);
    rounded.pack(kernels, dtype);
    product({bytes.data(), dtype, rows, d}, 0, rows, rounded.view(), 0, n, before, rows);
    hidden[d + 9] = kInf;
    rounded.round(Activations::i16, hidden.data(), d, n, d);
    rounded.pack(kernels, dtype);
    product({bytes.data(), dtype, rows, d}, 0, rows, rounded.view(), 0, n, after, rows);
    CHECK(same(before, after, rows) && same(before + 2 * rows, after + 2 * rows, (n - 2) * rows));
    for (size_t r = 0; r < rows; r++) CHECK(std::isnan(after[rows + r]));
  }
}

}  // namespace
}  // namespace lmhead::test
