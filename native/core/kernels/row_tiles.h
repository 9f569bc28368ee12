// How the rows of a product are taken some at a time: one after the other, or in streams.
#pragma once

#include <cstddef>

namespace lmhead {

// Rows first, first + apart, first + 2 * apart, ...
struct RowTile {
  size_t first, height, apart;
  // The r-th of them, or the last one again.
  size_t row(size_t r) const { return first + (r < height ? r : height - 1) * apart; }
};

// Tiles of R rows, and one of those that are left. In streams, each row of a tile is of a part of its own of the rows, as far
// from the others as these allow, and the next tile's is the one behind it: memory serves several streams faster than one (a Zen
// 3 by a fifth to a half), and hardware runs ahead of each by itself.
template <size_t R>
class RowTiles {
 public:
  RowTiles(size_t rows, bool in_streams) : whole_(rows / R), left_(rows % R), in_streams_(in_streams) {}
  size_t count() const { return whole_ + (left_ > 0); }
  RowTile operator[](size_t i) const {
    if (i == whole_) return {whole_ * R, left_, 1};
    return in_streams_ ? RowTile{i, R, whole_} : RowTile{i * R, R, 1};
  }

 private:
  const size_t whole_, left_;
  const bool in_streams_;
};

}  // namespace lmhead
