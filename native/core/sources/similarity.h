// Rows of E as vectors to compare with: their lengths, and cosines in the place of dot products.
#pragma once

#include <vector>

#include "../kernels/kernels.h"
#include "../threads/parallel_for.h"
#include "logit_source.h"

namespace lmhead {

// 1/|row| of every row; 0 for a row of zeros, so that its cosine with anything is 0. Complete where it was not aborted.
// Throws std::bad_alloc.
std::vector<double> inverse_norms(const Kernels& kernels, const Matrix& e, const ParallelFor& workers);

// The source's values, each times its row's factor.
class ScaledSource final : public LogitSource {
 public:
  // factors: one for each row of E.
  ScaledSource(const LogitSource& source, const double* factors) : source_(source), factors_(factors) {}
  size_t columns() const override { return source_.columns(); }
  size_t vocabulary() const override { return source_.vocabulary(); }
  size_t valid() const override { return source_.valid(); }
  const uint32_t* ids() const override { return source_.ids(); }
  double work() const override { return source_.work(); }
  PreparedColumns prepare(size_t first_column, size_t columns) const override { return source_.prepare(first_column, columns); }
  size_t group(const PreparedColumns& prepared) const override { return source_.group(prepared); }
  Logits logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override;

 private:
  const LogitSource& source_;
  const double* const factors_;
};

}  // namespace lmhead
