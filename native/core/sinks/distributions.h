// The sink that every pass has: maximum, NaN, and sum of exponentials of each column.
#pragma once

#include <vector>

#include "sink.h"

namespace lmhead {

class Distributions final : public Sink {
 public:
  // sums: whether exponentials are wanted at all, or only maxima and NaN.
  Distributions(const Kernels& kernels, size_t columns, size_t chunks, const double* inverse_temperatures, bool sums,
                bool entropy);
  void consume(const Tile& tile, unsigned slot) override;
  size_t finish_tasks() const override { return columns_; }
  void finish(size_t column, const Distribution*) override;

  const Distribution* data() const { return distributions_.data(); }

 private:
  struct Part {
    float max;
    int64_t nan_id;
    double sum, x_sum;
  };
  const Kernels& kernels_;
  const size_t columns_, chunks_;
  const bool sums_, entropy_;
  std::vector<Part> parts_;  // [columns, chunks]
  std::vector<Distribution> distributions_;
};

}  // namespace lmhead
