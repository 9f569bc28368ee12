// Which way each row of a request goes, how many rows a block takes, and how many threads it is worth.
#pragma once

#include <vector>

#include "request.h"

namespace lmhead {

constexpr size_t kBlockColumns = 256;     // columns whose state is held at once
constexpr double kWorkPerThread = 100e3;  // multiply-adds that are worth waking a thread for

// By which sink a row's token is drawn; see sinks/sample.h.
enum class Sampling { none, greedy, gumbel_max, top_k, reach, materialize };

// How the rows of a request are gone about, each by itself.
struct RowPlans {
  RowPlans(const PassRequest& request, size_t n, size_t valid);

  std::vector<RowSampling> rows;
  std::vector<double> inverse_temperatures;
  std::vector<Sampling> ways;
  size_t materialized_by_each;  // rows of logits that are materialized for a row, whatever its way
  size_t most_materialized;     // in one streaming, where it has more than one row

  size_t materialized(size_t row) const { return materialized_by_each + (ways[row] == Sampling::materialize); }
  // Where the block that begins there ends.
  size_t block_end(size_t begin) const;
};

// Threads that are worth waking for so many multiply-adds.
ParallelFor workers_for(ParallelFor workers, double work);

}  // namespace lmhead
