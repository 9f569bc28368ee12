// Logits that are made: a product of E, or of some of its rows, with hidden states, and the epilogue.
#pragma once

#include "../kernels/kernels.h"
#include "../kernels/quantized_activations.h"
#include "../numerics/aligned.h"
#include "logit_source.h"

namespace lmhead {

// Hidden states as kernels take them: f32, [n, hidden_stride(d)], zeros beyond d.
void pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d, float* packed);
AlignedFloats pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d);

class ProductSource final : public LogitSource {
 public:
  // activations: f32, or such as rounds_activations(e.dtype), or with weights in bf16 bf16.
  ProductSource(const Kernels& kernels, const Matrix& e, const Epilogue& epilogue, size_t valid, const float* packed_hidden,
                size_t n, RowSubset subset = {}, Activations activations = Activations::f32)
      : kernels_(kernels),
        e_(e),
        epilogue_(epilogue),
        valid_(valid),
        hidden_(packed_hidden),
        n_(n),
        subset_(subset),
        activations_(activations) {}
  size_t columns() const override { return n_; }
  size_t vocabulary() const override { return subset_.ids ? subset_.count : e_.rows; }
  size_t valid() const override { return subset_.ids ? subset_.count : valid_; }
  const uint32_t* ids() const override { return subset_.ids; }
  double work() const override {
    return static_cast<double>(n_) * static_cast<double>(vocabulary()) * static_cast<double>(e_.columns);
  }
  PreparedColumns prepare(size_t first_column, size_t columns) const override;
  size_t group(const PreparedColumns& prepared) const override;
  Logits logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override;

 private:
  const Kernels& kernels_;
  const Matrix e_;
  const Epilogue epilogue_;
  const size_t valid_;
  const float* const hidden_;
  const size_t n_;
  const RowSubset subset_;
  const Activations activations_;

  // Logits of neighboring rows of a matrix, into out [columns, out_stride]; bias (if any) starts at its first_row.
  void write_logits(const PreparedColumns& prepared, const Matrix& e, size_t first_row, size_t rows, const float* bias,
                    size_t first_column, size_t columns, float* out, size_t out_stride) const;
};

}  // namespace lmhead
