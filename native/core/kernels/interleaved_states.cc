#include "interleaved_states.h"

#include <cstring>
#include <new>

namespace lmhead {

template <size_t lanes, size_t most>
void interleave(const float* hidden, size_t hidden_stride, size_t columns, size_t d, AlignedFloats& to) {
  using States = InterleavedStates<lanes, most>;
  if (columns <= most) {
    to.clear();
    return;
  }
  const size_t stride = (d + lanes - 1) / lanes * lanes;
  to.resize(sizeof(States) / sizeof(float) + columns * stride);
  const States& states = *new (to.data()) States{columns, (columns + most - 1) / most, stride};
  float* at = to.data() + sizeof(States) / sizeof(float);
  for (size_t g = 0; g < states.groups; g++)
    for (size_t k = 0; k < d; k += lanes)
      for (size_t c = states.first_of(g); c < states.first_of(g + 1); c++, at += lanes)
        std::memcpy(at, hidden + c * hidden_stride + k, lanes * sizeof(float));  // zeros beyond d
}

template void interleave<8, 2>(const float*, size_t, size_t, size_t, AlignedFloats&);
template void interleave<8, 3>(const float*, size_t, size_t, size_t, AlignedFloats&);
template void interleave<16, 6>(const float*, size_t, size_t, size_t, AlignedFloats&);

}  // namespace lmhead
