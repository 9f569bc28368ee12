// Where a pass gets its logits from.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.h"
#include "../kernels/quantized_activations.h"
#include "../numerics/aligned.h"

namespace lmhead {

// Hidden states of neighboring columns, laid out once as the kernels take them; nothing where they take them as they are.
struct PreparedColumns {
  AlignedFloats packed;  // for `product`, which then is one
  const PackedProduct* product = nullptr;
  AlignedFloats nearest;  // of bf16
  QuantizedActivations rounded;
  size_t first = 0, count = 0;

  bool contains(size_t first_column, size_t columns) const {
    return first_column >= first && first_column + columns <= first + count;
  }
};

// A product with E, or an array that the caller holds.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual size_t columns() const = 0;     // n
  virtual size_t vocabulary() const = 0;  // V: how wide a dense result is
  virtual size_t valid() const = 0;       // local indices from here on are padding
  // The id of each local index, ascending; null: the local index itself.
  virtual const uint32_t* ids() const { return nullptr; }
  // Of an id; `valid` where it is padding, or none of this source's.
  size_t local_index_of(uint32_t id) const;
  // About how many multiply-adds a pass over all of it takes.
  virtual double work() const = 0;
  virtual PreparedColumns prepare(size_t /*first_column*/, size_t /*columns*/) const { return {}; }
  // How many columns are best made at once.
  virtual size_t group(const PreparedColumns& prepared) const = 0;
  struct Logits {
    const float* data;
    size_t stride;  // from column to column
  };
  // Logits [columns, rows], in scratch (columns * rows floats) or elsewhere; of columns that are prepared, if this source
  // prepares any.
  virtual Logits logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column, size_t columns,
                        float* scratch) const = 0;
};

// A source whose next logits are of some of its columns.
class PreparedSource {
 public:
  PreparedSource(const LogitSource& source, size_t first_column, size_t columns)
      : source_(source), prepared_(source.prepare(first_column, columns)) {}
  const LogitSource& source() const { return source_; }
  size_t group() const { return source_.group(prepared_); }
  LogitSource::Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const {
    return source_.logits(prepared_, first_row, rows, first_column, columns, scratch);
  }

 private:
  const LogitSource& source_;
  const PreparedColumns prepared_;
};

// Ids, ascending and each once, of the rows of E that a pass is about.
struct RowSubset {
  const uint32_t* ids = nullptr;  // null: all rows
  size_t count = 0;
};

}  // namespace lmhead
