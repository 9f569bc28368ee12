// Where a pass gets its logits from.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lmhead {

// A product with E, or an array that the caller holds.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual size_t columns() const = 0;     // n
  virtual size_t vocabulary() const = 0;  // V: how wide a dense result is
  virtual size_t valid() const = 0;       // local indices from here on are padding
  // Of the local indices, ascending; null: they are their local indices.
  virtual const uint32_t* ids() const { return nullptr; }
  // Of an id; `valid` where it is padding, or none of this source's.
  size_t local_index_of(uint32_t id) const;
  // How many columns are best made at once, and about how many multiply-adds a pass over all of it takes.
  virtual size_t group() const = 0;
  virtual double work() const = 0;
  // Says, from one thread, which columns the next logits are of: a chance to lay them out for the kernels, once. So a source
  // serves one pass at a time.
  virtual void prepare(size_t /*first_column*/, size_t /*columns*/) const {}
  struct Logits {
    const float* data;
    size_t stride;  // from column to column
  };
  // Logits [columns, rows], in scratch (columns * rows floats) or elsewhere.
  virtual Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const = 0;
};

// Ids, ascending and each once, of the rows of E that a pass is about.
struct RowSubset {
  const uint32_t* ids = nullptr;  // null: all rows
  size_t count = 0;
};

}  // namespace lmhead
