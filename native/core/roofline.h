// The machine's limits, measured as passes run: on the same threads, in the same chunks. For the benchmark.
#pragma once

#include "kernels/kernels.h"

namespace lmhead {

// Seconds to read a matrix once.
double time_read(const Kernels& kernels, const Matrix& matrix, unsigned threads);
// Multiply-adds per second from registers.
double multiply_add_rate(const Kernels& kernels, unsigned threads);

}  // namespace lmhead
