// The bounded copy of a matrix E: made once, read by searches. What it says of a row holds whatever the row is.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "../storage/storage.h"
#include "../threads/parallel_for.h"
#include "rotation.h"

namespace lmhead::screen {

class Copy {
 public:
  // Reads all of E, on all of the workers' threads. done: gets how many rows have been read, as they are; or null. Null where it
  // was aborted. Throws std::bad_alloc.
  static std::shared_ptr<const Copy> quantize(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers,
                                              std::atomic<size_t>* done = nullptr);

  // The same from what read() gave; null where it cannot be that.
  static std::shared_ptr<const Copy> load(std::unique_ptr<Storage> saved, const Matrix& e);
  // Bytes that are saved: the tiles, the mean, and the largest N.
  static size_t saved_bytes(const Matrix& e);
  size_t saved_bytes() const { return bytes() + (mean_.size() + 1) * sizeof(float); }
  void read(size_t offset, size_t count, uint8_t* out) const;
  // As Storage::owned_bytes and intact.
  size_t owned_bytes() const { return storage_->owned_bytes(); }
  bool intact() const { return storage_->intact(); }

  const Rotation& rotation() const { return rotation_; }
  size_t rows() const { return rows_; }
  size_t blocks() const { return rotation_.padded / kBlock; }
  size_t bytes() const { return (rows_ + kTileRows - 1) / kTileRows * tile_bytes(blocks()); }
  const uint8_t* tile(size_t i) const { return storage_->data() + i * tile_bytes(blocks()); }
  const std::vector<float>& mean() const { return mean_; }  // [columns]
  double mean_norm() const { return mean_norm_; }           // at least the length of it
  float most_norm() const { return most_norm_; }            // the largest N of rows with a finite rho

 private:
  Copy(const Matrix& e, std::unique_ptr<Storage> storage);
  void find_mean(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers);
  void measure_mean();
  struct Scratch;
  void make_tile(const lmhead::Kernels& kernels, const Matrix& e, size_t tile, Scratch& scratch, uint8_t* to) const;

  const Rotation rotation_;
  const size_t rows_;
  std::unique_ptr<Storage> storage_;
  std::vector<float> mean_;
  double mean_norm_ = 0;
  float most_norm_ = 0;
};

// Whether a copy of such a matrix is made: it is smaller than the matrix, by enough to be worth reading first.
constexpr bool can_be_copied(const Matrix& e) {
  return e.columns <= kMostColumns && 2 * e.row_bytes() >= e.columns + e.columns / 4;
}

}  // namespace lmhead::screen
