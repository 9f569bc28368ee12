#include "plan.h"

#include <algorithm>
#include <limits>

#include "../sinks/top_k.h"

namespace lmhead {

namespace {

// whole: all that the filters leave is wanted, and not only the token that is drawn. sparse: hardly any id may be drawn; a sum
// over these in any order has the same bits, and so they need not be those of a pass over all.
Sampling way_to_sample(const RowSampling& row, size_t valid, bool whole, bool sparse) {
  if (row.temperature == 0) return Sampling::greedy;
  switch (row.first_filter().stage) {
    case Stage::none:
      return sparse ? Sampling::reach : whole ? Sampling::materialize : Sampling::gumbel_max;
    case Stage::top_k:
      if (row.top_k <= kMaxHeap && row.top_k < valid) return Sampling::top_k;
      return Sampling::materialize;
    case Stage::min_p:
      return row.min_keep > 1 ? Sampling::materialize : Sampling::reach;
    default:
      return Sampling::materialize;
  }
}

}  // namespace

RowPlans::RowPlans(const PassRequest& request, size_t n, size_t valid)
    : rows(n),
      inverse_temperatures(n, 1.0),
      ways(n, Sampling::none),
      materialized_by_each((request.top.ids && request.top.k > kMaxHeap) + (request.draft.accepted != nullptr)),
      most_materialized(std::max<size_t>(1, kMaterializedBytes / (sizeof(float) * valid))) {
  for (size_t i = 0; i < n; i++) {
    if (request.row_parameters) rows[i] = request.sampling_of(i);
    // Of so low a temperature that this overflows, the largest number will do: unequal logits are as far apart as values get.
    if (rows[i].temperature != 0) inverse_temperatures[i] = std::min(1 / rows[i].temperature, std::numeric_limits<double>::max());
    if (request.draws())
      ways[i] = way_to_sample(rows[i], valid, request.candidates != nullptr,
                              !request.partial.sums && request.adjustments.has_sparse_mask(i));
  }
}

size_t RowPlans::block_end(size_t begin) const {
  size_t end = begin;
  for (size_t all = 0; end < rows.size() && end - begin < kBlockColumns; end++) {
    if (all > 0 && all + materialized(end) > most_materialized) break;
    all += materialized(end);
  }
  return end;
}

ParallelFor workers_for(ParallelFor workers, double work) {
  const double worth = work / kWorkPerThread;
  if (worth < workers.threads) workers.threads = std::max(1u, static_cast<unsigned>(worth));
  return workers;
}

}  // namespace lmhead
