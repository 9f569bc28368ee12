// Hidden states rounded to integers, so that products with weights of integers are sums of integers: an option of
// a head, and an approximation of its own. lib/dtypes/quantized-activations.ts defines it.
#pragma once

#include <vector>

#include "../numerics/aligned.h"
#include "kernels.h"

namespace lmhead {

// i16: of 15 bits and a sign, in two planes of int8. bf16: no integers, but each number the nearest bfloat16; ProductSource does
// it.
enum class Activations : uint8_t { f32, i8, i16, bf16 };
constexpr size_t kActivations = 4;
constexpr bool are_integers(Activations kind) { return kind == Activations::i8 || kind == Activations::i16; }

// Of a hidden state: sums of so many products fit 32 bits.
constexpr size_t kMostIntegers = size_t{1} << 17;

// Whether heads of this dtype have those of integers.
bool rounds_activations(Dtype dtype);

class QuantizedActivations {
 public:
  // d is at most kMostIntegers. Throws std::bad_alloc.
  void round(Activations kind, const float* hidden, size_t hidden_stride, size_t columns, size_t d);
  // Lays them out for this table's products with weights of that dtype, where it likes to have them in a way of its own.
  void pack(const Kernels& kernels, Dtype dtype);
  size_t columns() const { return scales_.size(); }
  size_t bytes_each() const { return planes_ * stride_; }
  IntegerStates view() const {
    return {values_.data(), stride_, planes_, sums_.data(), scales_.data(), packed_.empty() ? nullptr : packed_.data()};
  }

 private:
  AlignedBytes values_, packed_;
  std::vector<int32_t> sums_;
  std::vector<float> scales_;
  size_t planes_ = 0, stride_ = 0;
};

}  // namespace lmhead
