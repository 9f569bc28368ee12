// The machine's limits, measured as passes run: on the same threads, in the same chunks. For the benchmark.
#pragma once

#include "kernels/kernels.h"

namespace lmhead {

// Seconds to read a matrix once.
double time_read(const Kernels& kernels, const Matrix& matrix, unsigned threads);
// Multiply-adds per second from registers: of f32 values, of bfloat16 ones, of int8 ones; 0 where no instructions of their own
// multiply them.
enum class Multiplied { f32, bf16, int8 };
double multiply_add_rate(const Kernels& kernels, Multiplied type, unsigned threads);

}  // namespace lmhead
