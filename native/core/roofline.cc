#include "roofline.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "sinks/sink.h"
#include "storage/map_guard.h"
#include "threads/pool.h"

namespace lmhead {

namespace {

std::atomic<float> result;  // what the loops computed, so that they have to

template <class Work>
double time_parts(size_t parts, unsigned threads, Work work) {
  std::atomic<size_t> next{0};
  const auto start = std::chrono::steady_clock::now();
  ThreadPool::instance().run(threads, [&](unsigned) {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < parts;) result = work(i);
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double time_read(const Kernels& kernels, const Matrix& matrix, unsigned threads) {
  return time_parts((matrix.rows + kChunkRows - 1) / kChunkRows, threads, [&](size_t chunk) {
    const size_t first = chunk * kChunkRows, rows = std::min(kChunkRows, matrix.rows - first);
    MapGuard::renew();
    float all = kernels.read(matrix.row(first), rows * matrix.row_bytes());
    if (is_grouped(matrix.dtype)) {
      const size_t side_bytes = matrix.groups.row_bytes(matrix.columns);
      for (const uint8_t* const side : {matrix.groups.scales, matrix.groups.biases})
        all += kernels.read(side + first * side_bytes, rows * side_bytes);
    }
    return all;
  });
}

double multiply_add_rate(const Kernels& kernels, Multiplied type, unsigned threads) {
  const auto run = type == Multiplied::f32    ? kernels.multiply_adds
                   : type == Multiplied::bf16 ? kernels.bf16_multiply_adds
                                              : kernels.int8_multiply_adds;
  if (!run) return 0;
  constexpr size_t kParts = 64, kEach = size_t{1} << 24;
  return kParts * static_cast<double>(kEach) / time_parts(kParts, threads, [&](size_t) { return run(kEach); });
}

}  // namespace lmhead
