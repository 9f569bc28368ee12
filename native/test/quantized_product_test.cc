// Quantized weights: unpacking against the definitions, and products against product<f32> over the same numbers, bit for bit.
#include "quantized.h"

#include "../core/numerics/aligned.h"
#include "../core/sources/product.h"
#include "check.h"
#include "guard.h"

namespace lmhead::test {
namespace {

// Blocks in a row; of i8, numbers.
std::vector<size_t> widths(Dtype dtype) {
  if (dtype == Dtype::i8) return {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 257};
  if (block_size(dtype) == 256) return {256, 512, 768};
  return {32, 64, 96, 128, 160, 288};
}

std::vector<float> unpacked(const Kernels& kernels, const Matrix& e) {
  std::vector<float> wide(e.rows * e.columns);
  for (size_t r = 0; r < e.rows; r++)
    kernels.unpack[static_cast<size_t>(e.dtype)](e.row(r), e.columns, wide.data() + r * e.columns);
  return wide;
}

AlignedFloats random_hidden(size_t n, size_t d, Random& random) {
  AlignedFloats hidden(n * hidden_stride(d));
  for (size_t c = 0; c < n; c++)
    for (size_t k = 0; k < d; k++) hidden[c * hidden_stride(d) + k] = static_cast<float>(random.normal());
  return hidden;
}

TEST_PER_TABLE(quantized_numbers_are_what_their_format_says) {
  for (const Dtype dtype : kQuantized)
    for (const size_t d : widths(dtype)) {
      Random random(d);
      constexpr size_t rows = 9;
      const std::vector<uint8_t> bytes = random_quantized(dtype, rows, d, random);
      at_both_edges(bytes.data(), bytes.size(), [&](const uint8_t* data) {
        const Matrix e{data, dtype, rows, d};
        const Guarded out(d * sizeof(float));
        for (size_t r = 0; r < rows; r++) {
          float* const wide = r % 2 ? out.last_of<float>(d) : out.first_of<float>();
          kernels.unpack[static_cast<size_t>(dtype)](e.row(r), d, wide);
          for (size_t k = 0; k < d; k++) {
            const float want = static_cast<float>(quantized_value(dtype, e.row(r), k));
            CHECK(same(wide[k], want), "%s d=%zu row=%zu k=%zu: %.9g, want %.9g", quantized_name(dtype), d, r, k, wide[k], want);
          }
        }
      });
    }
}

// Every bit pattern of a block's numbers, and scales at the ends of their range.
TEST_PER_TABLE(quantized_numbers_are_exact_at_the_ends_of_the_range) {
  for (const Dtype dtype : kQuantized) {
    const size_t d = 256;
    Random random(77);
    std::vector<uint8_t> row = random_quantized(dtype, 1, d, random);
    const RowFormat format = row_format(dtype);
    for (const uint32_t scale : {0x0000u, 0x8000u, 0x0001u, 0x03ffu, 0x7bffu, 0xfbffu}) {
      if (dtype == Dtype::i8)
        put(Dtype::f32, row.data(), scale == 1 ? 0x00800000 : scale << 15 & 0x7fffff00);
      else if (dtype == Dtype::mxfp4)  // its smallest powers of two, and the largest but for infinity
        for (size_t at = 0; at < row.size(); at += format.bytes) row[at] = static_cast<uint8_t>(at % 2 ? at / 34 : 252 - at / 34);
      else
        for (size_t at = 0; at < row.size(); at += format.bytes) put(Dtype::f16, &row[at + scale_at(dtype)], scale);
      std::vector<float> wide(d);
      kernels.unpack[static_cast<size_t>(dtype)](row.data(), d, wide.data());
      for (size_t k = 0; k < d; k++) {
        const float want = static_cast<float>(quantized_value(dtype, row.data(), k));
        CHECK(same(wide[k], want), "%s scale=%#x k=%zu: %g, want %g", quantized_name(dtype), scale, k, wide[k], want);
      }
    }
  }
}

TEST_PER_TABLE(quantized_products_have_the_bits_of_f32_over_the_same_numbers) {
  constexpr size_t most_rows = 37, n = 9;
  for (const Dtype dtype : kQuantized)
    for (const size_t d : widths(dtype)) {
      Random random(d + 5);
      const std::vector<uint8_t> bytes = random_quantized(dtype, most_rows, d, random);
      const AlignedFloats hidden = random_hidden(n, d, random);
      const std::vector<float> wide = unpacked(kernels, {bytes.data(), dtype, most_rows, d});
      std::vector<float> want(n * most_rows);
      kernels.product[0]({reinterpret_cast<const uint8_t*>(wide.data()), Dtype::f32, most_rows, d}, 0, most_rows, hidden.data(),
                         hidden_stride(d), n, want.data(), most_rows);
      const Guarded memory(bytes.size() + 1), hidden_memory(hidden.size() * sizeof(float)),
          out_memory(want.size() * sizeof(float));
      for (const int place : {0, 1, 2}) {  // before the guard page, behind one, and at an odd address
        uint8_t* const data = place == 0 ? memory.last(bytes.size()) : memory.first() + (place == 2);
        std::memcpy(data, bytes.data(), bytes.size());
        float* const h = place == 0 ? hidden_memory.last_of<float>(hidden.size()) : hidden_memory.first_of<float>();
        std::memcpy(h, hidden.data(), hidden.size() * sizeof(float));
        const Matrix e{data, dtype, most_rows, d};
        for (const size_t rows : {1, 2, 3, 4, 5, 7, 8, 37})
          for (size_t columns = 1; columns <= n; columns++) {
            const size_t first_row = place == 0 ? most_rows - rows : 0, first_column = place == 0 ? n - columns : 0;
            const size_t stride = hidden_stride(d);
            const auto check = [&](const char* who, auto&& run) {
              float* const out = place == 0 ? out_memory.last_of<float>(rows * columns) : out_memory.first_of<float>();
              run(out);
              for (size_t c = 0; c < columns; c++)
                CHECK(same(out + c * rows, &want[(first_column + c) * most_rows + first_row], rows),
                      "%s %s d=%zu rows=%zu columns=%zu", who, quantized_name(dtype), d, rows, columns);
            };
            check("kernel", [&](float* out) {
              kernels.product[static_cast<size_t>(dtype)](e, first_row, rows, h + first_column * stride, stride, columns, out,
                                                          rows);
            });
            if (place == 0)
              check("product", [&](float* out) {
                dot_products(kernels, e, first_row, rows, h + first_column * stride, stride, columns, out, rows);
              });
          }
      }
    }
}

// NaN and infinities in a hidden state reach its own products only.
TEST_PER_TABLE(quantized_products_keep_hidden_states_apart) {
  for (const Dtype dtype : kQuantized) {
    constexpr size_t d = 256, rows = 5, n = 3;
    Random random(9);
    const std::vector<uint8_t> bytes = random_quantized(dtype, rows, d, random);
    const Matrix e{bytes.data(), dtype, rows, d};
    AlignedFloats hidden = random_hidden(n, d, random);
    float before[n * rows], after[n * rows];
    dot_products(kernels, e, 0, rows, hidden.data(), d, n, before, rows);
    for (const float sick : {kNan, kInf}) {
      hidden[d + 100] = sick;
      dot_products(kernels, e, 0, rows, hidden.data(), d, n, after, rows);
      CHECK(same(before, after, rows) && same(before + 2 * rows, after + 2 * rows, rows), "%s", quantized_name(dtype));
      for (size_t r = 0; r < rows; r++) {
        const float weight = static_cast<float>(quantized_value(dtype, e.row(r), 100));
        CHECK(same(after[rows + r], weight * sick), "%s row %zu: %g", quantized_name(dtype), r, after[rows + r]);
      }
    }
  }
}

}  // namespace
}  // namespace lmhead::test
