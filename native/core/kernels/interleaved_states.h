// Hidden states as the floating-point products read them in one stream: groups of neighboring columns, in each vector beside
// vector of the same k.
#pragma once

#include <cstddef>

#include "../numerics/aligned.h"

namespace lmhead {

// Of d values in vectors of `lanes`, at most `most` columns to a group; all groups have about the same number. In memory, with
// the values behind it.
template <size_t lanes, size_t most>
struct alignas(64) InterleavedStates {
  size_t columns, groups, stride;  // stride: floats of a column

  const float* values() const { return reinterpret_cast<const float*>(this + 1); }
  // The first columns / groups % groups columns are in groups with one more.
  size_t first_of(size_t group) const {
    const size_t more = columns % groups;
    return group * (columns / groups) + (group < more ? group : more);
  }
  size_t group_of(size_t column) const {
    const size_t width = columns / groups, wide = columns % groups * (width + 1);
    return column < wide ? column / (width + 1) : columns % groups + (column - wide) / width;
  }
};

// As PackedProduct::pack; nothing of columns that are one group.
template <size_t lanes, size_t most>
void interleave(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to);

}  // namespace lmhead
