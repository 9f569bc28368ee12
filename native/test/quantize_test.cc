// Quantizing rows: within their memory, the same on any number of threads, and with the errors that they say. That the bits are
// those of lib/dtypes/quantize.ts is tested from there.
#include "../core/quantize.h"

#include "check.h"
#include "guard.h"
#include "passes.h"
#include "quantized.h"

namespace lmhead::test {
namespace {

TEST_PER_TABLE(rows_are_quantized_alike_on_any_number_of_threads) {
  constexpr size_t rows = 53, first = 2;
  for (const Dtype to : {Dtype::i8, Dtype::q8_0})
    for (const size_t blocks : {1, 2, 3, 7}) {
      const size_t d = blocks * (to == Dtype::i8 ? 1 : 32), size = row_bytes(to, d);
      Random random(d);
      const Guarded weights(rows * d * sizeof(float));
      float* const w = weights.last_of<float>(rows * d);
      for (size_t i = 0; i < rows * d; i++) w[i] = static_cast<float>(random.normal());
      const Matrix e{reinterpret_cast<const uint8_t*>(w), Dtype::f32, rows, d};
      const size_t count = rows - first;
      std::vector<WeightErrors> errors(count), again(count);
      const Guarded bytes(count * size), other(count * size);
      uint8_t *const to_last = bytes.last(count * size), *const to_first = other.first();
      CHECK(quantize_rows(kernels, e, first, count, to, {}, to_last, errors.data()) == rows, "all are finite");
      CHECK(quantize_rows(kernels, e, first, count, to, {.threads = 3}, to_first, again.data()) == rows, "all are finite");
      CHECK(std::memcmp(to_last, to_first, count * size) == 0 &&
                std::memcmp(errors.data(), again.data(), count * sizeof(WeightErrors)) == 0,
            "%s d=%zu: differs with the number of threads", quantized_name(to), d);
      for (size_t i = 0; i < count; i++) {
        double most = 0, squares = 0;
        for (size_t k = 0; k < d; k++) {
          const double rest = w[(first + i) * d + k] - quantized_value(to, to_last + i * size, k);
          most = std::max(most, std::fabs(rest));
          squares += rest * rest;
        }
        CHECK(errors[i].max == most, "%s d=%zu row %zu: %g, want %g", quantized_name(to), d, i, errors[i].max, most);
        CHECK(std::fabs(errors[i].squares - squares) <= 1e-12 * squares, "%s d=%zu row %zu", quantized_name(to), d, i);
      }
    }
}

TEST_PER_TABLE(a_row_that_cannot_be_quantized_is_found) {
  constexpr size_t rows = 200, d = 32;
  std::vector<float> w(rows * d, 1.5f);
  for (const size_t row : {199, 70, 71}) w[row * d + 31] = row == 70 ? kNan : -kInf;
  const Matrix e{reinterpret_cast<const uint8_t*>(w.data()), Dtype::f32, rows, d};
  std::vector<uint8_t> bytes(rows * row_bytes(Dtype::q8_0, d));
  std::vector<WeightErrors> errors(rows);
  for (const unsigned threads : {1u, 3u}) {
    const size_t found = quantize_rows(kernels, e, 0, rows, Dtype::q8_0, {.threads = threads}, bytes.data(), errors.data());
    CHECK(found == 70, "%u threads: %zu", threads, found);
  }
}

TEST_PER_TABLE(quantizing_yields_and_stops) {
  constexpr size_t rows = 2000, d = 32, size = row_bytes(Dtype::q8_0, d);
  const std::vector<float> w(rows * d, 1.5f);
  const Matrix e{reinterpret_cast<const uint8_t*>(w.data()), Dtype::f32, rows, d};
  std::vector<WeightErrors> errors(rows);
  std::vector<uint8_t> straight(rows * size);
  quantize_rows(kernels, e, 0, rows, Dtype::q8_0, {}, straight.data(), errors.data());
  for (const unsigned threads : {1u, 3u}) {
    Impatient gate;
    std::vector<uint8_t> bytes(rows * size);
    quantize_rows(kernels, e, 0, rows, Dtype::q8_0, {.threads = threads, .gate = &gate}, bytes.data(), errors.data());
    CHECK(gate.times > (threads == 1 ? 3 : 0) && bytes == straight, "%zu times", gate.times);
    const std::atomic<int32_t> abort{1};
    std::fill(bytes.begin(), bytes.end(), 77);
    quantize_rows(kernels, e, 0, rows, Dtype::q8_0, {.threads = threads, .abort = &abort}, bytes.data(), errors.data());
    CHECK(std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 77; }));
  }
}

}  // namespace
}  // namespace lmhead::test
