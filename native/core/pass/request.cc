#include "request.h"

namespace lmhead {

RowSampling parse_row(const double* p) {
  RowSampling row;
  row.temperature = p[0];
  row.top_k = static_cast<size_t>(p[1]);
  row.top_p = p[2];
  row.log_min_p = p[3];
  row.stream = {static_cast<uint32_t>(p[4]), static_cast<uint32_t>(p[5]), static_cast<uint32_t>(p[6])};
  row.typical_p = p[7];
  row.log_epsilon = p[8];
  row.log_eta = p[9];
  row.top_n_sigma = p[10];
  row.p_less = p[11] != 0;
  row.xtc_probability = p[12];
  row.log_xtc_threshold = p[13];
  row.temperature_range = p[14];
  row.temperature_exponent = p[15];
  row.max_surprisal = p[16];
  if (p[17] != 0) row.order = static_cast<uint64_t>(p[17]);
  row.stream.number = static_cast<uint32_t>(p[18]);
  row.min_keep = static_cast<size_t>(p[19]);
  row.stream.first_id = static_cast<uint32_t>(p[20]);
  return row;
}

RowSampling PassRequest::sampling_of(size_t row) const {
  RowSampling sampling = parse_row(row_parameters + row * kRowParameters);
  sampling.xtc_protected = adjustments.xtc_protected;
  return sampling;
}

}  // namespace lmhead
