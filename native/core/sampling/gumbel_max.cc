#include "gumbel_max.h"

#include <cmath>

#include "../numerics/exact_math.h"
#include "../sinks/sink.h"
#include "filtered_set.h"
#include "filters.h"

namespace lmhead {

void gumbel_max_chunk(const Kernels& kernels, const GumbelMaxChunk& chunk, const Stream& stream, double temperature,
                      GumbelMaxLeader& leader) {
  if (!is_in(chunk.max)) return;
  LMHEAD_DASSERT(is_temperature(temperature));
  const float* const u = chunk.logits;
  const auto offer = [&](uint32_t i) {
    leader.offer(Candidate{u[i], chunk.ids ? chunk.ids[i] : chunk.first + i}, stream, temperature);
  };
  uint32_t found[kChunkRows];
  if (std::isinf(leader.key)) {
    // A first key to beat, or every id would have to be looked at closely.
    kernels.indices_above(u, chunk.rows, chunk.max, true, found);
    offer(found[0]);
  }
  // Large keys are rounded coarsely; and the kernel multiplies by 1/T where the key is of a quotient.
  const double to_beat = leader.key - std::abs(leader.key) * 0x1p-49;
  const double inverse_temperature = 1 / temperature;
  // Where a temperature is so low that logits over it overflow, or 1 over it, every id is looked at closely.
  const bool is_closely = !std::isfinite(to_beat) || !std::isfinite(inverse_temperature);
  if (!is_closely && chunk.max * inverse_temperature + kMaxNoise < to_beat) return;
  if (is_closely || chunk.ids || chunk.first % 2 != 0) {  // or where ids are no neighbors from an even one on
    for (uint32_t i = 0; i < chunk.rows; i++)
      if (is_in(u[i])) offer(i);
    return;
  }
  const size_t count =
      kernels.gumbel_max_candidates(u, chunk.rows, chunk.first + stream.first_id, {stream, inverse_temperature, to_beat}, found);
  for (size_t i = 0; i < count; i++) offer(found[i]);
}

}  // namespace lmhead
