#include "distributions.h"

#include <cmath>
#include <limits>

#include "../numerics/exact_math.h"

namespace lmhead {

Distributions::Distributions(const Kernels& kernels, size_t columns, size_t chunks, const double* inverse_temperatures, bool sums,
                             bool entropy)
    : kernels_(kernels),
      columns_(columns),
      chunks_(chunks),
      sums_(sums),
      entropy_(entropy),
      parts_(columns * chunks),
      distributions_(columns) {
  for (size_t c = 0; c < columns; c++) distributions_[c].inverse_temperature = inverse_temperatures[c];
}

Distributions::Part Distributions::part_of(const Tile& tile, size_t c) const {
  const MaxResult& m = tile.maxima[c];
  Part part = {m.max, m.nan_at < 0 ? -1 : int64_t{tile.id(static_cast<size_t>(m.nan_at))}, 0, 0};
  // A chunk of only -inf adds nothing; with NaN or +inf the row's sum is settled in finish.
  if (!sums_ || !std::isfinite(m.max)) return part;
  const double inverse_temperature = distributions_[tile.first_column + c].inverse_temperature;
  const ExpSums s = kernels_.exp_sums(tile.column(c), tile.rows, m.max, inverse_temperature, entropy_);
  part.sum = s.sum;
  part.x_sum = s.x_sum;
  return part;
}

void Distributions::consume(const Tile& tile, unsigned) {
  for (size_t c = 0; c < tile.columns; c++) parts_[(tile.first_column + c) * chunks_ + tile.chunk] = part_of(tile, c);
}

void Distributions::write_sums(const Tile& tile, size_t c, bool consumed, double* sums) const {
  const Part part = consumed ? parts_[(tile.first_column + c) * chunks_ + tile.chunk] : part_of(tile, c);
  sums[0] = part.max;
  sums[1] = part.sum;
  sums[2] = part.x_sum;
}

void Distributions::finish(size_t column, const Distribution*) {
  Distribution& d = distributions_[column];
  const Part* parts = &parts_[column * chunks_];
  d.max = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < chunks_; i++) {
    if (parts[i].nan_id >= 0) {
      d.nan_id = parts[i].nan_id;
      d.max = std::numeric_limits<float>::quiet_NaN();
      break;
    }
    if (parts[i].max > d.max) d.max = parts[i].max;
  }
  if (!sums_) return;
  if (!std::isfinite(d.max)) {
    // As SciPy and PyTorch have it: the probabilities are NaN. With a +inf in the row a finite logit's log-probability is
    // still -inf, which log_prob gives with log_sum 0.
    d.sum = d.entropy = std::numeric_limits<double>::quiet_NaN();
    d.log_sum = d.max > 0 ? 0 : d.sum;
    return;
  }
  double sum = 0, x_sum = 0;
  for (size_t i = 0; i < chunks_; i++) {
    if (parts[i].sum == 0) continue;
    const double shift = (static_cast<double>(parts[i].max) - d.max) * d.inverse_temperature;
    const double weight = exp_negative(shift);
    if (weight == 0) continue;  // and never 0 * -inf
    sum += weight * parts[i].sum;
    x_sum += weight * (parts[i].x_sum + shift * parts[i].sum);
  }
  d.sum = sum;
  d.log_sum = log_positive(sum);
  d.entropy = d.log_sum - x_sum / sum;
}

}  // namespace lmhead
