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
  // What it keeps of a tile that it has not consumed: maximum, sum and x sum. Of a chunk that it has, from where it is kept.
  void write_sums(const Tile& tile, size_t c, bool consumed, double* sums) const;
  size_t finish_tasks() const override { return columns_; }
  void finish(size_t column, const Distribution*) override;

  const Distribution* data() const { return distributions_.data(); }

 private:
  struct Part {
    float max;
    int64_t nan_id;
    double sum, x_sum;
  };
  Part part_of(const Tile& tile, size_t c) const;

  const Kernels& kernels_;
  const size_t columns_, chunks_;
  const bool sums_, entropy_;
  std::vector<Part> parts_;  // [columns, chunks]
  std::vector<Distribution> distributions_;
};

}  // namespace lmhead
