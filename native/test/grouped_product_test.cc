// Formats whose scales lie apart (MLX's): unpacking against the definition, and products against product<f32> over the same
// numbers, bit for bit.
#include "../core/numerics/aligned.h"
#include "../core/sources/product.h"
#include "check.h"
#include "guard.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

constexpr Dtype kGrouped[] = {Dtype::mlx4, Dtype::mlx8};

struct GroupedMatrix {
  std::vector<uint8_t> values, scales, biases;
  Matrix matrix;

  GroupedMatrix(Dtype dtype, Dtype scale_dtype, size_t group, size_t rows, size_t d, Random& random)
      : values(rows * row_bytes(dtype, d)), scales(rows * d / group * 2), biases(scales.size()) {
    for (uint8_t& byte : values) byte = static_cast<uint8_t>(random.bits());
    for (size_t at = 0; at < scales.size(); at += 2) {
      put(scale_dtype, &scales[at], random_weight(scale_dtype, random));
      put(scale_dtype, &biases[at], random_weight(scale_dtype, random));
    }
    matrix = {values.data(), dtype, rows, d, {scales.data(), biases.data(), group, scale_dtype}};
  }

  // Number k of a row: from the lowest bits of 32-bit words on, times the group's scale, plus its bias. Exact in double.
  double value(size_t row, size_t k) const {
    const uint8_t* const p = matrix.row(row);
    const int q = matrix.dtype == Dtype::mlx8 ? p[k] : p[k / 2] >> k % 2 * 4 & 15;
    const size_t at = (row * matrix.columns + k) / matrix.groups.size * 2;
    return value_of(matrix.groups.dtype, &scales[at]) * q + value_of(matrix.groups.dtype, &biases[at]);
  }
};

template <class Check>
void each_kind(size_t rows, Check check) {
  for (const Dtype dtype : kGrouped)
    for (const Dtype scale_dtype : {Dtype::f16, Dtype::bf16})
      for (const size_t group : {size_t{32}, size_t{64}, size_t{128}})
        for (const size_t groups : {size_t{1}, size_t{2}, size_t{5}}) {
          Random random(group + groups);
          check(GroupedMatrix(dtype, scale_dtype, group, rows, group * groups, random), random);
        }
}

TEST_PER_TABLE(grouped_numbers_are_what_their_format_says) {
  each_kind(9, [&](const GroupedMatrix& grouped, Random&) {
    Matrix e = grouped.matrix;
    const size_t d = e.columns;
    const Guarded values(grouped.values.size()), scales(grouped.scales.size()), biases(grouped.biases.size()),
        out(d * sizeof(float));
    for (const bool last : {false, true}) {
      const auto placed = [&](const Guarded& memory, const std::vector<uint8_t>& from) {
        uint8_t* const to = last ? memory.last(from.size()) : memory.first();
        std::memcpy(to, from.data(), from.size());
        return to;
      };
      e.data = placed(values, grouped.values);
      e.groups.scales = placed(scales, grouped.scales);
      e.groups.biases = placed(biases, grouped.biases);
      float* const wide = last ? out.last_of<float>(d) : out.first_of<float>();
      for (size_t r = 0; r < e.rows; r++) {
        kernels.unpack_row[static_cast<size_t>(e.dtype)](e, r, wide);
        for (size_t k = 0; k < d; k++) {
          const float want = static_cast<float>(grouped.value(r, k));
          CHECK(same(wide[k], want), "dtype=%d d=%zu row=%zu k=%zu: %.9g, want %.9g", static_cast<int>(e.dtype), d, r, k, wide[k],
                want);
        }
      }
    }
  });
}

TEST_PER_TABLE(grouped_products_have_the_bits_of_f32_over_the_same_numbers) {
  constexpr size_t most_rows = 13, n = 9;
  each_kind(most_rows, [&](const GroupedMatrix& grouped, Random& random) {
    const Matrix& e = grouped.matrix;
    const size_t d = e.columns, stride = hidden_stride(d);
    AlignedFloats hidden(n * stride);
    for (size_t c = 0; c < n; c++)
      for (size_t k = 0; k < d; k++) hidden[c * stride + k] = static_cast<float>(random.normal());
    std::vector<float> wide(most_rows * d), want(n * most_rows), got(n * most_rows);
    for (size_t r = 0; r < most_rows; r++) kernels.unpack_row[static_cast<size_t>(e.dtype)](e, r, wide.data() + r * d);
    kernels.product[0]({reinterpret_cast<const uint8_t*>(wide.data()), Dtype::f32, most_rows, d}, 0, most_rows, hidden.data(),
                       stride, n, want.data(), most_rows);
    for (const size_t rows : {1, 3, 4, 13})
      for (size_t columns = 1; columns <= n; columns++) {
        const size_t first = most_rows - rows;
        const auto check = [&](const char* who, auto&& run) {
          run(got.data());
          for (size_t c = 0; c < columns; c++)
            CHECK(same(got.data() + c * rows, &want[c * most_rows + first], rows), "%s dtype=%d d=%zu rows=%zu columns=%zu", who,
                  static_cast<int>(e.dtype), d, rows, columns);
        };
        check("kernel", [&](float* out) {
          kernels.product[static_cast<size_t>(e.dtype)](e, first, rows, hidden.data(), stride, columns, out, rows);
        });
        check("product", [&](float* out) { dot_products(kernels, e, first, rows, hidden.data(), stride, columns, out, rows); });
      }
  });
}

}  // namespace
}  // namespace lmhead::test
