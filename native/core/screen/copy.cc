#include "copy.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "../storage/map_guard.h"
#include "rounding.h"

namespace lmhead::screen {

namespace {

// Rows with a number larger than this are not held, nor those with none so large, but for rows of zeros; nor are longer ones.
constexpr double kLargest = 0x1p98, kSmallest = 0x1p-98;
// Of a rotated row, relative to its length: less than 60 steps of additions and the subtraction of the mean, each of which rounds
// by 2^-24 at most; and what underflows.
constexpr double kRotationError = 0x1p-18;
// Of a root of a sum of squares: 64 are added in float32.
constexpr double kSumError = 0x1p-16;
constexpr double kLevels = 16, kMostFactor = 255;

// As bf16, rounded up; x >= 0.
uint16_t bf16_above(double x) { return static_cast<uint16_t>((std::bit_cast<uint32_t>(float_above(x)) + 0xffff) >> 16); }
// Twelve significant bits, rounded up; x >= 0.
float short_above(float x) { return std::bit_cast<float>((std::bit_cast<uint32_t>(x) + 0xfff) & ~0xfffu); }

// Rows that the mean is taken of, at most; any vector would do.
constexpr size_t kMeanRows = 8192, kMeanParts = 64;

}  // namespace

Copy::Copy(const Matrix& e, std::unique_ptr<Storage> storage)
    : rotation_(e.columns), rows_(e.rows), storage_(std::move(storage)), mean_(e.columns) {}

size_t Copy::saved_bytes(const Matrix& e) {
  return (e.rows + kTileRows - 1) / kTileRows * tile_bytes(blocks_of(e.columns)) + (e.columns + 1) * sizeof(float);
}

std::shared_ptr<const Copy> Copy::load(std::unique_ptr<Storage> saved, const Matrix& e) {
  if (saved->size() != saved_bytes(e)) return nullptr;
  const std::shared_ptr<Copy> copy(new Copy(e, std::move(saved)));
  const uint8_t* const behind = copy->tile(0) + copy->bytes();
  std::memcpy(copy->mean_.data(), behind, e.columns * sizeof(float));
  std::memcpy(&copy->most_norm_, behind + e.columns * sizeof(float), sizeof(float));
  copy->measure_mean();
  if (!std::isfinite(copy->mean_norm_) || !std::isfinite(copy->most_norm_) || copy->most_norm_ < 0) return nullptr;
  return copy;
}

void Copy::read(size_t offset, size_t count, uint8_t* out) const {
  const size_t of_tiles = std::min(count, bytes() - std::min(offset, bytes()));
  if (of_tiles > 0) std::memcpy(out, tile(0) + offset, of_tiles);
  std::vector<float> behind = mean_;
  behind.push_back(most_norm_);
  if (count > of_tiles)
    std::memcpy(out + of_tiles, reinterpret_cast<const uint8_t*>(behind.data()) + (offset + of_tiles - bytes()),
                count - of_tiles);
}

void Copy::measure_mean() {
  double square = 0;
  for (const float x : mean_) square += static_cast<double>(x) * x;
  mean_norm_ = std::sqrt(square) * (1 + 0x1p-30);
}

// In parts of a constant number, so that threads do not change it.
void Copy::find_mean(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers) {
  const size_t stride = (e.rows + kMeanRows - 1) / kMeanRows, count = (e.rows + stride - 1) / stride, d = e.columns;
  std::vector<double> sums(kMeanParts * d);
  std::vector<size_t> counts(kMeanParts);
  std::vector<float> rows(workers.threads * d);
  workers.parallel_for(kMeanParts, [&](size_t part, unsigned slot) {
    MapGuard::renew();
    float* const row = rows.data() + slot * d;
    double* const sum = sums.data() + part * d;
    for (size_t i = part * count / kMeanParts; i < (part + 1) * count / kMeanParts; i++) {
      kernels.unpack_row[static_cast<size_t>(e.dtype)](e, i * stride, row);
      bool is_usual = true;
      for (size_t k = 0; k < d; k++) is_usual &= std::fabs(row[k]) < 0x1p60f;
      if (!is_usual) continue;
      for (size_t k = 0; k < d; k++) sum[k] += row[k];
      counts[part]++;
    }
  });
  size_t all = 0;
  for (const size_t each : counts) all += each;
  for (size_t k = 0; k < d && all > 0; k++) {
    double sum = 0;
    for (size_t part = 0; part < kMeanParts; part++) sum += sums[part * d + k];
    mean_[k] = static_cast<float>(sum / static_cast<double>(all));
  }
  measure_mean();
}

struct Copy::Scratch {
  explicit Scratch(const Rotation& rotation)
      : row(rotation.columns), x(rotation.padded * kLanes), other(rotation.padded * kLanes) {
    most.resize(rotation.padded / kBlock * kLanes);
  }
  AlignedFloats row, x, other, most;
};

void Copy::make_tile(const lmhead::Kernels& kernels, const Matrix& e, size_t tile, Scratch& scratch, uint8_t* to) const {
  const Kernels& k = kernels_for(kernels);
  const auto unpack_row = kernels.unpack_row[static_cast<size_t>(e.dtype)];
  const size_t padded = rotation_.padded, blocks = padded / kBlock, d = e.columns;
  for (size_t first = 0; first < kTileRows; first += kLanes) {
    int exponents[kLanes] = {};
    bool is_held[kLanes] = {};
    std::memset(scratch.x.data(), 0, scratch.x.size() * sizeof(float));
    for (size_t lane = 0; lane < kLanes; lane++) {
      const size_t i = tile * kTileRows + first + lane;
      if (i >= e.rows) {
        is_held[lane] = true;
        continue;
      }
      float* const row = scratch.row.data();
      unpack_row(e, i, row);
      float most = 0;
      bool is_number = true;
      for (size_t c = 0; c < d; c++) {
        row[c] -= mean_[c];
        is_number &= row[c] == row[c];
        most = std::fabs(row[c]) > most ? std::fabs(row[c]) : most;
      }
      is_held[lane] = is_number && (most == 0 || (most >= kSmallest && most <= kLargest));
      if (!is_held[lane] || most == 0) continue;
      // A power of two makes the largest at least 1, so that little underflows, and nothing overflows.
      exponents[lane] = std::ilogb(most);
      const float factor = std::ldexp(1.0f, -exponents[lane]);
      for (size_t c = 0; c < d; c++) scratch.x[kLanes * c + lane] = row[c] * factor;
    }
    k.rotate(rotation_.view(), scratch.x.data(), scratch.other.data());

    alignas(64) float part[kLanes], steps[kLanes];
    double squares[kLanes] = {}, left[kLanes] = {};
    float most[kLanes] = {}, scales[kLanes];
    for (size_t b = 0; b < blocks; b++) {
      float* const its = scratch.most.data() + kLanes * b;
      k.measure(scratch.other.data() + kLanes * kBlock * b, its, part);
      for (size_t lane = 0; lane < kLanes; lane++) {
        squares[lane] += part[lane];
        most[lane] = std::max(most[lane], its[lane]);
      }
    }
    for (size_t lane = 0; lane < kLanes; lane++)
      scales[lane] = short_above(most[lane] / static_cast<float>(kMostFactor * kLevels / 2));
    for (size_t b = 0; b < blocks; b++) {
      for (size_t lane = 0; lane < kLanes; lane++) {
        const float wanted = scales[lane] > 0 ? scratch.most[kLanes * b + lane] / (scales[lane] * 8) : 0;
        const float factor = std::min(255.0f, std::ceil(wanted));
        to[factors_at(b) + first + lane] = static_cast<uint8_t>(factor);
        steps[lane] = scales[lane] * factor;  // exact
      }
      k.encode(scratch.other.data() + kLanes * kBlock * b, steps, to + block_at(b) + first * kLanes / 2, part);
      for (size_t lane = 0; lane < kLanes; lane++) left[lane] += part[lane];
    }
    for (size_t lane = 0; lane < kLanes; lane++) {
      const double unit = std::ldexp(1.0 / static_cast<double>(rotation_.span), exponents[lane]);
      const double norm = std::sqrt(squares[lane]) * (1 + kSumError), error = kRotationError * norm;
      float scale = static_cast<float>(scales[lane] * unit);  // exact: no row that is held is so small
      uint16_t rho = bf16_above((std::sqrt(left[lane]) * (1 + kSumError) + error) * unit);
      uint16_t length = bf16_above((norm + error) * unit);
      if (!is_held[lane]) {
        scale = 0;
        rho = length = 0x7f80;
      }
      std::memcpy(to + sizeof(float) * (first + lane), &scale, sizeof scale);
      std::memcpy(to + kRhoAt + sizeof rho * (first + lane), &rho, sizeof rho);
      std::memcpy(to + kNormAt + sizeof length * (first + lane), &length, sizeof length);
    }
  }
}

std::shared_ptr<const Copy> Copy::quantize(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers,
                                           std::atomic<size_t>* done) {
  const size_t tiles = (e.rows + kTileRows - 1) / kTileRows, size = tile_bytes(blocks_of(e.columns));
  const std::shared_ptr<Copy> copy(new Copy(e, std::make_unique<OwnedStorage>(tiles * size)));
  copy->find_mean(kernels, e, workers);
  uint8_t* const data = static_cast<OwnedStorage&>(*copy->storage_).mutable_data();
  std::vector<std::unique_ptr<Scratch>> scratch(workers.threads);
  workers.parallel_for(tiles, [&](size_t i, unsigned slot) {
    MapGuard::renew();
    if (!scratch[slot]) scratch[slot] = std::make_unique<Scratch>(copy->rotation_);
    copy->make_tile(kernels, e, i, *scratch[slot], data + i * size);
    if (done) done->fetch_add(std::min(kTileRows, e.rows - i * kTileRows), std::memory_order_relaxed);
  });
  if (workers.aborted()) return nullptr;
  for (size_t i = 0; i < tiles; i++)
    for (size_t r = 0; r < kTileRows; r++) {
      uint16_t bits;
      std::memcpy(&bits, data + i * size + kNormAt + sizeof bits * r, sizeof bits);
      const float norm = std::bit_cast<float>(uint32_t{bits} << 16);
      if (norm < kInfinity) copy->most_norm_ = std::max(copy->most_norm_, norm);
    }
  return copy;
}

}  // namespace lmhead::screen
