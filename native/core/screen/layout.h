// How a bounded copy of a matrix lies in memory, and what its values mean. docs/screening.md has the whole.
//
// Row i of E is mu + x_i, and Q x_i, rotated, is held in four bits a number: s (q - 7.5), s a step for each block of 64 values
// of a row. The copy goes by tiles of 32 rows, read from front to back and nowhere else:
//   header: 32 scales S (f32), 32 times rho (bf16), 32 times N (bf16)
//   for every two blocks: 2 x 32 factors c (u8), s = S c; and for each of the two 8 lines of 128 bytes, a line being 8 values of
//   each of 32 rows: byte j of a row's four has number j in its low bits, and number j + 4 in its high ones
// rho >= |Q x - what is held of it| and N >= |x|. A row that is not finite, too large or too small has rho = infinity.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmhead::screen {

constexpr size_t kTileRows = 32, kBlock = 64;
constexpr size_t kLanes = 8;  // rows that are encoded at a time, and values of a line
constexpr size_t kHeaderBytes = kTileRows * (sizeof(float) + 2 * sizeof(uint16_t));
constexpr size_t kFactorBytes = 2 * kTileRows;
constexpr size_t kLineBytes = kTileRows * kLanes / 2;
constexpr size_t kBlockBytes = kBlock / kLanes * kLineBytes;
constexpr size_t kRhoAt = kTileRows * sizeof(float), kNormAt = kRhoAt + kTileRows * sizeof(uint16_t);

constexpr size_t blocks_of(size_t columns) { return (columns + kBlock - 1) / kBlock; }
constexpr size_t tile_bytes(size_t blocks) { return kHeaderBytes + (blocks + 1) / 2 * kFactorBytes + blocks * kBlockBytes; }
// Of a tile, where the two blocks begin that block b is one of: their factors.
constexpr size_t pair_at(size_t b) { return kHeaderBytes + b / 2 * (kFactorBytes + 2 * kBlockBytes); }
constexpr size_t factors_at(size_t b) { return pair_at(b) + b % 2 * kTileRows; }
constexpr size_t block_at(size_t b) { return pair_at(b) + kFactorBytes + b % 2 * kBlockBytes; }

// Numbers of a row, as they are rotated: longer ones are not held.
constexpr size_t kMostColumns = 65536;
// So many blocks' sums fit an int32: 64 blocks of 64 values, each at most 15 times 127, times 255.
constexpr size_t kMostBlocksOfSum = 64;

}  // namespace lmhead::screen
